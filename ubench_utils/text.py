"""Words from outside on a page: a name or a class of a dataset is shown as it is written, and never read as markup."""

import re
import string
import unicodedata

PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
KEPT = "\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}\N{SOFT HYPHEN}"  # part of how some scripts are written
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (direction of writing, …), half characters, line ends


def visible(words: str) -> str:
    r"""Text in which a character that shows nothing, or turns what stands around it, is its number: ``\\u202e``."""
    return re.sub(r"[^ -~\n]", lambda one: written_out(one[0]) if is_unseen(one[0]) else one[0], words)


def is_unseen(character: str) -> bool:
    """Whether a character has no picture of its own and is none that a script needs."""
    return character not in KEPT and unicodedata.category(character) in UNSEEN


def written_out(character: str) -> str:
    r"""A character as its number: ``\\u202e``."""
    return character.encode("unicode_escape").decode()


def one_line(words: str) -> str:
    """Text on one line, with single spaces and nothing unseen in it."""
    return visible(" ".join(str(words).split()))


def as_markdown(words: str) -> str:
    """Plain text as MyST Markdown that shows it: on one line, and no sign is markup, for each has a backslash."""
    return PUNCTUATION.sub(r"\\\1", one_line(words))
