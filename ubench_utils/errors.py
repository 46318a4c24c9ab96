"""The one exception for a mistake that the user can mend."""

import re


class UserError(Exception):
    """A user's mistake, told in one line: what was wrong, where, and what would be right.

    The command line prints the message and exits with code 2; nothing already computed is lost.
    """


def first_line(error: BaseException, length: int = 200) -> str:
    """Class and first line of the deepest cause of an exception, for a message of one line.

    Objects named by their address in memory are left out: it differs from run to run, and says nothing to a reader.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r" ?<[^<>]* at 0x[0-9a-fA-F]+>", "", str(error)).strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {lines[0][:length]}"
