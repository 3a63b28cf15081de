"""Why the server closes a connection. Pure."""

from enum import IntEnum
from typing import Self


class CloseCode(IntEnum):
    """A WebSocket close code of the feed. `meaning`, also each member's docstring, says why it is sent and what to do.

    The codes below 4000 are those of RFC 6455, section 7.4, and of its IANA registry.
    """

    FRAME_TOO_LARGE = 1009, "a frame was too large"
    INTERNAL_ERROR = 1011, "an internal error, or no pong within 20 s: connect again and resume"
    RESTARTING = 1012, "the service restarts: connect again and resume"
    FULL = 1013, "there are too many viewers, or too many operators: connect again later"
    BAD_FRAME = 4400, "a frame broke the protocol"
    UNAUTHORIZED = 4401, "no valid token"
    NO_HELLO = 4408, "no hello within 10 s"
    TOO_MANY_FRAMES = 4429, "too many frames, bytes or commands"
    TOO_SLOW = 4508, "read too slowly: connect again and resume"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member of its number and its meaning, as `http.HTTPStatus` does."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = member.__doc__ = meaning
        return member


def is_refusal(code: int) -> bool:
    """Return whether the client must change something (its request, its token, its pace) before it connects again."""
    return 4400 <= code < 4500  # noqa: PLR2004 - the range that the protocol reserves for this
