"""The one exception for a mistake that the user can mend."""


class UserError(Exception):
    """A user's mistake, told in one line: what was wrong, where, and what would be right.

    The command line prints the message and exits with code 2; nothing already computed is lost.
    """
