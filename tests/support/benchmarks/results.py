"""What a benchmark has measured: medians over rounds, ratios, and the table as Markdown and as JSON. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Subject = Literal["this", "against", "bare"]
"""What is measured: this version, the version that it is compared with, or minimal code on the bare library."""
Values = Mapping[str, float]
"""The figures of one measurement, by their names."""
Round = Mapping[Subject, Values]
"""One measurement of each subject, made shortly after one another."""
_AGAINST_COLUMNS = (3, 5)
"""The columns of the table that are about another version."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach: a limit for the value itself, or for its ratio to another subject."""

    of: Literal["value", "against", "bare"]
    limit: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: the name of a value, what people call it, its unit, and in which direction it is good."""

    name: str
    label: str
    unit: str
    better: Literal["more", "less"]
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A figure with the medians of its values, and the medians of its ratios; None where nothing was measured."""

    stage: str
    label: str
    unit: str
    this: float | None
    against: float | None
    bare: float | None
    to_against: float | None
    to_bare: float | None
    reach: str
    reached: bool | None
    rounds: int


def lines(stage: str, figures: Iterable[Figure], rounds: Sequence[Round]) -> list[Line]:
    """Return the lines of one stage.

    Ratios are formed within a round, because the load of a shared machine changes from round to round.
    """
    return [_line(stage, figure, rounds) for figure in figures]


def _line(stage: str, figure: Figure, rounds: Sequence[Round]) -> Line:
    def median(subject: Subject) -> float | None:
        values = [each[subject][figure.name] for each in rounds if figure.name in each.get(subject, {})]
        return statistics.median(values) if values else None

    def ratio(to: Subject) -> float | None:
        pairs = [
            (each["this"][figure.name], each[to][figure.name])
            for each in rounds
            if all(figure.name in each.get(subject, {}) for subject in ("this", to))
        ]
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return statistics.median(ratios) if ratios else None

    this, to_against, to_bare = median("this"), ratio("against"), ratio("bare")
    goal = figure.goal
    judged = {"value": this, "against": to_against, "bare": to_bare}[goal.of] if goal else None
    return Line(
        stage,
        figure.label,
        figure.unit,
        this,
        median("against"),
        median("bare"),
        to_against,
        to_bare,
        _reach(figure, goal) if goal else "",
        _reached(figure, goal.limit, judged) if goal and judged is not None else None,
        len(rounds),
    )


def _reach(figure: Figure, goal: Goal) -> str:
    sign = "≥" if figure.better == "more" else "≤"
    return f"{sign} {goal.limit:g}" + {"value": "", "against": " times against", "bare": " times bare"}[goal.of]


def _reached(figure: Figure, limit: float, judged: float) -> bool:
    return judged >= limit if figure.better == "more" else judged <= limit


def markdown(found: Iterable[Line], against: str) -> str:
    """Return the lines as a Markdown table.

    `against` names the version that was compared; if there was none, its columns are left out.
    """
    heads = ("stage", "figure", "this", against, "bare", "this : against", "this : bare", "reach", "")
    rows: list[Sequence[str]] = [heads, ("---",) * len(heads), *map(_cells, found)]
    if not against:
        rows = [[cell for column, cell in enumerate(row) if column not in _AGAINST_COLUMNS] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def _cells(line: Line) -> tuple[str, ...]:
    mark = {True: "reached", False: "not reached", None: ""}[line.reached]
    return (
        line.stage,
        f"{line.label}, {line.unit}",
        *map(number, (line.this, line.against, line.bare, line.to_against, line.to_bare)),
        line.reach,
        mark,
    )


def number(value: float | None) -> str:
    """Return a value with three significant digits; an empty text for None."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"


def as_json(found: Iterable[Line]) -> list[dict[str, object]]:
    """Return the lines as objects that JSON can express."""
    return [asdict(line) for line in found]
