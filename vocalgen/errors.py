"""The one exception that is meant for people."""


class VocalgenError(Exception):
    """A mistake the user can mend: the message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with status 2; the library lets it propagate.
    """
