"""The roles that commands need, and the values that their arguments can have."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from support.frames import shown
from support.structs import structs_of, takes_positions, undescribed

from notifier.feed.protocol import COMMANDS, commands
from notifier.feed.protocol.commands import ListArgs, ShowArgs


def arguments(name: str, given: Any) -> msgspec.Struct:
    """Decode the arguments of a command."""
    return msgspec.json.decode(msgspec.json.encode(given), type=COMMANDS[name].args)


def test_only_a_list_is_for_viewers() -> None:
    """Every other command shows content and addresses, or changes something, and needs an operator."""
    assert {name for name, command in COMMANDS.items() if command.role == "viewer"} == {"mail.list"}
    assert {command.role for command in COMMANDS.values()} == {"viewer", "operator"}


def test_a_list_without_arguments_is_of_the_newest_hundred_mails() -> None:
    """No filter, no place to begin, and 100 mails are the defaults."""
    assert arguments("mail.list", {}) == ListArgs(filter=UNSET, before=None, limit=100)


@pytest.mark.parametrize("given", [{"limit": 1}, {"limit": 500}, {"before": 0}, {"before": 2**63 - 2}, {"new": [1]}])
def test_a_list_takes_every_value_within_its_limits(given: Any) -> None:
    """The smallest and the largest values are valid, and unknown fields are ignored."""
    assert isinstance(arguments("mail.list", given), ListArgs)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("mail.list", {"limit": 0}),
        ("mail.list", {"limit": 501}),
        ("mail.list", {"before": -1}),
        ("mail.list", {"before": 2**63 - 1}),
        ("mail.show", {}),
        ("mail.show", {"id": 5}),
        ("mail.retry", {}),
        ("mail.cancel", {"id": None}),
        ("mail.resolve", {"id": "m"}),
        ("mail.resolve", {"id": "m", "as": "lost"}),
        ("mail.resolve", {"id": "m", "outcome": "sent"}),
        ("address.erase", {"email": ["a@example.com"]}),
        ("submit", {}),
    ],
)
def test_other_values_are_refused(name: str, given: Any) -> None:
    """A value beyond a limit, a missing field and a wrong type are errors."""
    with pytest.raises(msgspec.ValidationError):
        arguments(name, given)


@pytest.mark.parametrize("outcome", ["sent", "resend"])
def test_an_outcome_is_given_as_as(outcome: str) -> None:
    """`as` is a keyword of Python, so only the frame has this name."""
    assert msgspec.to_builtins(arguments("mail.resolve", {"id": "m", "as": outcome})) == {"id": "m", "as": outcome}


SHOWN = msgspec.to_builtins(shown("m", 1, "pending"))
WHOLE = {"timeline": [], "headers": [["To", "a@example.com"]], "text": None, "html": None, "calendars": []}
EXAMPLES: dict[str, tuple[Any, Any]] = {
    "submit": ({"message": {"type": "x"}}, {"mails": ["m"], "repeated": False}),
    "mail.list": ({"filter": {"kind": "notification"}, "before": 7, "limit": 5}, {"mails": [SHOWN], "next": 3}),
    "mail.show": ({"id": "m", "preview": True}, {**SHOWN, **WHOLE, "preview": "/preview/1"}),
    "mail.retry": ({"id": "m"}, SHOWN),
    "mail.cancel": ({"id": "m"}, SHOWN),
    "mail.resolve": ({"id": "m", "as": "sent"}, SHOWN),
    "address.erase": ({"email": "a@example.com"}, {"mails": 3, "cancelled": 2, "bookings": 1, "remaining": 0}),
    "send.pause": ({}, {"paused": True}),
    "send.resume": ({}, {"paused": False}),
}
"""Arguments and a value of every command, each with all its fields."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_these_arguments_and_this_value(name: str) -> None:
    """Every field of the examples is read and written under its name, and no other exists."""
    given, value = EXAMPLES[name]
    for shape, example in ((COMMANDS[name].args, given), (COMMANDS[name].value, value)):
        decoded = msgspec.json.decode(msgspec.json.encode(example), type=shape)
        assert msgspec.json.decode(msgspec.json.encode(decoded)) == example
        assert set(shape.__struct_encode_fields__) == set(example)
    assert COMMANDS.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("field", ["mails", "cancelled", "bookings", "remaining"])
def test_a_count_is_never_negative(field: str) -> None:
    """The document says so, and a client may rely on it."""
    value = {**EXAMPLES["address.erase"][1], field: -1}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, COMMANDS["address.erase"].value)


def test_arguments_that_are_the_default_are_not_sent() -> None:
    """An older service is not asked for what it does not know."""
    assert msgspec.json.encode(ListArgs()) == b"{}"
    assert msgspec.json.encode(ShowArgs(id="m")) == b'{"id":"m"}'


def test_the_schema_of_a_filter_is_that_of_the_frames() -> None:
    """A filter is decoded later, but documented in its place."""
    schema = msgspec.json.schema(ListArgs)["$defs"]["ListArgs"]["properties"]
    assert schema["filter"]["anyOf"] == [{"$ref": "#/components/schemas/FilterFields"}, {"type": "null"}]
    submit = msgspec.json.schema(COMMANDS["submit"].args)["$defs"]["SubmitArgs"]["properties"]
    assert submit["message"]["type"] == "object"


@pytest.mark.parametrize("shape", structs_of(commands))
def test_every_field_is_given_by_name_and_described(shape: type[msgspec.Struct]) -> None:
    """Two fields of one type cannot be mixed up, and the document says what each one is."""
    assert not takes_positions(shape)
    assert undescribed(shape) == []


def test_every_command_says_what_it_is_for() -> None:
    """The document and the command line show it."""
    assert all(command.summary[0].isupper() for command in COMMANDS.values())
    assert len({command.summary for command in COMMANDS.values()}) == len(COMMANDS)
