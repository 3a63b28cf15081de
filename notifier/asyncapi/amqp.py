"""The broker's side of the AsyncAPI document: messages taken, results and dead letters given. Pure."""

import json
from typing import Any, get_args

import msgspec

from notifier.asyncapi.schemas import TEXT, Schema, constant, listed, one_of, record, ref
from notifier.contract import (
    LONGEST_SUBJECT,
    MOST_ADDRESSES,
    MOST_BYTES,
    MOST_FLIGHTS,
    OLDER,
    OLDER_SERVICES,
    SHAPES,
)
from notifier.errors import DeadLetterCode

_REFS = "#/components/schemas/"


def shapes() -> dict[str, Schema]:
    """Give the schemas of the data of all messages, read from the types that decode them."""
    _, found = msgspec.json.schema_components([*dict.fromkeys(SHAPES.values()), OLDER], ref_template=_REFS + "{name}")
    named: dict[str, Schema] = json.loads(json.dumps(found).replace(f"{_REFS}_", _REFS))
    schemas = {name.removeprefix("_"): {**schema, "title": name.removeprefix("_")} for name, schema in named.items()}
    limits = {
        "Booking": {"passengers": {"maxItems": MOST_ADDRESSES}, "flights": {"maxItems": MOST_FLIGHTS}},
        "Request": {"subject": {"maxLength": LONGEST_SUBJECT}},
        "OlderMail": {"subject": {"maxLength": LONGEST_SUBJECT}},
    }
    for name, fields in limits.items():
        for field, limit in fields.items():
            schemas[name]["properties"][field] |= limit
    addresses = listed(TEXT, maxItems=MOST_ADDRESSES, minItems=1)
    schemas["Request"]["properties"]["to"] = {"anyOf": [TEXT, addresses]}
    return schemas


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
    return record(
        {"type": constant(type_), "data": ref(shape.__name__.removeprefix("_"))},
        {
            "specversion": {**TEXT, "pattern": "^1\\."},
            "id": {**TEXT, "description": "With source the identity; falls back to the property message_id"},
            "source": TEXT,
            "time": {**TEXT, "description": "RFC 3339 with offset"},
            "traceparent": {},
        },
    )


def _message(name: str, payload: Schema, summary: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary or f"CloudEvent {name}, at most {MOST_BYTES // 1024} KiB",
        "contentType": "application/json" if name == "older" else "application/cloudevents+json",
        "payload": payload,
    }
