"""The feed in the AsyncAPI document: its frames, both ways, and its commands. Pure."""

from typing import Any

from notifier.asyncapi.schemas import (
    COUNT,
    ID,
    MAIL,
    NUMBER,
    SMTP,
    TEXT,
    TIME,
    TOTALS,
    YES_OR_NO,
    Schema,
    constant,
    extended,
    listed,
    nullable,
    one_of,
    record,
    ref,
    several,
)
from notifier.domain.events import MAX_EVENTS
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol import MAX_MAILS, MAX_SECONDS, MAX_VALUES

REASONS = ("none", "expired", "restarted", "filter_changed", "invalid")
CLOSE_CODES = {
    1009: "a frame was too large",
    1011: "an internal error, or no pong within 20 s: connect again and resume",
    1012: "the service restarts: connect again and resume",
    1013: "there are too many viewers, or too many operators: connect again later",
    4400: "a frame broke the protocol",
    4401: "no valid token",
    4408: "no hello within 10 s",
    4429: "too many frames, bytes or commands",
    4508: "read too slowly: connect again and resume",
}

_ID = {"id": TEXT}
_SNAPSHOT_SIZE: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_MAILS, "default": 200}

FILTER = record(
    {},
    {
        "status": several(one_of(Status)),
        "kind": several(one_of(Kind)),
        "booking": several(TEXT),
        "mail": several(TEXT),
        "since": {**TEXT, "description": "Earliest time of creation, RFC 3339"},
    },
    description=f"Fields are ANDed, the values of one (at most {MAX_VALUES}) ORed",
)

STEP = record(
    {
        "at": TIME,
        "type": TEXT,
        "status": one_of(Status),
        "attempt": COUNT,
        "next_attempt_at": nullable(TIME),
        "smtp": nullable(SMTP),
        "error": nullable(TEXT),
    }
)
WHOLE_MAIL = extended(
    MAIL,
    record(
        {
            "timeline": listed(STEP),
            "headers": listed(listed(TEXT, minItems=2, maxItems=2)),
            "text": nullable(TEXT),
            "html": nullable(TEXT),
            "calendars": listed(record({"name": TEXT, "text": TEXT})),
        },
        {"preview": {**TEXT, "description": "Path under which the HTML can be got once"}},
    ),
)
_PAUSED = record({"paused": YES_OR_NO})

COMMANDS: dict[str, tuple[Schema, Schema]] = {
    "submit": (
        record({"message": {"type": "object", "description": "As on the broker"}}),
        record({"mails": listed(TEXT), "repeated": YES_OR_NO}),
    ),
    "mail.list": (
        record(
            {}, {"filter": FILTER, "before": nullable(COUNT), "limit": {**COUNT, "minimum": 1, "maximum": MAX_MAILS}}
        ),
        record({"mails": listed(ref("Mail")), "next": nullable(COUNT)}),
    ),
    "mail.show": (record(_ID, {"preview": YES_OR_NO}), WHOLE_MAIL),
    "mail.retry": (record(_ID), ref("Mail")),
    "mail.cancel": (record(_ID), ref("Mail")),
    "mail.resolve": (record({**_ID, "as": {"enum": ["sent", "resend"]}}), ref("Mail")),
    "address.erase": (
        record({"email": TEXT}),
        record({"mails": COUNT, "cancelled": COUNT, "bookings": COUNT, "remaining": COUNT}),
    ),
    "send.pause": (record({}), _PAUSED),
    "send.resume": (record({}), _PAUSED),
}
"""Arguments and value of each command."""


def _ordered(name: str, args: Schema) -> Schema:
    given = {"name": constant(name), **({"args": args} if args["required"] else {})}
    return record(given, {"id": ID, "args": args})


_TRANSPORT = record(
    {
        "transport": TEXT,
        "state": {"enum": ["ready", "paused"]},
        "reason": nullable(TEXT),
        "until": nullable(TIME),
        "quota_left": nullable(COUNT),
    }
)

CLIENT: dict[str, tuple[str, Schema]] = {
    "hello": (
        "First, within 10 s, once",
        record(
            {},
            {
                "token": nullable(TEXT),
                "resume": {**nullable(TEXT), "description": "The last cursor"},
                "filter": nullable(FILTER),
                "snapshot": _SNAPSHOT_SIZE,
                "stats": {**NUMBER, "maximum": MAX_SECONDS, "description": "Seconds between two stats; 0: none"},
            },
        ),
    ),
    "filter": (
        "Watch other mails; a snapshot with the same id follows",
        record({"filter": nullable(FILTER)}, {"id": ID, "snapshot": _SNAPSHOT_SIZE}),
    ),
    "command": (
        "Have something done; a result with the same id follows",
        {"anyOf": [_ordered(name, args) for name, (args, _) in COMMANDS.items()]},
    ),
}
"""What a client sends: what for, and its fields beside `type`."""

SERVER: dict[str, tuple[str, Schema]] = {
    "welcome": (
        "The answer to hello",
        record(
            {
                "protocol": constant(1),
                "server": TEXT,
                "role": {"enum": ["viewer", "operator"]},
                "resumed": YES_OR_NO,
                "replay": {**COUNT, "description": "Events that follow before what is new"},
                "heartbeat": {**NUMBER, "description": "Seconds after which there is a frame in any case"},
                "now": TIME,
            },
            {"reason": {"enum": list(REASONS), "description": "Why it was not resumed"}},
        ),
    ),
    "snapshot": (
        "Replace what you have",
        record(
            {
                "cursor": TEXT,
                "totals": TOTALS,
                "mails": listed(ref("Mail"), maxItems=MAX_MAILS),
                "more": YES_OR_NO,
            },
            {"id": ID},
        ),
    ),
    "events": (
        "Apply an event when its mail's rev is newer than yours, then keep the cursor",
        record({"cursor": TEXT, "events": listed(ref("Event"), maxItems=MAX_EVENTS)}),
    ),
    "stats": (
        "How the service is; the latest counts",
        record(
            {
                "at": TIME,
                "totals": TOTALS,
                "pending": record({"due": COUNT, "scheduled": COUNT, "retrying": COUNT}),
                "rates": record({"received": NUMBER, "sent": NUMBER, "failed": NUMBER}, description="Mails a second"),
                "queue": nullable(record({"messages": COUNT, "consumers": COUNT})),
                "broker": record({"state": {"enum": ["connected", "connecting", "off"]}, "since": nullable(TIME)}),
                "smtp": listed(_TRANSPORT),
                "paused": YES_OR_NO,
                "oldest_due": nullable(TIME),
            }
        ),
    ),
    "result": (
        "What came of a command",
        {
            "anyOf": [record({"id": ID, "ok": {"const": True}, "value": value}) for _, value in COMMANDS.values()]
            + [record({"id": ID, "ok": {"const": False}, "error": record({"code": TEXT, "message": TEXT})})]
        },
    ),
    "bye": (
        "Before a planned close",
        record({"code": {"type": "integer"}, "reconnect": YES_OR_NO, "after_ms": COUNT}),
    ),
}
"""What the server sends: what for, and its fields beside `type`."""


def frame(type_: str, fields: Schema) -> Schema:
    """Describe a frame: its fields and its `type`."""
    if "anyOf" in fields:
        return {"anyOf": [frame(type_, each) for each in fields["anyOf"]]}
    return extended(record({"type": constant(type_)}), fields)


def describe() -> dict[str, Any]:
    """Give the messages of the feed by name."""
    return {
        name: {"name": name, "title": name, "summary": summary, "payload": frame(name, fields)}
        for name, (summary, fields) in {**CLIENT, **SERVER}.items()
    }
