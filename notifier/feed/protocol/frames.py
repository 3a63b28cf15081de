"""The frames: one JSON object per WebSocket text frame, in both directions. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from notifier.domain.events import MAX_EVENTS, MailFilter, PublicEvent, StoredEvent
from notifier.domain.public_mail import Count, PublicMail, Time
from notifier.feed.protocol.commands import FILTER_SCHEMA
from notifier.feed.protocol.errors import BadFrame
from notifier.feed.protocol.fields import MAX_MAILS, FrameId, Rate, Role, Totals
from notifier.feed.protocol.filters import read_filter
from notifier.feed.protocol.mismatch import mismatch
from notifier.feed.protocol.status import BrokerState, PendingMails, QueueStatus, Rates, TransportState

PROTOCOL = "notifier.feed.v1"
DEFAULT_MAILS = 200
"""Mails in a snapshot for a client that does not say how many it wants."""
MAX_SECONDS = 3600
"""Seconds between two `stats` frames, at most."""
HEARTBEAT = 20
"""Seconds without an event after which an empty `events` frame moves the cursor."""

ResumeRefusal = Literal["none", "expired", "restarted", "filter_changed", "invalid"]
"""Why a client gets a snapshot instead of what it has missed."""
_RoleWord = Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Role))})]
_RefusalWord = Annotated[str, Meta(extra_json_schema={"enum": list(get_args(ResumeRefusal))})]

_Filter = Annotated[
    msgspec.Raw | UnsetType,
    Meta(description="Which mails the client wants to see; all by default", extra_json_schema=FILTER_SCHEMA),
]
_SnapshotSize = Annotated[
    Annotated[int, Meta(ge=0, le=MAX_MAILS)] | None,
    Meta(description=f"Mails in the snapshot at most; {DEFAULT_MAILS} by default"),
]


class _Watch(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Which mails a client wants to see, and how many of them at first.

    `filter` is decoded by `wanted`, after the client's token was judged.
    """

    filter: _Filter = UNSET
    snapshot: _SnapshotSize = None

    def wanted(self) -> MailFilter:
        """Decode the filter. Raises BadFrame."""
        return MailFilter() if self.filter is UNSET else read_filter(self.filter)

    @property
    def mails(self) -> int:
        """How many mails its snapshot has at most."""
        return DEFAULT_MAILS if self.snapshot is None else self.snapshot


class HelloFrame(_Watch, frozen=True, kw_only=True, tag="hello", omit_defaults=True):
    """The first frame of a client, within 10 s, once."""

    token: Annotated[str | None, Meta(description="A viewer's or an operator's token, if the service needs one")] = None
    resume: Annotated[str | None, Meta(description="The last cursor, to get what was missed since")] = None
    stats: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_SECONDS)] | None,
        Meta(description="Seconds between two stats frames, at least 0.5; 0 or null: none"),
    ] = None


class FilterFrame(_Watch, frozen=True, kw_only=True, tag="filter", omit_defaults=True):
    """Watch other mails from now on; a snapshot with the same `id` follows."""

    id: Annotated[FrameId, Meta(description="A mark of the client's own, repeated in the snapshot")] = None


class CommandFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="command"):
    """Have something done; a result with the same `id` follows."""

    # `args` is decoded by the handler of the command, once the command is permitted.
    id: Annotated[FrameId, Meta(description="A mark of the client's own, repeated in the result")] = None
    name: Annotated[str | None, Meta(description="Name of the command")] = None
    args: Annotated[msgspec.Raw | UnsetType, Meta(description="Arguments of the command")] = UNSET


ClientFrame = HelloFrame | FilterFrame | CommandFrame


class WelcomeFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """The answer to hello."""

    protocol: Annotated[Literal[1], Meta(description="Version of the protocol")]
    server: Annotated[str, Meta(description="Name and version of the service")]
    role: Annotated[_RoleWord, Meta(description="What the client may do")]
    resumed: Annotated[bool, Meta(description="Whether the client gets what it has missed, instead of a snapshot")]
    replay: Annotated[Count, Meta(description="Missed events that follow before new ones")]
    reason: Annotated[_RefusalWord | UnsetType, Meta(description="Why it was not resumed")] = UNSET
    heartbeat: Annotated[Rate, Meta(description="Seconds within which there is a frame in any case")]
    now: Annotated[Time, Meta(description="The service's time")]


class SnapshotFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """The state that replaces everything the client has."""

    id: Annotated[FrameId | UnsetType, Meta(description="The id of the filter frame that it answers")] = UNSET
    cursor: Annotated[str, Meta(description="Cursor of the state")]
    totals: Annotated[Totals, Meta(description="All mails by status, whatever the filter")]
    mails: Annotated[list[PublicMail], Meta(max_length=MAX_MAILS, description="The newest mails that match")]
    more: Annotated[bool, Meta(description="Whether further mails match")]


class EventsFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="events"):
    """Changes. Apply an event if its mail's rev is newer than yours, then keep the cursor."""

    cursor: Annotated[str, Meta(description="Cursor after these events")]
    events: Annotated[list[PublicEvent], Meta(max_length=MAX_EVENTS, description="Events that match, oldest first")]


class StatsFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="stats"):
    """The state of the service; the latest frame counts."""

    at: Annotated[Time, Meta(description="When the figures were read")]
    totals: Annotated[Totals, Meta(description="All mails by status")]
    pending: Annotated[PendingMails, Meta(description="The pending mails, by what they wait for")]
    rates: Annotated[Rates, Meta(description="Mails a second, over the last ten seconds")]
    queue: Annotated[QueueStatus | None, Meta(description="The broker's queue; null while it is unknown")]
    broker: Annotated[BrokerState, Meta(description="The connection to the broker")]
    smtp: Annotated[list[TransportState], Meta(description="The SMTP accounts")]
    paused: Annotated[bool, Meta(description="Whether an operator has paused sending")]
    oldest_due: Annotated[Time | None, Meta(description="Since when the longest waiting due mail has been due")]


class Failure(Struct, frozen=True, kw_only=True):
    """Why a command was not carried out."""

    code: Annotated[
        str,
        Meta(
            description="unknown_command, forbidden, invalid, not_found, conflict, unavailable, internal, "
            "or why a submitted message cannot be used (x-notifier-error)"
        ),
    ]
    message: Annotated[str, Meta(description="The same for people")]


class ResultFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    """The answer to a command: `value` if it was carried out, `error` if not."""

    id: Annotated[FrameId, Meta(description="The id of the command")]
    ok: Annotated[bool, Meta(description="Whether it was carried out")]
    value: Annotated[msgspec.Raw | UnsetType, Meta(description="The value of the command")] = UNSET
    error: Annotated[Failure | UnsetType, Meta(description="Why it was not carried out")] = UNSET


class ErrorFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """What is wrong with a frame that is not a command. This version closes the connection instead."""

    id: Annotated[FrameId | UnsetType, Meta(description="The id of the frame")] = UNSET
    code: Annotated[str, Meta(description="What is wrong, for programs")]
    message: Annotated[str, Meta(description="The same for people")]


class ByeFrame(Struct, frozen=True, kw_only=True, tag_field="type", tag="bye"):
    """The announcement of a planned close."""

    code: Annotated[int, Meta(description="The close code that follows")]
    reconnect: Annotated[bool, Meta(description="Whether the client may connect again")]
    after_ms: Annotated[Count, Meta(description="Milliseconds to wait before that")]


ServerFrame = WelcomeFrame | SnapshotFrame | EventsFrame | StatsFrame | ResultFrame | ErrorFrame | ByeFrame


class _Frame(Struct, frozen=True):
    type: str


_read_type = msgspec.json.Decoder(_Frame).decode
_client_types: Mapping[str, type[ClientFrame]] = {"hello": HelloFrame, "filter": FilterFrame, "command": CommandFrame}
_read_client: Mapping[str, Callable[[str], ClientFrame]] = {
    name: msgspec.json.Decoder(type_).decode for name, type_ in _client_types.items()
}
_server_types = frozenset(("welcome", "snapshot", "events", "stats", "result", "error", "bye"))
_read_server: Callable[[str | bytes], ServerFrame] = msgspec.json.Decoder(ServerFrame).decode


def read_frame(text: str | bytes) -> ClientFrame | None:
    """Read a client's frame; return None for a type that this version does not know. Raises BadFrame.

    Unknown fields, filters and arguments are skipped and not decoded: anyone can send them, also without a valid
    token, and deeply nested arrays of 64 KiB would occupy the event loop for milliseconds.
    """
    if isinstance(text, bytes):
        raise BadFrame("text frames only")
    type_ = "frame"
    try:
        type_ = _read_type(text).type
        return _read_client[type_](text) if type_ in _read_client else None
    except msgspec.ValidationError as error:
        raise BadFrame(mismatch(error, _client_types.get(type_, _Frame), type_)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise BadFrame("not JSON") from None


def read_server_frame(text: str | bytes) -> ServerFrame | None:
    """Read a server's frame; return None for a type that this version does not know. Raises BadFrame."""
    try:
        return _read_server(text) if _read_type(text).type in _server_types else None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise BadFrame(f"the service sent a frame that this version cannot read: {error}") from None


def write(frame: ClientFrame | ServerFrame) -> bytes:
    """Write a frame."""
    return msgspec.json.encode(frame)


def write_result(id_: FrameId, value: Struct | msgspec.Raw) -> tuple[bytes, ...]:
    """Return the parts of a successful `result`. A value that is encoded already is one of them and is not copied."""
    encoded = value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    return b'{"type":"result","id":%s,"ok":true,"value":' % msgspec.json.encode(id_), bytes(encoded), b"}"


def write_snapshot(id_: FrameId, at: str, totals: Totals, mails: bytes, *, more: bool) -> tuple[bytes, ...]:
    """Return the parts of `snapshot`; `mails`, the encoded array, is one of them and is not copied."""
    id_field = b"" if id_ is None else b'"id":%s,' % msgspec.json.encode(id_)
    head = b'{"type":"snapshot",%s"cursor":%s,"totals":%s,"more":%s,"mails":'
    fields = (id_field, *map(msgspec.json.encode, (at, totals, more)))
    return head % fields, mails, b"}"


def write_events(at: str, events: Sequence[StoredEvent]) -> bytes:
    """Write `events` around bodies that are encoded already."""
    return b"".join(write_bodies(at, b",".join(event.body for event in events)))


def write_bodies(at: str, bodies: bytes) -> tuple[bytes, ...]:
    """Return the parts of `events`; `bodies`, separated by commas, is one of them and is not copied."""
    return b'{"type":"events","cursor":"%s","events":[' % at.encode(), bodies, b"]}"
