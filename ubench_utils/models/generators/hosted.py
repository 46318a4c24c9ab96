"""Models behind an address."""

import re
import sys
from collections import Counter
from functools import cached_property
from urllib.parse import urlsplit

from ...errors import UserError
from ..cards import PRICES
from ..model import naming
from ..plan import Plan
from .asked import Asked
from .reply import Reply

PLACE = re.compile(r"api:(.+)@(https?://.+)", re.DOTALL)  # a model's name may hold an @ of its own
KINDS = 3  # names that a note tells


class Hosted(Asked):
    """A model behind an address, ``api:MODEL@URL``."""

    has_files = False
    without_weights = "model '{}' is asked at an address; it has no weights here"

    @cached_property
    def _place(self) -> tuple[str, str]:
        found = PLACE.fullmatch(self.card.spec)
        url = found[2].rstrip("/") if found else ""
        try:
            parts = urlsplit(url)
            if parts.username or parts.password or parts.query or parts.fragment:  # may be a key, so it is not shown
                raise UserError(
                    "the address after @ holds more than host and path; write it without user, password, ? and #, and "
                    "set OPENAI_API_KEY to the key"
                )
            has_host = bool(parts.hostname) and parts.port != 0
        except ValueError:  # no port, or no address of six parts
            has_host = False
        if found is None or not has_host:
            raise UserError(f"write api:MODEL@URL, say api:qwen@http://localhost:8000/v1, not '{self.card.spec}'")
        return found[1], url

    @property
    def _settings(self) -> dict:
        return self.card.endpoint or {}

    @cached_property
    def identity(self) -> dict:
        """Model and address: what lies behind them may change, which ``served`` in the record may show."""
        return {"kind": "endpoint", "model": self._place[0], "url": self._place[1]}

    def asker(self, device: str, precision: str):
        """The endpoint."""
        from .endpoint import Endpoint

        settings = {key: value for key, value in self._settings.items() if key not in PRICES}
        with naming(self.name):
            return Endpoint(*self._place, **settings)

    def decoding(self) -> dict:
        """What is sent beside the question."""
        from .endpoint import decoding

        return decoding(self._settings.get("max_tokens"))

    def facts(self, device: str, precision: str) -> dict:
        """What is sent beside the question, and where."""
        return {"decoding": self.decoding(), "url": self._place[1]}

    @property
    def prices(self) -> dict:
        """What the card says that a million tokens cost."""
        return {key: value for key, value in self._settings.items() if key in PRICES}

    def begins(self, plan: Plan) -> None:
        """Say what will be asked and sent before anything is."""
        print(f"ubench: {plan}", file=sys.stderr)

    def told(self, replies: list[Reply]) -> dict:
        """What the server called the model that answered, and parameters that it did not take."""
        served = Counter(reply.served for reply in replies)
        refused = Counter(name for reply in replies for name in reply.refused)
        notes = []
        if len(served) > 1:
            names = ", ".join(f"{name or 'no name'} ({n:,})" for name, n in served.most_common(KINDS))
            notes.append(f"{len(served)} models answered under this name, as the server calls them: {names}")
        for name, n in sorted(refused.items()):
            notes.append(f"the server does not take {name}: {n:,} of {len(replies):,} questions were asked without it")
        unknown = sum(not reply.letters for reply in replies)
        if unknown:
            notes.append(f"{unknown:,} of {len(replies):,} replies came without probabilities of the letters")
        uncounted = sum(not reply.tokens_in for reply in replies)
        if uncounted:
            what = "tokens and cost" if self.prices else "tokens"
            notes.append(
                f"{uncounted:,} of {len(replies):,} replies came without a count of tokens: {what} leave them out"
            )
        return {"served": sorted(served), "refused": sorted(refused), "notes": notes}
