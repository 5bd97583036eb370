"""Exceptions that are meant for people."""


class VocalgenError(Exception):
    """A mistake the user can mend: the message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with status 2; the library lets it propagate.
    """


class NoSpaceLeft(VocalgenError):
    """The disk, or the user's share of it, is full."""
