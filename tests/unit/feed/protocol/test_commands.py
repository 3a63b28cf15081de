"""The roles that commands need, and the values that their arguments can have."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from notifier.feed.protocol import COMMANDS
from notifier.feed.protocol.commands import ListArgs


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
