"""The broker's side of the AsyncAPI document: messages taken, results and dead letters given. Pure."""

import json
from typing import Any, get_args

import msgspec

from notifier.asyncapi.schemas import TEXT, Schema, constant, nullable, one_of, record, ref
from notifier.domain.messages import LINE, MAX_BYTES, MAX_ID_BYTES, OLDER, OLDER_SERVICES, SHAPES, WORD
from notifier.errors import DeadLetterCode

_REFS = "#/components/schemas/"


def shapes() -> dict[str, Schema]:
    """Give the schemas of the data of all messages, read from the types that decode them."""
    _, found = msgspec.json.schema_components([*dict.fromkeys(SHAPES.values()), OLDER], ref_template=_REFS + "{name}")
    named: dict[str, Schema] = json.loads(json.dumps(found).replace(f"{_REFS}_", _REFS))
    schemas = {name.removeprefix("_"): {**schema, "title": name.removeprefix("_")} for name, schema in named.items()}
    schemas["OlderMail"]["allOf"] = [_any_of("recepientEmail", "recipientEmail"), _any_of("text", "content", "message")]
    return schemas


def _any_of(*fields: str) -> Schema:
    """Demand that at least one of several fields is there and has something in it."""
    return {"anyOf": [{"required": [name], "properties": {name: {**TEXT, "minLength": 1}}} for name in fields]}


def taken() -> dict[str, Any]:
    """Give the messages that are taken in, by name."""
    found = {type_: _message(type_, _event(type_, shape)) for type_, shape in SHAPES.items()}
    enveloped = record({"service": one_of(OLDER_SERVICES), "data": ref("OlderMail")})
    found["older"] = _message("older", {"anyOf": [enveloped, ref("OlderMail")]}, "The two shapes of older publishers")
    return found


def given() -> dict[str, Any]:
    """Give the messages that are published, by name."""
    letter = record({"x-notifier-error": one_of(get_args(DeadLetterCode)), "x-notifier-detail": TEXT})
    return {
        "changed": {
            **_message("changed", ref("Event"), "One change of one mail; the routing key is its type"),
            "headers": record({}, {"traceparent": TEXT}),
            "correlationId": {
                "location": "$message.header#/correlation_id",
                "description": "The property correlation_id of the message that caused it, or else its id",
            },
        },
        "letter": {
            "name": "letter",
            "title": "letter",
            "summary": "A message that cannot be used, as it came, with the reason in its headers",
            "headers": letter,
            "payload": {},
        },
    }


def _event(type_: str, shape: type) -> Schema:
    data = ref(shape.__name__.removeprefix("_"))
    if type_ in ("booking.confirmed", "booking.changed"):
        whole = {name: {"minItems": 1} for name in ("passengers", "flights")}
        data = {"allOf": [data, {"required": [*whole], "properties": whole}]}
    return record(
        {"type": constant(type_), "data": data},
        {
            "specversion": {**TEXT, "pattern": "^1\\."},
            "id": {
                **nullable({**TEXT, **LINE}),
                "description": f"With source the identity, each at most {MAX_ID_BYTES} bytes in UTF-8; "
                "falls back to the property message_id",
            },
            "source": {**TEXT, **WORD},
            "time": {**nullable(TEXT), "description": "RFC 3339 with offset; falls back to the property timestamp"},
            "traceparent": {},
        },
    )


def _message(name: str, payload: Schema, summary: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary or f"CloudEvent {name}, at most {MAX_BYTES // 1024} KiB",
        "contentType": "application/json" if name == "older" else "application/cloudevents+json",
        "payload": payload,
    }
