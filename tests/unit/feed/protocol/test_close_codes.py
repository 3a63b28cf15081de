"""Every close code has a meaning, a test, and a place in the documentation."""

import re

from support.places import ROOT

from notifier.feed.protocol import CloseCode
from notifier.feed.protocol.close_codes import is_refusal

CLOSE_CODES = {
    1009: "tests/unit/feed/test_limits.py::test_a_frame_has_at_most_half_a_megabyte",
    1011: "tests/unit/feed/test_session.py::test_a_fault_of_ours_in_a_session_ends_only_that",
    1012: "tests/unit/feed/test_session.py::test_clients_get_a_bye_when_the_service_ends",
    1013: "tests/integration/test_feed_misbehaviour.py::test_beyond_the_most_viewers_one_is_asked_to_come_later",
    4400: "tests/unit/feed/test_session.py::test_a_first_frame_that_is_no_proper_hello_is_closed_with_4400",
    4401: "tests/unit/feed/test_session.py::test_tokens_decide_who_may_do_what",
    4408: "tests/unit/feed/test_session.py::test_who_says_no_hello_is_closed_with_4408",
    4429: "tests/unit/feed/test_limits.py::test_a_viewer_may_send_fifty_frames_in_ten_seconds",
    4508: "tests/unit/feed/test_limits.py::test_a_client_that_reads_too_slowly_is_closed_with_4508",
}
"""The codes that a client can be closed with, and a test of each."""


def test_no_close_code_is_forgotten() -> None:
    """The documentation has every close code, and each has a test."""
    documented = (ROOT / "docs" / "feed.md").read_text(encoding="utf-8").partition("| code | meaning |")[2]
    table = documented.partition("\n\n")[0]
    assert set(CLOSE_CODES) == {int(code) for code in re.findall(r"\b[14]\d{3}\b", table.replace("1,000", ""))}
    assert set(CLOSE_CODES) == set(CloseCode)
    for test in CLOSE_CODES.values():
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


def test_after_a_refusal_a_client_must_change_something() -> None:
    """The codes from 4400 to 4499 are refusals; after any other code the client connects again and resumes."""
    assert {int(code) for code in CloseCode if is_refusal(code)} == {4400, 4401, 4408, 4429}
    assert [is_refusal(code) for code in (1000, 4399, 4400, 4499, 4500)] == [False, False, True, True, False]


def test_a_code_has_a_meaning_of_its_own() -> None:
    """A member is its number, and no two members mean the same."""
    assert int(CloseCode.RESTARTING) == CloseCode.RESTARTING.value == 1012
    assert len({code.meaning for code in CloseCode}) == len(CloseCode)
    assert all(code.__doc__ == code.meaning for code in CloseCode)


def test_the_name_of_a_code_is_promised() -> None:
    """The server and clients in Python use the names, so each stands for the number in the documentation."""
    assert {code.name: int(code) for code in CloseCode} == {
        "FRAME_TOO_LARGE": 1009,
        "INTERNAL_ERROR": 1011,
        "RESTARTING": 1012,
        "FULL": 1013,
        "BAD_FRAME": 4400,
        "UNAUTHORIZED": 4401,
        "NO_HELLO": 4408,
        "TOO_MANY_FRAMES": 4429,
        "TOO_SLOW": 4508,
    }
