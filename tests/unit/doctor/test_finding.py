"""Findings have one of four levels, which the JSON output of the doctor names."""

import json

from notifier.doctor.finding import fault, note, ok, warning


def test_each_kind_of_finding_has_its_level() -> None:
    """Scripts read these words and fields from `notifier doctor --json`."""
    found = [ok("SPF", "a"), note("SPF", "b"), note("SPF", "c", "x"), warning("SPF", "d", "y"), fault("SPF", "e", "z")]
    assert json.loads(json.dumps([each._asdict() for each in found])) == [
        {"level": "ok", "topic": "SPF", "says": "a", "remedy": ""},
        {"level": "note", "topic": "SPF", "says": "b", "remedy": ""},
        {"level": "note", "topic": "SPF", "says": "c", "remedy": "x"},
        {"level": "warning", "topic": "SPF", "says": "d", "remedy": "y"},
        {"level": "fault", "topic": "SPF", "says": "e", "remedy": "z"},
    ]
