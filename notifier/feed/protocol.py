"""The feed's frames, `notifier.feed.v1`: one JSON object per WebSocket text frame, both directions. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any, NamedTuple, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from notifier.domain.airports import parse
from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Kind, Status

PROTOCOL = "notifier.feed.v1"
MAX_MAILS = 500
"""Mails in one snapshot or list."""
DEFAULT_MAILS = 200
"""Mails in a snapshot for a client that does not say how many it wants."""
MAX_VALUES = 500
"""Values of one field of a filter."""
MAX_SECONDS = 3600
"""Between two `stats`."""
HEARTBEAT = 20
"""Seconds without an event after which an empty `events` frame moves the cursor."""

_T = TypeVar("_T")
_CURSOR = re.compile(r"([0-9a-f]{32})-(\d{1,18})-([0-9a-f]{8})")


class BadFrame(Exception):
    """A frame that breaks the protocol: the connection is closed with 4400 and this reason."""


_NOTHING = msgspec.Raw(b"null")
_Count = Annotated[int, Meta(ge=0, le=MAX_MAILS)]
_Values = Annotated[list[str], Meta(max_length=MAX_VALUES)]
_Id = str | int | float | None


class _Asking(Struct, frozen=True, kw_only=True):
    """What a client may see and how much of it; `filter` is decoded once it is known that the client may ask."""

    filter: msgspec.Raw = _NOTHING
    snapshot: _Count | None = None

    def wanted(self) -> MailFilter:
        """Decode the filter. Raises BadFrame."""
        return read_filter(self.filter)

    @property
    def mails(self) -> int:
        """How many mails its snapshot has at most."""
        return DEFAULT_MAILS if self.snapshot is None else self.snapshot


class Hello(_Asking, frozen=True, kw_only=True):
    """The first frame of a client. `stats`: seconds between two `stats` frames; without it or with 0 there are none."""

    token: str | None = None
    resume: str | None = None
    stats: Annotated[float, Meta(ge=0, le=MAX_SECONDS)] | None = None


class Refilter(_Asking, frozen=True, kw_only=True):
    """`filter`: from now on the client wants to see other mails. Its snapshot carries the same `id`."""

    id: _Id = None


class Command(Struct, frozen=True, kw_only=True):
    """Something to do; its result carries the same `id`. Each command decodes its own `args`, once it is permitted."""

    id: _Id = None
    name: str | None = None
    args: msgspec.Raw = _NOTHING


class _Frame(Struct, frozen=True):
    type: str


class _Filter(Struct, frozen=True):
    status: Status | Annotated[list[Status], Meta(max_length=MAX_VALUES)] | None = None
    kind: Kind | Annotated[list[Kind], Meta(max_length=MAX_VALUES)] | None = None
    booking: str | _Values | None = None
    mail: str | _Values | None = None
    since: str | None = None


class Cursor(NamedTuple):
    """What a cursor says: which store, how far in its log, under which filter."""

    store: str
    seq: int
    filter_hash: str


_read_type = msgspec.json.Decoder(_Frame).decode
_read: Mapping[str, Callable[[str], Hello | Refilter | Command]] = {
    "hello": msgspec.json.Decoder(Hello).decode,
    "filter": msgspec.json.Decoder(Refilter).decode,
    "command": msgspec.json.Decoder(Command).decode,
}
_read_filter = msgspec.json.Decoder(_Filter | None).decode


def read_frame(text: str | bytes) -> Hello | Refilter | Command | None:
    """Read a client's frame; None for a type this version does not know. Raises BadFrame.

    Nothing is built of fields that are unknown here, nor of a filter or arguments: anyone can send them, also without a
    valid token, and deeply nested arrays of 64 KiB would occupy the event loop for milliseconds.
    """
    if isinstance(text, bytes):
        raise BadFrame("text frames only")
    try:
        type_ = _read_type(text).type
        return _read[type_](text) if type_ in _read else None
    except msgspec.ValidationError as error:
        raise BadFrame(f"an object with a type and valid fields is expected: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise BadFrame("not JSON") from None


def read_filter(given: Any) -> MailFilter:
    """Read a filter, decoded or as JSON (`msgspec.Raw`): each field a value or a list, `since` an RFC 3339 time.

    Raises BadFrame.
    """
    try:
        found = _read_filter(given) if isinstance(given, msgspec.Raw) else msgspec.convert(given, _Filter | None)
        since = parse(found.since) if found and found.since is not None else None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadFrame(f"filter: {error}") from None
    if since and since.tzinfo is None:
        raise BadFrame("filter: since needs an offset or Z")
    return (
        MailFilter(
            status=_set(found.status),
            kind=_set(found.kind),
            booking=_set(found.booking),
            mail=_set(found.mail),
            since=since and since.astimezone(UTC),
        )
        if found
        else MailFilter()
    )


def _set(given: _T | list[_T] | None) -> frozenset[_T]:
    return frozenset(given if isinstance(given, list) else () if given is None else (given,))


def cursor(store: str, seq: int, hashed: str) -> str:
    """Return a cursor, opaque to clients and valid across restarts. `hashed` is the `filter_hash` of its filter."""
    return f"{store}-{seq}-{hashed}"


def read_cursor(text: str) -> Cursor | None:
    """Read a cursor; None where it is none of ours."""
    match = _CURSOR.fullmatch(text)
    return Cursor(match[1], int(match[2]), match[3]) if match else None


def filter_hash(wanted: MailFilter) -> str:
    """Tell one filter from another in a cursor."""
    parts = [sorted(wanted.status), sorted(wanted.kind), sorted(wanted.booking), sorted(wanted.mail), wanted.since]
    return f"{crc32(msgspec.json.encode(parts)):08x}"


def write(type_: str, **fields: Any) -> bytes:
    """Write a server's frame."""
    return msgspec.json.encode({"type": type_, **fields})


def write_result(id_: str | float | None, value: Any) -> tuple[bytes, ...]:
    """Return the parts of a successful `result`. A value that is encoded already is one of them and is not copied."""
    encoded = value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    return b'{"type":"result","id":%s,"ok":true,"value":' % msgspec.json.encode(id_), bytes(encoded), b"}"


def write_snapshot(
    id_: str | float | None, at: str, totals: Mapping[Status, int], mails: bytes, *, more: bool
) -> tuple[bytes, ...]:
    """Return the parts of `snapshot`; `mails`, the encoded array, is one of them and is not copied."""
    ids = {} if id_ is None else {"id": id_}
    head = write("snapshot", **ids, cursor=at, totals=totals, more=more)
    return head[:-1] + b',"mails":', mails, b"}"


def write_events(at: str, events: Sequence[StoredEvent]) -> bytes:
    """Write `events` around bodies that are encoded already."""
    return b"".join(write_bodies(at, b",".join(event.body for event in events)))


def write_bodies(at: str, bodies: bytes) -> tuple[bytes, ...]:
    """Return the parts of `events`; `bodies`, separated by commas, is one of them and is not copied."""
    return b'{"type":"events","cursor":"%s","events":[' % at.encode(), bodies, b"]}"
