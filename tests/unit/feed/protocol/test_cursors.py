"""A cursor is read as it was written, and any other text is recognised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.filters import FILTERS

from notifier.domain.events import MailFilter
from notifier.feed.protocol import Cursor, cursor, filter_hash, read_cursor

STORE = "0123456789abcdef" * 2


@given(st.integers(0, 10**18 - 1), FILTERS)
def test_a_cursor_comes_back_as_it_went(seq: int, wanted: MailFilter) -> None:
    """Store, place and filter are read from a cursor as they were written."""
    assert read_cursor(cursor(STORE, seq, filter_hash(wanted))) == Cursor(STORE, seq, filter_hash(wanted))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        f"{STORE}-1",
        f"{STORE}--0000000f",
        f"{STORE}-1-0000000g",
        f"{STORE}-{'9' * 19}-00000000",
        f"{STORE}-1-00000000\n",
        f"{STORE[:-1]}-1-00000000",
    ],
)
def test_what_is_no_cursor_is_none(text: str) -> None:
    """A text that is not a cursor of this version is recognised and never used."""
    assert read_cursor(text) is None


@given(st.text())
def test_no_text_breaks_the_reading_of_cursors(text: str) -> None:
    """Any text is read as a cursor or as None, without an error."""
    found = read_cursor(text)
    assert found is None or found.seq >= 0
