"""What is wrong with a frame's JSON, in words for people."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from msgspec import Meta
from support.any_json import JSON

from notifier.domain.mail import Kind
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
        (float | None | str, b"[]", "args: must be a number or null or a string"),
        (int | str, b"[]", "args: must be an integer or a string"),
        (list[int], b"{}", "args: must be a list"),
        (dict[str, int], b"[]", "args: must be an object"),
        (bool, b"1", "args: must be true or false"),
        (None, b"1", "args: must be null"),
        (Kind, b'"x"', f"args: must be one of {', '.join(Kind)}"),
        (Literal["b", "a", 7], b'"x"', "args: must be one of 7, a, b"),
        (Annotated[float, Meta(ge=0, le=3600)], b"-1", "args: must be a number from 0 to 3600"),
        (Annotated[int, Meta(ge=0, lt=5)], b"5", "args: must be an integer from 0 to 4"),
        (Annotated[int, Meta(ge=1)], b"0", "args: must be an integer"),
        (Annotated[int, Meta(le=1)], b"2", "args: must be an integer"),
        (Annotated[list[int], Meta(max_length=2)], b"{}", "args: must be a list of at most 2 entries"),
        (dict[str, list[MailArgs]], b'{"a":[{"id":"m"},{}]}', "args[...][1].id: missing"),
        (MailArgs, b"{", "args: Input data was truncated"),
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
