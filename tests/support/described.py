"""The AsyncAPI document, against which tests check real frames and messages."""

import json
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema_rs

from notifier.asyncapi.document import document

WHOLE = document()


@cache
def validator(message: str) -> Any:
    """Return a strict validator for the payload of a message, which rejects fields that the document does not have.

    Readers must ignore unknown fields, so the document allows them; tests must detect them.
    """
    whole = closed(document())
    payload = whole["components"]["messages"][message]["payload"]
    return jsonschema_rs.Draft7Validator({**payload, "components": whole["components"]})


def closed(schema: Any) -> Any:
    """Forbid unknown fields in every object."""
    found = deepcopy(schema)
    if isinstance(found, list):
        return [closed(each) for each in found]
    if not isinstance(found, dict):
        return found
    if "properties" in found and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return {name: closed(each) for name, each in found.items()}


def check_frame(text: str | bytes) -> None:
    """Assert that a frame of the feed matches the document."""
    frame = json.loads(text)
    fault = next(validator(frame["type"]).iter_errors(frame), None)
    assert fault is None, f"{frame['type']} at {list(fault.instance_path)}: {fault.message}: {str(frame)[:300]}"


def check_event(body: bytes) -> None:
    """Assert that a published result matches the document."""
    fault = next(validator("changed").iter_errors(json.loads(body)), None)
    assert fault is None, f"event at {list(fault.instance_path)}: {fault.message}"


def referenced(reference: str) -> Any:
    """Return the part of the document to which a reference leads."""
    part: Any = WHOLE
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part
