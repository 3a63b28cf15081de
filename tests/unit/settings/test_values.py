"""How durations, rates, hosts and tokens are read, checked and shown."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configured import REQUIRED, loaded, problems

from notifier.errors import Misconfigured
from notifier.settings import SLOWEST, FeedSettings, is_loopback, load, load_group

OF_DURATIONS = (
    *("RETENTION", "DEDUP_RETENTION", "SMTP_TIMEOUT", "SMTP_DOT_TIMEOUT", "SMTP_PAUSES"),
    *("REMIND_BEFORE", "RETRY_DELAYS", "GIVE_UP_AFTER"),
)


@pytest.mark.parametrize("text", ["36500.1d", "876001h", "9999999d", "9999999999d", "9" * 400 + "d"])
@pytest.mark.parametrize("name", OF_DURATIONS)
def test_a_duration_of_more_than_100_years_is_a_problem(name: str, text: str) -> None:
    """The problem names the longest duration, which can be set."""
    (problem,) = problems(**{name: text})
    assert str(problem) == f"NOTIFIER_{name}: {text!r} is too long; use at most 36500d"
    assert loaded(**{name: "36500d"}).shown()[f"NOTIFIER_{name}"] == "36500d"


@pytest.mark.parametrize("text", ["0s", "0.0001ms", "0.0000004s"])
@pytest.mark.parametrize("name", OF_DURATIONS)
def test_a_duration_of_less_than_a_microsecond_is_a_problem(name: str, text: str) -> None:
    """Durations are counted in microseconds, so that it would be 0: every SMTP reply would come too late."""
    (problem,) = problems(**{name: text})
    assert str(problem) == f"NOTIFIER_{name}: {text!r} is no time at all; use a duration greater than 0"


def test_every_duration_has_a_bound() -> None:
    """Every setting that is shown as a duration is in the list of those whose limit is tested."""
    shown = loaded().shown()
    durations = {name for name, value in shown.items() if re.fullmatch(r"(\d+[smhd],?)+", str(value))}
    assert durations == {f"NOTIFIER_{name}" for name in OF_DURATIONS}


@pytest.mark.parametrize("rate", ["1e-12", "5e-324", "0.0000099"])
def test_a_rate_near_0_is_a_problem(rate: str) -> None:
    """The next start would exceed `datetime`; the lowest rate is about one mail a day, and 0 means no limit."""
    (problem,) = problems(SEND_RATE=rate)
    assert problem.remedy == "use 0 (no limit) or at least 0.00001 (about one mail a day)"
    assert loaded(SEND_RATE="0.00001").mail.rate == SLOWEST
    assert loaded(SEND_RATE="0").mail.rate == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("48h", 172800), ("7d", 604800), ("1.5h", 5400)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    """The units are milliseconds, seconds, minutes, hours and days."""
    assert loaded(RETENTION=text).store.retention == timedelta(seconds=seconds)


@given(st.integers(1, 36_500), st.sampled_from(["s", "m", "h", "d"]))
def test_a_shown_duration_can_be_set_again(number: int, unit: str) -> None:
    """A duration is shown in a form that is read as the same duration."""
    shown = loaded(RETENTION=f"{number}{unit}").shown()["NOTIFIER_RETENTION"]
    assert loaded(RETENTION=shown).store.retention == loaded(RETENTION=f"{number}{unit}").store.retention


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::1%lo", "::1%lo"), ("localhost.", "localhost."), ("bücher.example", "bücher.example")],
)
def test_a_host_is_a_name_or_an_address(text: str, host: str) -> None:
    """An IPv6 address can be written in the brackets of a URL."""
    assert load_group(FeedSettings, {"NOTIFIER_HOST": text}).host == host


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("localhost.example.com", False)],  # noqa: S104 - that is what is tested
)
def test_loopback_is_this_machine_alone(host: str, own: bool) -> None:  # noqa: FBT001 - a column of the table
    """Only the loopback addresses and `localhost` count as loopback."""
    assert is_loopback(host) is own


@pytest.mark.parametrize("read", [load, partial(load_group, FeedSettings)])
@pytest.mark.parametrize("name", ["NOTIFIER_VIEWER_TOKEN", "NOTIFIER_OPERATOR_TOKEN"])
def test_a_token_that_is_easy_to_guess_is_a_problem(read: Callable[[Any], Any], name: str, tmp_path: Path) -> None:
    """A token of less than 16 characters is a problem that says how to create one, also in a file and for commands."""
    file, empty = tmp_path / "token", tmp_path / "empty"
    file.write_text("fifteen-letters\n", encoding="utf-8")
    empty.touch()
    for short in ({name: "fifteen-letters"}, {f"{name}_FILE": str(file)}, {f"{name}_FILE": str(empty)}):
        with pytest.raises(Misconfigured, match=f"^{name}: is shorter than 16 .*openssl rand -hex 24") as wrong:
            read({**REQUIRED, **short})
        assert "fifteen" not in str(wrong.value)
    read({**REQUIRED, name: "sixteen-letters!"})


@pytest.mark.parametrize("read", [load, partial(load_group, FeedSettings)])
@pytest.mark.parametrize(
    "token", ["two-lines-of-it\nand-more", "tabulator\tand-more", " space-at-the-start", "\udcff" * 16]
)
def test_a_token_that_no_header_can_carry_is_a_problem(read: Callable[[Any], Any], token: str) -> None:
    """Control characters, bytes that are not UTF-8, and a space at an end are a problem that hides the token."""
    with pytest.raises(Misconfigured) as wrong:
        read({**REQUIRED, "NOTIFIER_VIEWER_TOKEN": token})
    (problem,) = wrong.value.problems
    assert problem.setting == "NOTIFIER_VIEWER_TOKEN"
    assert problem.wrong == "has a control character, or a space at one end"
