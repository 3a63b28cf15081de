"""The progress of a run in a terminal and in a file."""

import io
import re
import sys
from typing import Any

import pytest

from notifier.demo.display import PLAIN_EVERY, progress
from notifier.demo.inbox import Inbox
from notifier.demo.simulation import Load, Run


def run_with(published: int, dead_lettered: int) -> Run:
    """Return a run of which nothing has been sent."""
    service: Any = None
    run = Run(Inbox(), service, None, "bookings")
    run.published = {str(n): 0.0 for n in range(published)}
    run.dead_lettered = {str(n) for n in range(dead_lettered)}
    return run


def test_a_file_gets_a_line_for_every_tenth_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The first call is shown, and what is dead-lettered does not wait any more."""
    with progress(Load(30, 0, 0)) as show:
        for n in range(2 * PLAIN_EVERY + 1):
            show(run_with(n, 1))
    assert capsys.readouterr().err.splitlines() == [
        "published 0  waiting 0  sent 0",
        "published 10  waiting 9  sent 0",
        "published 20  waiting 19  sent 0",
    ]


@pytest.mark.parametrize("bookings", [30, None])
def test_a_terminal_gets_three_bars(monkeypatch: pytest.MonkeyPatch, bookings: int | None) -> None:
    """They show the latest numbers at the end, also if the run has no end of its own."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress(Load(bookings, 0, 0)) as show:
        show(run_with(7, 2))
    shown = [line.split() for line in re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", terminal.getvalue()).splitlines() if line]
    assert [(line[0], line[-1]) for line in shown[-3:]] == [("published", "7"), ("waiting", "5"), ("sent", "0")]
