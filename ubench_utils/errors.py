"""The one exception for a mistake that the user can mend."""


class UserError(Exception):
    """A user's mistake, told in one line: what was wrong, where, and what would be right.

    The command line prints the message and exits with code 2; nothing already computed is lost.
    """


def first_line(error: BaseException, length: int = 200) -> str:
    """Class and first line of the deepest cause of an exception, for a message of one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {lines[0][:length]}"
