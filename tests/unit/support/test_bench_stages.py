"""The smallest form of each stage that needs no broker, on real processes: the benchmark must keep working."""

import asyncio
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import pytest
from support.benchmarks import sending
from support.benchmarks.bench import STAGES, measure
from support.benchmarks.results import Subject
from support.benchmarks.stage import SMALLEST, Place, Stage
from support.benchmarks.versions import THIS
from support.parts import PATIENCE

MAY_BE_ZERO = ("written to disk", "processor time", "idle service")
"""Nothing is written to a disk by a test on `tmpfs`, and short times of the processor are counted in steps of 10 ms."""
WITHOUT_BROKER = [pytest.param(stage, id=stage.name) for stage in STAGES if not stage.needs_broker]


@pytest.mark.parametrize("stage", WITHOUT_BROKER)
async def test_a_stage_measures_all_of_its_figures(stage: Stage, tmp_path: Path) -> None:
    """Every figure is a positive number. A stage raises an error if a mail or an event is missing or repeated."""
    said: list[str] = []
    place = Place(None, tmp_path, tmp_path / "kept", SMALLEST)
    async with asyncio.timeout(10 * PATIENCE):
        found = await measure(stage, {"this": THIS}, 1, place, said.append)
    assert [line.label for line in found] == [figure.label for figure in stage.figures]
    for line in found:
        assert line.this is not None, line
        assert isfinite(line.this), line
        assert line.this > 0 or line.label.startswith(MAY_BE_ZERO), line
        assert line.against is line.to_against is None
    assert any(line.to_bare for line in found) == (stage.bare is not None)
    assert len(said) == 1 + (stage.bare is not None)


def test_the_table_of_the_issue_is_complete() -> None:
    """Stages have different names, and each has at least one figure with a goal."""
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert all(any(figure.goal for figure in stage.figures) for stage in STAGES)


@pytest.mark.parametrize("events", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_a_missing_or_repeated_mail_is_no_result(events: Sequence[str]) -> None:
    """Speed does not count if the mails are not exactly those that were wanted."""
    report = {"accepted": len(events), "distinct": len(set(events))}
    with pytest.raises(RuntimeError, match="instead of 2"):
        sending.check(report, 2)


async def test_every_second_round_is_reversed(tmp_path: Path) -> None:
    """So no subject always profits from what runs before it; each measurement has an empty folder."""
    seen: list[tuple[Subject | str, bool]] = []

    async def ours(place: Place, version: object) -> dict[str, float]:
        seen.append((str(version), not list(place.folder.iterdir())))
        (place.folder / "left").write_text("")
        return {"rate": 1}

    async def bare(place: Place) -> dict[str, float]:
        seen.append(("bare", not list(place.folder.iterdir())))
        return {"rate": 2}

    stage = Stage("fake", "", STAGES[0].figures[:1], ours, bare)
    versions: dict[Subject, object] = {"this": "this", "against": "against"}
    place = Place(None, tmp_path, tmp_path / "kept", SMALLEST)
    (line,) = await measure(stage, versions, 2, place, lambda _: None)  # type: ignore[arg-type]
    order = ["this", "against", "bare"]
    assert seen == [(name, True) for name in (*order, *order[::-1])]
    assert (line.to_against, line.to_bare) == (1, 0.5)
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - a folder of this test
