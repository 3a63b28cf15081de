"""What can be wrong with a frame, and what with a command. Pure."""

from notifier.errors import NotifierError


class BadFrame(Exception):
    """A frame breaks the protocol; the text says how. The server closes the connection with `CloseCode.BAD_FRAME`."""


class CommandError(NotifierError):
    """A command cannot be carried out. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
