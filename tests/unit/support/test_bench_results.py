"""The medians, ratios and tables of the benchmark."""

import statistics

from hypothesis import given
from hypothesis import strategies as st
from support.benchmarks.results import Figure, Goal, Round, as_json, lines, markdown, number

RATE = Figure("rate", "mails sent", "mails/s", "more", Goal("bare", 0.5))
CPU = Figure("cpu", "processor time", "µs/mail", "less", Goal("value", 450))
ROUNDS: list[Round] = [
    {"this": {"rate": 30, "cpu": 400}, "against": {"rate": 10, "cpu": 800}, "bare": {"rate": 60}},
    {"this": {"rate": 10, "cpu": 500}, "against": {"rate": 10, "cpu": 500}, "bare": {"rate": 40}},
    {"this": {"rate": 80, "cpu": 440}, "against": {"rate": 40, "cpu": 880}, "bare": {"rate": 100}},
]
SPEED = st.floats(1, 1000)


def test_ratios_are_formed_within_a_round() -> None:
    """The ratio is the median of the rounds' ratios, not the ratio of the medians."""
    (rate, cpu) = lines("send", (RATE, CPU), ROUNDS)
    assert (rate.this, rate.against, rate.bare) == (30, 10, 60)
    assert (rate.to_against, rate.to_bare) == (2, 0.5)
    assert (cpu.this, cpu.to_against, cpu.bare, cpu.to_bare) == (440, 0.5, None, None)
    assert {rate.rounds, cpu.rounds} == {3}


@given(st.lists(st.tuples(SPEED, SPEED, SPEED), min_size=1, max_size=9))
def test_load_of_a_whole_round_does_not_change_a_ratio(rounds: list[tuple[float, float, float]]) -> None:
    """If everything in a round is slower by the same factor, the ratios stay."""
    found: list[Round] = [{"this": {"rate": ours / load}, "bare": {"rate": 2 / load}} for ours, _, load in rounds]
    (line,) = lines("send", (RATE,), found)
    assert line.to_bare is not None
    assert abs(line.to_bare - statistics.median(ours / 2 for ours, _, _ in rounds)) < 1e-6 * line.to_bare


def test_goals_are_judged_by_what_they_are_about() -> None:
    """A rate must reach its ratio to the bare library; a cost must stay below a limit."""
    (rate, cpu) = lines("send", (RATE, CPU), ROUNDS)
    assert (rate.reach, rate.reached) == ("≥ 0.5 times bare", True)
    assert (cpu.reach, cpu.reached) == ("≤ 450", True)
    (rate, cpu) = lines("send", (RATE, CPU), ROUNDS[1:2])
    assert (rate.reached, cpu.reached) == (False, False)


def test_a_goal_that_was_not_measured_is_not_judged() -> None:
    """Without the bare library or another version there is no ratio, and nothing is called reached."""
    found: list[Round] = [{"this": {"rate": 30}}]
    (line,) = lines("send", (RATE,), found)
    assert (line.to_bare, line.to_against, line.reached) == (None, None, None)


def test_the_markdown_table_has_a_row_for_each_figure() -> None:
    """Every row has as many cells as the head, and the head names the other version."""
    table = markdown(lines("send", (RATE, CPU), ROUNDS), "abc1234").splitlines()
    assert len(table) == 4
    assert {row.count("|") for row in table} == {10}
    assert "abc1234" in table[0]
    assert table[2] == "| send | mails sent, mails/s | 30.0 | 10.0 | 60.0 | 2.00 | 0.50 | ≥ 0.5 times bare | reached |"


def test_columns_of_another_version_are_left_out_without_one() -> None:
    """A table of one version has no empty columns."""
    table = markdown(lines("send", (RATE,), ROUNDS), "").splitlines()
    assert table[0] == "| stage | figure | this | bare | this : bare | reach |  |"
    assert table[2] == "| send | mails sent, mails/s | 30.0 | 60.0 | 0.50 | ≥ 0.5 times bare | reached |"


def test_json_has_all_medians() -> None:
    """The objects have the same values as the lines."""
    (found, _) = as_json(lines("send", (RATE, CPU), ROUNDS))
    assert (found["stage"], found["this"], found["to_bare"], found["reached"]) == ("send", 30, 0.5, True)


def test_numbers_have_about_three_digits() -> None:
    """Large numbers have separators and small ones more digits."""
    assert [number(value) for value in (1234.5, 12.34, 1.234, 0.01234, None)] == ["1,234", "12.3", "1.23", "0.0123", ""]
