"""A mail as it goes to an SMTP server, and what came of the dialogue. Pure."""

from msgspec import Struct

from notifier.domain.mail import Reply
from notifier.sending.replies import CLOSING, SUCCESS_CODES, Phase, is_used_up


class ComposedMail(Struct, frozen=True):
    """A mail in the form that an SMTP server takes."""

    sender: str
    """The address after MAIL FROM, to which bounces go."""
    recipient: str
    """The address after RCPT TO."""
    content: bytes
    """The header and the body, with CRLF line ends, before dot-stuffing."""

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address has characters that only SMTPUTF8 (RFC 6531) can carry."""
        return not (self.sender + self.recipient).isascii()


class Exchange(Struct, frozen=True):
    """One command of a dialogue and its reply."""

    phase: Phase
    """The phase that the command belongs to."""
    reply: Reply
    """The server's reply."""
    seconds: float
    """The time from the command to the reply."""


class DialogueResult(Struct, frozen=True):
    """How a dialogue about one mail ended."""

    phase: Phase
    """The phase in which it ended; `CONNECT` if there was no connection and the server knows nothing of the mail."""
    reply: Reply | None
    """The last reply; None if the dialogue broke or did not begin."""
    fault: str | None = None
    """What broke the dialogue, or why it did not begin; None if there is a reply."""
    exchanges: tuple[Exchange, ...] = ()
    """All commands and replies since MAIL FROM, in order."""
    unsupported: bool = False
    """Whether it did not begin because the server lacks SMTPUTF8, which the recipient's address needs."""
    out_of_step: bool = False
    """Whether the server's answers to commands that travelled together did not fit them.

    It has not seen the message, and the mail can be tried at once on a new connection, one command at a time.
    """
    login_reply: str = ""
    """The server's own words if it refused the login; they can name a time to wait."""

    @property
    def accepted(self) -> bool:
        """Whether the server has taken responsibility for the message."""
        return self.phase is Phase.DOT and self.reply is not None and self.reply.code in SUCCESS_CODES

    @property
    def found_connection_closed(self) -> bool:
        """Whether the server ended the connection rather than judging the mail.

        If the connection had been used before, that says nothing about a new one, on which the mail can be tried
        at once. After the final dot it is never so, because the server may have accepted the message.
        """
        if self.reply is None:
            return self.phase is Phase.MAIL
        if self.phase is Phase.MAIL and is_used_up(self.reply):
            return True
        return self.reply.code == CLOSING and self.phase is not Phase.DOT
