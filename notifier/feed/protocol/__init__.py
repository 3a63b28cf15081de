"""The protocol `notifier.feed.v1`: every frame, command, value and close code, defined once.

The server and the client read and write these structs, and the AsyncAPI document is generated from them. The limits
stand in `Meta`, beside the description of each field.
"""

from notifier.domain.events import PublicEvent
from notifier.domain.public_mail import PublicMail, public_mail
from notifier.feed.protocol.close_codes import CloseCode
from notifier.feed.protocol.commands import COMMANDS, CommandSpec
from notifier.feed.protocol.cursors import Cursor, cursor, read_cursor
from notifier.feed.protocol.errors import BadFrame, CommandError
from notifier.feed.protocol.fields import MAX_MAILS, FrameId, Role, Totals
from notifier.feed.protocol.filters import FilterFields, filter_hash, read_filter
from notifier.feed.protocol.frames import (
    HEARTBEAT,
    PROTOCOL,
    ByeFrame,
    ClientFrame,
    CommandFrame,
    EventsFrame,
    Failure,
    FilterFrame,
    HelloFrame,
    ResultFrame,
    ResumeRefusal,
    ServerFrame,
    SnapshotFrame,
    StatsFrame,
    WelcomeFrame,
    read_frame,
    read_server_frame,
    write,
    write_bodies,
    write_events,
    write_result,
    write_snapshot,
)
from notifier.feed.protocol.status import Readiness, ReadinessStates

__all__ = [
    "COMMANDS",
    "HEARTBEAT",
    "MAX_MAILS",
    "PROTOCOL",
    "BadFrame",
    "ByeFrame",
    "ClientFrame",
    "CloseCode",
    "CommandError",
    "CommandFrame",
    "CommandSpec",
    "Cursor",
    "EventsFrame",
    "Failure",
    "FilterFields",
    "FilterFrame",
    "FrameId",
    "HelloFrame",
    "PublicEvent",
    "PublicMail",
    "Readiness",
    "ReadinessStates",
    "ResultFrame",
    "ResumeRefusal",
    "Role",
    "ServerFrame",
    "SnapshotFrame",
    "StatsFrame",
    "Totals",
    "WelcomeFrame",
    "cursor",
    "filter_hash",
    "public_mail",
    "read_cursor",
    "read_filter",
    "read_frame",
    "read_server_frame",
    "write",
    "write_bodies",
    "write_events",
    "write_result",
    "write_snapshot",
]
