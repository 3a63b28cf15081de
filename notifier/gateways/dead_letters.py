"""Writes dead letters: the properties of a message as they were, and the reason in two headers.

Only what a client such as aiormq cannot read is changed, because one such letter would keep it from reading any.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from notifier.domain.message_shapes import LINE_CONTROLS
from notifier.errors import DeadLetterCode
from notifier.gateways.header_table import with_headers
from notifier.gateways.properties import MAX_SHORT_STRING, WireProperties, made_readable, split_properties, truncated

MAX_DETAIL = 500
"""Bytes of `x-notifier-detail`."""

_FRAME_OVERHEAD = 32
"""Bytes of a content header's frame beside its properties, with some to spare."""
_NOT_ALLOWED = ("user_id", "expiration", "cluster_id")
"""The broker would refuse a letter because of the first, and delete it after the second; the third is reserved."""
_NO_HEADERS = bytes(4)
_NOT_IN_A_LINE = re.compile(f"[{LINE_CONTROLS}]+")


def letter_head(
    wire: bytes,
    routing_key: str,
    code: DeadLetterCode,
    detail: str,
    frame_max: int,
    *,
    more: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, WireProperties]:
    """Return the routing key and the properties of the dead letter of a message.

    `wire` is the message's content header, and `more` are headers to add. Properties that a letter must
    not have become headers. If the headers do not fit into a frame of `frame_max` bytes together with
    those of the letter, or are malformed, they are left out. The detail says what was changed.
    """
    kept, changed = made_readable(split_properties(wire))
    if changed:
        detail = f"(unreadable properties were changed: {', '.join(changed)}) {detail}"
    moved = {f"x-notifier-{name.replace('_', '-')}": kept.pop(name)[1:] for name in _NOT_ALLOWED if name in kept}
    moved |= {name: value.encode() for name, value in more.items()}
    headers = kept.get("headers", _NO_HEADERS)
    try:
        properties = _properties(kept, headers, moved, code, detail)
        fault = "they are too long" if len(properties.marshal()) > frame_max - _FRAME_OVERHEAD else None
    except ValueError as error:
        fault = str(error)
    if fault:
        properties = _properties(kept, _NO_HEADERS, moved, code, f"(headers were left out: {fault}) {detail}")
    return truncated(routing_key, MAX_SHORT_STRING), properties


def _properties(
    kept: dict[str, bytes], headers: bytes, moved: dict[str, bytes], code: DeadLetterCode, detail: str
) -> WireProperties:
    # The detail of an internal error is that of any exception, which can have several lines.
    line = truncated(_NOT_IN_A_LINE.sub(" ", detail), MAX_DETAIL)
    reason = {"x-notifier-error": code.encode(), "x-notifier-detail": line.encode()}
    return WireProperties({**kept, "headers": with_headers(headers, moved | reason)})
