"""Values of options are checked before a command connects to the service."""

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.any_json import JSON

from notifier.cli.options import check_encodable

TEXTS_AROUND = st.text(max_size=5)
SURROGATES = st.characters(categories=["Cs"])
"""What an argument contains that is not UTF-8."""


@given(JSON)
def test_any_json_can_be_sent(value: object) -> None:
    """Nothing that can be written as JSON is refused."""
    check_encodable({"value": value})


@given(TEXTS_AROUND, SURROGATES, TEXTS_AROUND, st.booleans())
def test_an_argument_that_is_not_utf8_is_bad_usage(before: str, wrong: str, after: str, is_name: bool) -> None:  # noqa: FBT001 - hypothesis
    """It is found anywhere in the value, also in the name of a field."""
    text = before + wrong + after
    with pytest.raises(typer.BadParameter, match="this cannot be written as UTF-8 JSON"):
        check_encodable([{text: 1} if is_name else {"to": [text]}])


def test_a_value_that_is_nested_too_deeply_is_bad_usage() -> None:
    """It is no traceback."""
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(typer.BadParameter, match="this cannot be written as UTF-8 JSON"):
        check_encodable(nested)
