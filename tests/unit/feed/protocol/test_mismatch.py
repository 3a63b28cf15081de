"""What is wrong with a frame's JSON, in words for people."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from support.any_json import JSON

from notifier.feed.protocol.commands import COMMANDS, ListArgs, MailArgs, ResolveArgs
from notifier.feed.protocol.mismatch import mismatch


def described(shape: Any, json: bytes) -> str:
    """Decode JSON that does not fit a shape, and describe the error."""
    with pytest.raises((msgspec.DecodeError, RecursionError)) as raised:
        msgspec.json.decode(json, type=shape)
    return mismatch(raised.value, shape, "args")


@pytest.mark.parametrize(
    ("shape", "json", "says"),
    [
        (MailArgs, b'{"id":5}', "args.id: must be a string"),
        (MailArgs, b"{}", "args.id: missing"),
        (MailArgs, b"[]", "args: must be an object"),
        (ResolveArgs, b'{"id":"m","as":"lost"}', "args.as: must be one of resend, sent"),
        (ListArgs, b'{"limit":501}', "args.limit: must be an integer from 1 to 500"),
        (ListArgs, b'{"before":"x"}', f"args.before: must be an integer from 0 to {2**63 - 2} or null"),
        (list[int], b"[1,2,true]", "args[2]: must be an integer"),
        (int | float, b'""', "args: must be a number"),
    ],
)
def test_an_error_names_the_value_and_what_it_must_be(shape: Any, json: bytes, says: str) -> None:
    """It reads the same whichever way the value is wrong, and does not repeat the value."""
    assert described(shape, json) == says


def test_json_that_is_nested_too_deeply_is_an_error_of_one_line() -> None:
    """Anyone can send it."""
    assert described(list[Any], b"[" * 100_000 + b"]" * 100_000) == "args: nested too deeply"


@given(JSON)
def test_no_error_is_in_the_words_of_the_library(value: Any) -> None:
    """Whatever is sent as the arguments of a command, an error begins with its place and says what is expected."""
    for shape in [command.args for command in COMMANDS.values()]:
        try:
            msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            text = mismatch(error, shape, "args")
            assert text.startswith("args")
            assert "`" not in text
            assert "Expected" not in text
