"""The one exception for a mistake that the user can mend."""

import re


class UserError(Exception):
    """A user's mistake, told in one line: what was wrong, where, and what would be right.

    The command line prints the message and exits with code 2; nothing already computed is lost.
    """


def first_line(error: BaseException, length: int = 200) -> str:
    """Class and first line of the deepest cause of an exception, for a message of one line.

    Objects named by their address in memory are left out: it differs from run to run, and says nothing to a reader.
    So are a terminal's colours.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r" ?<[^<>]* at 0x[0-9a-fA-F]+>|\x1b\[[0-9;]*m", "", str(error))
    lines = text.strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {shown(lines[0], length)}"


def shown(text, length: int = 100) -> str:
    """Foreign text for a message of one line: its start, without line breaks and control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:length])
