"""W3C Trace Context: the trace that a message belongs to, which its events carry on. Pure."""

import re

_FIELDS = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LATER = re.compile(rf"(?!00)({_FIELDS.pattern})-.*")

MAX_LENGTH = 512
"""Maximum number of characters; a later version of the format can be longer than the 55 of this one."""


def traceparent(given: object) -> str | None:
    """Return a `traceparent` that can be passed on; None if it is invalid, which is no reason to reject a message.

    It is in lower-case hexadecimal, and neither of its ids is all zeros (Trace Context section 3.2). A later version of
    the format can have more fields; they are dropped, because their meaning is unknown.
    """
    if isinstance(given, bytes | bytearray):
        given = given.decode(errors="replace")
    if not isinstance(given, str) or len(given) > MAX_LENGTH:
        return None
    later = _LATER.fullmatch(given)
    return later[1] if later else given if _FIELDS.fullmatch(given) else None
