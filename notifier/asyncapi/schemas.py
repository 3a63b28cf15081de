"""JSON Schemas of what messages and frames are made of; names of fields that are shared are in one place. Pure.

They are open: a reader ignores fields that it does not know.
"""

from typing import Any

from notifier.domain.events import EVENT_TYPES
from notifier.domain.mail import Kind, Status

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": 0}
YES_OR_NO: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, milliseconds"}
ID: Schema = {"type": ["string", "number", "null"]}
"""What a client marks a frame with, to find it again in the answer."""


def ref(name: str) -> Schema:
    """Point to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    """Describe an object by its fields."""
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}, **more}


def extended(one: Schema, other: Schema) -> Schema:
    """Describe an object by the fields of two descriptions."""
    properties = {**one["properties"], **other["properties"]}
    return {**one, **other, "required": [*one["required"], *other["required"]], "properties": properties}


def listed(items: Schema, **more: Any) -> Schema:
    """Describe an array."""
    return {"type": "array", "items": items, **more}


def nullable(schema: Schema) -> Schema:
    """Describe what may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def constant(value: Any) -> Schema:
    """Describe one value."""
    return {"const": value}


def one_of(values: Any) -> Schema:
    """Describe one of several words."""
    return {"enum": [str(value) for value in values]}


def several(schema: Schema) -> Schema:
    """Describe a value or a list of values."""
    return {"anyOf": [schema, listed(schema)]}


TOTALS = record({str(status): COUNT for status in Status}, description="Mails by status")

FLIGHT = record({"number": TEXT, "from": TEXT, "to": TEXT, "departs_at": nullable(TIME)})

SMTP = record({"code": {"type": "integer", "minimum": 200, "maximum": 599}, "text": TEXT})

MAIL = record(
    {
        "id": TEXT,
        "rev": {"type": "integer", "minimum": 1, "description": "Rises by one with every change"},
        "kind": one_of(Kind),
        "status": one_of(Status),
        "to": {**TEXT, "description": "Masked, but in mail.show"},
        "subject": TEXT,
        "booking": nullable(TEXT),
        "flight": nullable(FLIGHT),
        "attempt": COUNT,
        "created_at": TIME,
        "send_at": TIME,
        "expires_at": nullable(TIME),
        "next_attempt_at": nullable(TIME),
        "sent_at": nullable(TIME),
        "message_id": TEXT,
        "event": {**TEXT, "description": "Id of the message that caused it"},
        "smtp": nullable(SMTP),
        "error": nullable(TEXT),
    }
)

EVENT = record(
    {
        "specversion": constant("1.0"),
        "id": TEXT,
        "source": TEXT,
        "type": one_of(EVENT_TYPES),
        "time": TIME,
        "subject": {**TEXT, "description": "Id of the mail"},
        "data": record({"prev": nullable(one_of(Status)), "mail": ref("Mail")}),
    },
    {"traceparent": TEXT},
    description="A CloudEvent: one change of one mail",
)
