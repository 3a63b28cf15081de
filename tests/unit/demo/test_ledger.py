import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.demo.ledger import Ledger

PUBLISHED = {"a": 10.0, "b": 11.0, "c": 12.0}


def test_a_complete_run_balances() -> None:
    """If every message is confirmed once, the ledger balances and prints exactly the lines of the contract."""
    ledger = Ledger(PUBLISHED, [("b", 13.0), ("a", 13.5), ("c", 14.0)], reminders_scheduled=2)
    assert ledger.balances
    assert ledger.lines() == [
        "published 3 = delivered 3 + dead-lettered 0 + pending 0, duplicates 0",
        "reminders scheduled 2",
    ]


def test_a_dead_lettered_message_is_accounted_for() -> None:
    """A dead letter is an outcome like a confirmation, so the ledger balances with it."""
    ledger = Ledger(PUBLISHED, [("a", 13.0), ("b", 13.0)], dead_lettered=["c"])
    assert ledger.balances
    assert ledger.lines()[0] == "published 3 = delivered 2 + dead-lettered 1 + pending 0, duplicates 0"


def test_a_message_without_an_outcome_is_pending() -> None:
    """A message that is neither confirmed nor dead-lettered keeps the ledger from balancing."""
    ledger = Ledger(PUBLISHED, [("a", 13.0)])
    assert not ledger.balances
    assert ledger.lines()[0] == "published 3 = delivered 1 + dead-lettered 0 + pending 2, duplicates 0"


@pytest.mark.parametrize(
    ("confirmations", "dead", "counts"),
    [
        ([("a", 1.0), ("b", 1.0), ("c", 1.0), ("a", 2.0), ("a", 3.0)], [], (2, 0)),
        ([("a", 1.0), ("b", 1.0), ("c", 1.0), ("x", 2.0), ("x", 3.0)], [], (0, 2)),
        ([("a", 1.0), ("b", 1.0), ("c", 1.0)], ["x"], (0, 1)),
        ([("a", 1.0), ("b", 1.0), ("c", 1.0)], ["c"], (0, 0)),
    ],
    ids=["confirmed twice", "confirmed but never published", "dead but never published", "confirmed and dead"],
)
def test_a_surplus_does_not_balance(
    confirmations: list[tuple[str, float]], dead: list[str], counts: tuple[int, int]
) -> None:
    """Duplicates and unknown ids keep the ledger from balancing, even if nothing is pending."""
    ledger = Ledger(PUBLISHED, confirmations, dead_lettered=dead)
    assert ledger.pending == 0
    assert (ledger.duplicates, ledger.unknown) == counts
    assert not ledger.balances


@given(st.sets(st.integers(0, 9)), st.lists(st.integers(0, 12)), st.sets(st.integers(0, 12)))
def test_the_printed_sum_is_true_of_every_run_that_balances(sent: set[int], came: list[int], dead: set[int]) -> None:
    """The number published is the sum of the three outcomes, unless one message had two of them."""
    ledger = Ledger({str(n): 0.0 for n in sent}, [(str(n), 1.0) for n in came], 0, {str(n) for n in dead})
    both = len(sent & set(came) & dead)
    assert len(sent) == ledger.delivered + ledger.dead + ledger.pending - both
    assert ledger.balances == (sorted([*came, *dead]) == sorted(sent))
