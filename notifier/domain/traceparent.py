"""W3C Trace Context: where the trace that a message belongs to is read, so that it can be passed on. Pure."""

import re

_FIELDS = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LATER = re.compile(rf"(?!00)({_FIELDS.pattern})-.*")

MAX_LENGTH = 512
"""Characters of one that are looked at: a later version may be longer than this version's 55."""


def traceparent(given: object) -> str | None:
    """Give a `traceparent` that can be passed on; None for what is none, which is no reason to refuse a message.

    Lower-case hexadecimal, neither id all zero (Trace Context section 3.2). One of a later
    version may have more fields: they are not passed on, since nobody here knows what they mean.
    """
    if isinstance(given, bytes | bytearray):
        given = given.decode(errors="replace")
    if not isinstance(given, str) or len(given) > MAX_LENGTH:
        return None
    later = _LATER.fullmatch(given)
    return later[1] if later else given if _FIELDS.fullmatch(given) else None
