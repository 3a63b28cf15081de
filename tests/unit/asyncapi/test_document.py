"""The AsyncAPI document: as the specification wants it, and as the service is."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml
from support.cli import run
from support.described import WHOLE, referenced
from support.places import DOCS

from notifier.asyncapi.document import written

DOCUMENT = DOCS / "asyncapi.yaml"


def references(part: Any) -> Iterator[str]:
    """Find all references."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_the_document_in_docs_is_the_one_of_this_version() -> None:
    """Write it anew with `notifier contract > docs/asyncapi.yaml`."""
    assert DOCUMENT.read_text(encoding="utf-8") == written()
    assert yaml.safe_load(written()) == WHOLE


def test_the_command_prints_it(capfd: pytest.CaptureFixture[str]) -> None:
    """As YAML, and as JSON."""
    assert run("contract")[:2] == (0, written())
    assert json.loads(run("contract", "--json")[1]) == WHOLE
    del capfd


def test_every_reference_leads_somewhere() -> None:
    """To a part of the document itself."""
    assert all(referenced(reference) for reference in references(WHOLE))


def test_operations_use_the_messages_of_their_channel() -> None:
    """As AsyncAPI 3.0 demands (Operation Object), and each channel's messages are all used."""
    used = [reference for each in WHOLE["operations"].values() for reference in references(each["messages"])]
    for operation in WHOLE["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["action"] in ("send", "receive")
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
    there = [
        f"#/channels/{name}/messages/{key}" for name, each in WHOLE["channels"].items() for key in each["messages"]
    ]
    assert sorted(used) == sorted(there)


def test_every_payload_is_a_json_schema() -> None:
    """Of draft 7, of which AsyncAPI's schema object is a superset."""
    for name in WHOLE["components"]["messages"]:
        jsonschema_rs.Draft7Validator(
            {**referenced(f"#/components/messages/{name}/payload"), "components": WHOLE["components"]}
        )
    for schema in WHOLE["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})
