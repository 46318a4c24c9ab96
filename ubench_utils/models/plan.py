"""What a run will ask and send, told before it starts; money only by the prices that a user states."""

from typing import NamedTuple

MILLION = 1e6
SAMPLE = 100  # images that an audit asks about, where nobody says otherwise


class Plan(NamedTuple):
    """What a model would be asked in words.

    Attributes
    ----------
    model : str
    questions, to_ask, images : int
        All questions, those whose replies are not kept, and the images that these are about.
    image_bytes : tuple of int
        Size of the image as it is sent, for every question about the first images; empty where nothing is sent.
    prompt_bytes : int
        Of all prompts together.
    known : tuple of (int, int)
        Tokens in and out of the replies that are kept.
    prices : dict
        See ``cost``.
    """

    model: str
    questions: int
    to_ask: int
    images: int = 0
    image_bytes: tuple[int, ...] = ()
    prompt_bytes: int = 0
    known: tuple[tuple[int, int], ...] = ()
    prices: dict = {}  # noqa: RUF012

    @property
    def megabytes(self) -> float | None:
        """What is sent, as many megabytes; an estimate where the size of some images alone is known."""
        if not self.image_bytes:
            return None
        images = sum(self.image_bytes) / len(self.image_bytes) * self.to_ask
        return (images + self.prompt_bytes) / MILLION

    @property
    def tokens(self) -> tuple[float, float] | None:
        """Tokens in and out that are to be expected, from the replies that are kept; None where none is."""
        if not self.counted:
            return None
        into, out = (self.to_ask * sum(side) / len(self.counted) for side in zip(*self.counted, strict=True))
        return into, out

    @property
    def counted(self) -> list[tuple[int, int]]:
        """Tokens of the kept replies that came with a count."""
        return [pair for pair in self.known if pair[0]]

    def __str__(self) -> str:
        """One line for people."""
        if not self.to_ask:
            return f"{self.model}: {self.questions:,} questions, nothing to ask"
        known = f" ({self.questions - self.to_ask:,} of them answered before, or alike)"
        parts = [f"{self.questions:,} questions{known if self.to_ask < self.questions else ''}"]
        parts.append(f"{self.to_ask:,} to ask about {self.images:,} image{'s' * (self.images > 1)}")
        if self.megabytes is not None:
            about = "" if len(self.image_bytes) == self.to_ask else "about "
            parts.append(f"{about}{self.megabytes:,.{1 if self.megabytes < 10 else 0}f} MB to send")
            parts.append(self._costs())
        return f"{self.model}: {', '.join(parts)}"

    def _costs(self) -> str:
        if self.tokens is None:
            return "tokens are counted by the server" + (", and the cost with them" if self.prices else "")
        words = (
            f"about {self.tokens[0]:,.0f} tokens in and {self.tokens[1]:,.0f} out, as of {len(self.counted):,} replies"
        )
        return f"{words}, {told_cost(cost(*self.tokens, self.prices))}" if self.prices else words


def cost(tokens_in: float, tokens_out: float, prices: dict) -> dict:
    """What tokens cost by a user's prices of a million: ``amount`` and ``currency``."""
    amount = (tokens_in * prices.get("price_in", 0) + tokens_out * prices.get("price_out", 0)) / MILLION
    return {"amount": round(amount, 6), "currency": prices.get("currency", "")}


def told_cost(found: dict) -> str:
    """An amount of money in words, by the prices that were stated."""
    return f"{found['amount']:,.2f} {found['currency']}".strip() + " by your prices"
