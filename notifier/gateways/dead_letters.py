"""Writes the dead letter of a message that can never be used: its properties to the byte, and why it is one.

Only what a client such as aiormq cannot read is changed: one such letter would keep people from reading them all.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from notifier.errors import DeadLetterCode
from notifier.gateways.properties import MAX_SHORT_STRING, WireProperties, apart, cut, readable, with_headers

MAX_DETAIL = 500
"""Bytes of `x-notifier-detail`."""

_FRAME_OVERHEAD = 32
"""Bytes of a content header's frame beside its properties, with some to spare."""
_NOT_ALLOWED = ("user_id", "expiration", "cluster_id")
"""The first would make the broker refuse a letter, the second delete it when its time is up; the third is reserved."""
_NO_HEADERS = bytes(4)


class DeadLetter(NamedTuple):
    """What of a dead letter is not its body."""

    routing_key: str
    properties: WireProperties


def dead_letter(
    wire: bytes,
    routing_key: str,
    code: DeadLetterCode,
    detail: str,
    frame_max: int,
    *,
    more: Mapping[str, str] = MappingProxyType({}),
) -> DeadLetter:
    """Write the letter of a message whose content header was `wire`; `more` are headers to add.

    What a letter must not have moves into headers. If the headers cannot be written with those
    of the letter, in a frame of at most `frame_max` bytes, they are left out. The detail says what was changed.
    """
    kept, changed = readable(apart(wire))
    if changed:
        detail = f"(changed, being unreadable: {', '.join(changed)}) {detail}"
    moved = {f"x-notifier-{name.replace('_', '-')}": kept.pop(name)[1:] for name in _NOT_ALLOWED if name in kept}
    moved |= {name: value.encode() for name, value in more.items()}
    headers = kept.get("headers", _NO_HEADERS)
    try:
        properties = _properties(kept, headers, moved, code, detail)
        fault = "they are too long" if len(properties.marshal()) > frame_max - _FRAME_OVERHEAD else None
    except ValueError as error:
        fault = str(error)
    if fault:
        properties = _properties(kept, _NO_HEADERS, moved, code, f"(headers left out: {fault}) {detail}")
    return DeadLetter(cut(routing_key, MAX_SHORT_STRING), properties)


def _properties(
    kept: dict[str, bytes], headers: bytes, moved: dict[str, bytes], code: DeadLetterCode, detail: str
) -> WireProperties:
    told = {"x-notifier-error": code.encode(), "x-notifier-detail": cut(detail, MAX_DETAIL).encode()}
    return WireProperties({**kept, "headers": with_headers(headers, moved | told)})
