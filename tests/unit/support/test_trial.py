"""The mutation tool: which changes it makes, which tests it runs, and how it computes the score."""

from itertools import chain

import pytest
from support.mutation import trial
from support.mutation.mutations import Change, changes
from support.mutation.trial import Job, Outcome, Stage, Worker, chosen, other_files, pure_files, report, share
from support.places import ROOT

GIVEN = '''\
"""A file."""

import structlog

log = structlog.get_logger(__name__)
MOST: int = 5


def work(first: int, second: int, ready: bool) -> int:
    """Do something, at once."""
    if ready:
        log.info("ready", count=3)
        send(first, second)
    if first > 7:
        raise ValueError("never mind what it says")
    return read("a", "a sentence for people to read")
'''


def test_each_kind_of_change_is_made_once() -> None:
    """Numbers, words, conditions, arguments and calls are changed in the order of the file; each result compiles."""
    found = changes(GIVEN)
    made = {tuple(line[1:].strip() for line in change.diff.splitlines() if line.startswith("+")) for change in found}
    assert {
        ("MOST: int = 6",),
        ("if not (ready):",),
        ("pass",),
        ("send(second, first)",),
        ("send(None, second)",),
        ("send(first, )",),
        ("if first >= 7:",),
        ("if first > 8:",),
        ('return read("XXaXX", "a sentence for people to read")',),
    } <= made
    assert [change.line for change in found] == sorted(change.line for change in found)
    assert len({change.text for change in found}) == len(found)


@pytest.mark.parametrize("words", ["log", "raise", "Do something", "A file", "first: int", "sentenceXX"])
def test_changes_without_effect_are_not_made(words: str) -> None:
    """Log lines, error texts, docstrings, annotations and sentences are not changed."""
    changed = [line for each in changes(GIVEN) for line in each.diff.splitlines() if line.startswith("+")]
    assert not [line for line in changed if words in line and line[1:] not in GIVEN.splitlines()]


def test_every_file_has_its_tests() -> None:
    """Pure files and sampled files are disjoint, and each has tests that exist."""
    pure, other = pure_files(), other_files()
    assert "notifier/sending/replies.py" in pure
    assert {"notifier/service.py", "notifier/feed/session.py", "notifier/storage/sqlite/store.py"} <= set(other)
    assert not set(pure) & set(other)
    for name in (*pure, *other):
        for test in chain(*trial.tests_of(name)):
            assert (ROOT / test).exists(), f"{name}: {test}"


def test_a_sample_is_repeated_by_its_seed(capfd: pytest.CaptureFixture[str]) -> None:
    """The same seed selects the same changes and is printed; another seed selects others."""
    files = ["notifier/observability/throughput.py", "notifier/sending/circuit_breaker.py"]
    one, same, other = (chosen(pure=False, sample=10, files=files, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 10
    assert capfd.readouterr().out.splitlines() == ["seed 1", "seed 1", "seed 2"]


def test_the_score_counts_only_changes_that_could_be_tested() -> None:
    """Changes that hang count as detected, broken ones do not count, and the report shows every survivor."""
    job = Job("notifier/observability/throughput.py", Change(7, "text", "-    a\n+    b"))
    outcomes = [Outcome(job, how) for how in ("killed", "hung", "survived", "survived", "broken")]
    assert share(outcomes) == 0.5
    assert share([]) == 1.0
    text = report(outcomes)
    assert text.startswith("# Mutation testing: 50.0% of 5 changes detected\n")
    assert text.count("`notifier/observability/throughput.py`, line 7\n```diff\n-    a\n+    b\n```") == 2


def test_a_change_is_judged_and_undone() -> None:
    """A wrong change is killed, a harmless one survives, and one that cannot be imported is broken."""
    right = (ROOT / "notifier/observability/throughput.py").read_text(encoding="utf-8")
    wrong = right.replace("SPAN = 10", "SPAN = 11")
    stages = [Stage(["tests/unit/observability/test_throughput.py"], 60.0)]
    with Worker.running() as worker:
        outcomes = [
            worker.try_(Job("notifier/observability/throughput.py", Change(1, text, "")), stages)
            for text in (wrong, f"{right}# the same\n", f"{right}import nothing_of_this_name\n", wrong)
        ]
    assert [outcome.how for outcome in outcomes] == ["killed", "survived", "broken", "killed"]
    assert outcomes[0].by.startswith("tests/unit/observability/test_throughput.py::test_")
