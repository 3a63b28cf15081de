"""The broker's side of the AsyncAPI document: incoming messages, results and dead letters. Pure."""

import json
from typing import Any, get_args

import msgspec

from notifier.asyncapi.schemas import REFS, TEXT, Schema, constant, one_of, record, ref
from notifier.domain.legacy_messages import ADDRESS_FIELDS, SERVICES, TEXT_FIELDS, LegacyMail
from notifier.domain.message_shapes import MAX_BYTES, SHAPES, Event
from notifier.errors import DeadLetterCode

_SUFFIX = "Data"
"""What the structs' names have and the schemas' names have not."""


def shapes() -> dict[str, Schema]:
    """Return the schemas of the data of all messages, generated from the structs that decode them."""
    structs = [*dict.fromkeys(SHAPES.values()), LegacyMail]
    _, found = msgspec.json.schema_components(structs, ref_template=REFS + "{name}")
    schemas: dict[str, Schema] = {}
    for name, schema in found.items():
        text = json.dumps(schema).replace(f'{_SUFFIX}"}}', '"}')
        schemas[name.removesuffix(_SUFFIX)] = {**json.loads(text), "title": name.removesuffix(_SUFFIX)}
    schemas["LegacyMail"]["allOf"] = [_any_of(*ADDRESS_FIELDS), _any_of(*TEXT_FIELDS)]
    return schemas


def _any_of(*fields: str) -> Schema:
    """Require that at least one of several fields is there and not empty."""
    return {"anyOf": [{"required": [name], "properties": {name: {**TEXT, "minLength": 1}}} for name in fields]}


def incoming() -> dict[str, Any]:
    """Return the messages that the service consumes, by name."""
    messages = {type_: _message(type_, _event(type_, shape)) for type_, shape in SHAPES.items()}
    enveloped = record({"service": one_of(SERVICES), "data": ref("LegacyMail")})
    messages["older"] = _message(
        "older", {"anyOf": [enveloped, ref("LegacyMail")]}, "The two shapes of older publishers"
    )
    return messages


def outgoing() -> dict[str, Any]:
    """Return the messages that the service publishes, by name."""
    headers = record({"x-notifier-error": one_of(get_args(DeadLetterCode)), "x-notifier-detail": TEXT})
    return {
        "changed": {
            **_message("changed", ref("PublicEvent"), "One change of one mail; the routing key is its type"),
            "headers": record({}, {"traceparent": TEXT}),
            "correlationId": {
                "location": "$message.header#/correlation_id",
                "description": "The property correlation_id of the message that caused it, or else its id",
            },
        },
        "dead_letter": {
            "name": "dead_letter",
            "title": "dead_letter",
            "summary": "An invalid message, unchanged, with the reason in its headers",
            "headers": headers,
            "payload": {},
        },
    }


def _event(type_: str, shape: type) -> Schema:
    data = ref(shape.__name__.removesuffix(_SUFFIX))
    if type_ in ("booking.confirmed", "booking.changed"):
        whole = {name: {"minItems": 1} for name in ("passengers", "flights")}
        data = {"allOf": [data, {"required": [*whole], "properties": whole}]}
    _, found = msgspec.json.schema_components([Event])
    optional = {name: schema for name, schema in found["Event"]["properties"].items() if name not in ("type", "data")}
    return record({"type": constant(type_), "data": data}, optional)


def _message(name: str, payload: Schema, summary: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary or f"CloudEvent {name}, at most {MAX_BYTES // 1024} KiB",
        "contentType": "application/json" if name == "older" else "application/cloudevents+json",
        "payload": payload,
    }
