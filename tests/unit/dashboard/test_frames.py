"""The types of the dashboard's frames, `frames.d.ts`, against the AsyncAPI document."""

import re
from typing import Any

import pytest
import yaml
from support.places import ROOT

TYPES = (ROOT / "notifier" / "dashboard" / "frames.d.ts").read_text(encoding="utf-8")
COMPONENTS = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))["components"]
PAYLOADS = {name: message["payload"] for name, message in COMPONENTS["messages"].items()}
COMMANDS = {each["properties"]["name"]["const"]: each["properties"] for each in PAYLOADS["command"]["anyOf"]}
DESCRIBED: dict[str, Any] = {
    "Mail": COMPONENTS["schemas"]["Mail"],
    "MailEvent": COMPONENTS["schemas"]["Event"],
    "Filter": COMMANDS["mail.list"]["args"]["properties"]["filter"],
    "Hello": PAYLOADS["hello"],
    "Refilter": PAYLOADS["filter"],
    "Welcome": PAYLOADS["welcome"],
    "Snapshot": PAYLOADS["snapshot"],
    "Events": PAYLOADS["events"],
    "Stats": PAYLOADS["stats"],
    "Transport": PAYLOADS["stats"]["properties"]["smtp"]["items"],
    "Bye": PAYLOADS["bye"],
}


def fields(interface: str) -> dict[str, bool]:
    """Read the fields of an interface, and whether each of them is always there."""
    found = re.search(rf"^export interface {interface} \{{\n(.*?)^\}}", TYPES, re.MULTILINE | re.DOTALL)
    assert found, f"frames.d.ts has no interface {interface}"
    return {name: not optional for name, optional in re.findall(r"^  (\w+)(\??):", found[1], re.MULTILINE)}


@pytest.mark.parametrize("interface", DESCRIBED)
def test_an_interface_has_the_fields_of_the_document(interface: str) -> None:
    """None is missing, none is left over, and the same ones are optional."""
    schema = DESCRIBED[interface]
    assert fields(interface) == {name: name in schema["required"] for name in schema["properties"]}


@pytest.mark.parametrize("name", ["Status", "Kind"])
def test_a_type_has_the_words_of_the_document(name: str) -> None:
    """The service knows the same statuses and kinds."""
    found = re.search(rf"^export type {name} =(.*?);", TYPES, re.MULTILINE | re.DOTALL)
    assert found
    assert re.findall(r'"([a-z.]+)"', found[1]) == DESCRIBED["Mail"]["properties"][name.lower()]["enum"]


def test_the_commands_are_in_the_document() -> None:
    """The dashboard sends no command that the service does not know."""
    (commands,) = re.findall(r"^export interface Commands \{\n(.*?)^\}", TYPES, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r'^  "?([a-z.]+)"?: \{', commands, re.MULTILINE)) <= COMMANDS.keys()
