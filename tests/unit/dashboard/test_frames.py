"""The types of the dashboard's frames, `frames.d.ts`, against the AsyncAPI document."""

import re

import pytest
import yaml
from support.places import ROOT

TYPES = (ROOT / "notifier" / "dashboard" / "frames.d.ts").read_text(encoding="utf-8")
COMPONENTS = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))["components"]
COMMANDS = {each["title"] for each in COMPONENTS["messages"]["command"]["payload"]["anyOf"]}
SCHEMAS = COMPONENTS["schemas"]
INTERFACES = {
    "Mail": "PublicMail",
    "MailEvent": "PublicEvent",
    "Filter": "FilterFields",
    "Hello": "HelloFrame",
    "Refilter": "FilterFrame",
    "Welcome": "WelcomeFrame",
    "Snapshot": "SnapshotFrame",
    "Events": "EventsFrame",
    "Stats": "StatsFrame",
    "Transport": "TransportState",
    "Bye": "ByeFrame",
}
"""The interfaces of the dashboard, with the names of their schemas in the document."""


def fields(interface: str) -> dict[str, bool]:
    """Read the fields of an interface, and whether each of them is always there."""
    found = re.search(rf"^export interface {interface} \{{\n(.*?)^\}}", TYPES, re.MULTILINE | re.DOTALL)
    assert found, f"frames.d.ts has no interface {interface}"
    return {name: not optional for name, optional in re.findall(r"^  (\w+)(\??):", found[1], re.MULTILINE)}


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_interface_has_the_fields_of_the_document(interface: str) -> None:
    """None is missing, none is left over, and the same ones are optional."""
    schema = SCHEMAS[INTERFACES[interface]]
    assert fields(interface) == {name: name in schema["required"] for name in schema["properties"]}


@pytest.mark.parametrize("name", ["Status", "Kind"])
def test_a_type_has_the_words_of_the_document(name: str) -> None:
    """The service knows the same statuses and kinds."""
    found = re.search(rf"^export type {name} =(.*?);", TYPES, re.MULTILINE | re.DOTALL)
    assert found
    assert sorted(re.findall(r'"([a-z.]+)"', found[1])) == sorted(SCHEMAS[name]["enum"])


def test_the_commands_are_in_the_document() -> None:
    """The dashboard sends no command that the service does not know."""
    (commands,) = re.findall(r"^export interface Commands \{\n(.*?)^\}", TYPES, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r'^  "?([a-z.]+)"?: \{', commands, re.MULTILINE)) <= COMMANDS
