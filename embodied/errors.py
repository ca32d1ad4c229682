"""The one exception that a user's mistake ends in."""


class UserError(Exception):
    """A mistake of the user or of a file, told in one line: what is wrong and what to do.

    The command line prints it without a traceback and exits with 2. Raise it at the edge where the
    mistake is seen; let every other exception travel, since it is a bug of ours.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
