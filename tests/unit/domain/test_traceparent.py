import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import TRACE

from notifier.domain.traceparent import traceparent

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEX = "0123456789abcdef"


@given(
    st.text(HEX, min_size=32, max_size=32), st.text(HEX, min_size=16, max_size=16), st.text(HEX, min_size=2, max_size=2)
)
def test_one_of_this_version_is_passed_on_as_it_is(trace: str, parent: str, flags: str) -> None:
    """Any ids but those that are all zero, any flags."""
    given_ = f"00-{trace}-{parent}-{flags}"
    valid = trace.strip("0") and parent.strip("0")
    assert traceparent(given_) == (given_ if valid else None)
    assert traceparent(given_.encode()) == traceparent(given_)


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, "", 0, True, [], {}, [TRACE], b"\xff"),
        TRACE.upper(),
        f" {TRACE}",
        f"{TRACE}\n",
        f"{TRACE}-00",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}-{PARENT_ID}-01",
        f"01-{TRACE_ID}-{PARENT_ID}-01.x",
        f"01-{TRACE_ID}-{PARENT_ID}-01-{'x' * 1000}",
    ],
)
def test_what_is_none_is_none(wrong: Any) -> None:
    """Of the wrong type, form, case or length."""
    assert traceparent(wrong) is None


def test_of_a_later_version_the_known_fields_are_passed_on() -> None:
    """The fields that follow are dropped."""
    later = f"cc-{TRACE_ID}-{PARENT_ID}-03"
    assert traceparent(later) == later
    assert traceparent(f"{later}-what-the-future-brings") == later


def test_a_header_is_limited_in_length() -> None:
    """A later version may be 512 characters long, and so may its bytes; one more, and it is not read."""
    later = f"cc-{TRACE_ID}-{PARENT_ID}-03"
    longest = f"{later}-".ljust(512, "x")
    for given_ in (longest, longest.encode(), bytearray(longest, "ascii")):
        assert traceparent(given_) == later
    assert traceparent(longest + "x") is None


@given(st.text(string.printable) | st.binary() | st.integers() | st.none())
def test_nothing_is_refused_with_an_error(anything: Any) -> None:
    """Any header value is either valid or ignored."""
    assert traceparent(anything) in (None, anything)
