"""The feed's frames, `notifier.feed.v1`: one JSON object per WebSocket text frame, both directions. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from notifier.airports import parse
from notifier.events import Filter, Logged
from notifier.mail import Status

PROTOCOL = "notifier.feed.v1"
MOST_MAILS = 500
"""Mails in one snapshot or list."""
MOST_EVENTS = 100
"""Events in one frame."""
MOST_VALUES = 500
"""Values of one field of a filter."""
MOST_SECONDS = 3600
"""Between two `stats`."""
HEARTBEAT = 20
"""Seconds without an event after which an empty `events` frame moves the cursor."""

_CURSOR = re.compile(r"([0-9a-f]{32})-(\d{1,18})-([0-9a-f]{8})")


class BadFrame(Exception):
    """A frame that breaks the protocol: the connection is closed with 4400 and this reason."""


class Hello(NamedTuple):
    """The first frame of a client."""

    token: str | None
    resume: str | None
    wanted: Filter
    snapshot: int
    stats: float


class Refilter(NamedTuple):
    """`filter`: from now on the client wants to see other mails."""

    id: str | float | None
    wanted: Filter
    snapshot: int


class Command(NamedTuple):
    """Something to do; its result carries the same `id`."""

    id: str | float | None
    name: str
    args: Mapping[str, Any]


class Place(NamedTuple):
    """What a cursor says: which store, how far in its log, under which filter."""

    store: str
    seq: int
    filter_hash: str


def read_frame(text: str | bytes) -> Hello | Refilter | Command | None:
    """Read a client's frame; None for a type this version does not know. Raises BadFrame."""
    if isinstance(text, bytes):
        raise BadFrame("text frames only")
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise BadFrame("not JSON") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame("an object with a type is expected")
    match frame["type"]:
        case "hello":
            return Hello(
                token=_optional(frame, "token", str, None),
                resume=_optional(frame, "resume", str, None),
                wanted=read_filter(frame.get("filter")),
                snapshot=_count(frame, "snapshot", 200),
                stats=_seconds(frame, "stats"),
            )
        case "filter":
            return Refilter(_id(frame), read_filter(frame.get("filter")), _count(frame, "snapshot", 200))
        case "command":
            name = _optional(frame, "name", str, "")
            return Command(_id(frame), name, _optional(frame, "args", dict, {}))
    return None


def read_filter(given: Any) -> Filter:
    """Read a filter: each field a value or a list of values, `since` an RFC 3339 time. Raises BadFrame."""
    if given is None:
        return Filter()
    if not isinstance(given, dict):
        raise BadFrame("filter: an object is expected")
    lists = {name: given[name] for name in ("status", "kind", "booking", "mail") if given.get(name) is not None}
    if any(isinstance(value, list) and len(value) > MOST_VALUES for value in lists.values()):
        raise BadFrame(f"filter: at most {MOST_VALUES} values of a field are taken")
    try:
        found = msgspec.convert({n: v if isinstance(v, list) else [v] for n, v in lists.items()}, Filter)
        since = parse(msgspec.convert(given["since"], str)) if given.get("since") is not None else None
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise BadFrame(f"filter: {error}") from None
    if since is None:
        return found
    if since.tzinfo is None:
        raise BadFrame("filter: since needs an offset or Z")
    return msgspec.structs.replace(found, since=since.astimezone(UTC))


def cursor(store: str, seq: int, hashed: str) -> str:
    """Return a cursor, opaque to clients and valid across restarts. `hashed` is the `filter_hash` of its filter."""
    return f"{store}-{seq}-{hashed}"


def read_cursor(text: str) -> Place | None:
    """Read a cursor; None where it is none of ours."""
    match = _CURSOR.fullmatch(text)
    return Place(match[1], int(match[2]), match[3]) if match else None


def filter_hash(wanted: Filter) -> str:
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


def write_events(at: str, events: Sequence[Logged]) -> bytes:
    """Write `events` around bodies that are encoded already."""
    return b"".join(write_bodies(at, b",".join(event.body for event in events)))


def write_bodies(at: str, bodies: bytes) -> tuple[bytes, ...]:
    """Return the parts of `events`; `bodies`, separated by commas, is one of them and is not copied."""
    return b'{"type":"events","cursor":"%s","events":[' % at.encode(), bodies, b"]}"


def _optional(frame: Mapping[str, Any], name: str, type_: Any, default: Any) -> Any:
    value = frame.get(name)
    if value is None:
        return default
    if not isinstance(value, type_) or isinstance(value, bool):
        raise BadFrame(f"{name}: of the wrong type")
    return value


def _id(frame: Mapping[str, Any]) -> str | float | None:
    """Return the id that the answer will carry. An id that is nested could be too deep to be written again."""
    found: str | float | None = _optional(frame, "id", str | int | float, None)
    return found


def _seconds(frame: Mapping[str, Any], name: str) -> float:
    value = _optional(frame, name, int | float, 0)
    if not 0 <= value <= MOST_SECONDS:
        raise BadFrame(f"{name}: 0 to {MOST_SECONDS} is expected")
    return float(value)


def _count(frame: Mapping[str, Any], name: str, default: int) -> int:
    value: int = _optional(frame, name, int, default)
    if not 0 <= value <= MOST_MAILS:
        raise BadFrame(f"{name}: 0 to {MOST_MAILS} is expected")
    return value
