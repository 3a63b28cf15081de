import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import fastest
from samples import mail

from notifier.cohort import LONE, MANY, MAX_RECIPIENTS, REMEMBERED, SEVERAL, Cause, Cohort, Streak, Suspects
from notifier.mail import Reply

POLICY = Reply(550, "5.7.1 Message rejected")


def causes(cohort: Cohort, *rejections: tuple[str, Reply]) -> list[Cause]:
    return [cohort.cause(recipient, reply) for recipient, reply in rejections]


def test_the_same_rejection_for_several_recipients_concerns_the_account() -> None:
    """The first ones are attributed to their mails; from the third recipient on it is no longer about them."""
    found = causes(Cohort(), *[(f"p{n}@example.com", POLICY) for n in range(5)])
    assert found == [Cause.MAIL, Cause.MAIL, Cause.ACCOUNT, Cause.ACCOUNT, Cause.ACCOUNT]


def test_one_recipient_is_not_several() -> None:
    """Ten mails to one address that are rejected alike say nothing about the account."""
    assert causes(Cohort(), *[("p@example.com", POLICY)] * 10) == [Cause.MAIL] * 10


def test_a_recipient_that_is_rejected_again_shows_nothing_new() -> None:
    """While the account is suspected, only a recipient that has not been rejected yet counts against it."""
    cohort = Cohort()
    causes(cohort, ("a", POLICY), ("b", POLICY), ("c", POLICY))
    assert causes(cohort, ("a", POLICY), ("c", POLICY), ("d", POLICY)) == [
        Cause.REPEATED,
        Cause.REPEATED,
        Cause.ACCOUNT,
    ]


def test_recipients_of_a_streak_are_cleared_by_an_accepted_mail() -> None:
    """They do not suspect the account a second time, until a mail to them is accepted."""
    cohort = Cohort()
    row = [(name, POLICY) for name in "abc"]
    causes(cohort, *row)
    cohort.delivered("x")
    assert causes(cohort, *row, ("d", POLICY)) == [Cause.CLEARED] * 3 + [Cause.MAIL]
    cohort.delivered("a")
    assert causes(cohort, *row) == [Cause.MAIL, Cause.CLEARED, Cause.CLEARED]


def test_an_accepted_mail_begins_a_new_count() -> None:
    """What is rejected after a success is attributed to its mail again."""
    cohort = Cohort()
    causes(cohort, ("a", POLICY), ("b", POLICY))
    cohort.delivered("x")
    assert causes(cohort, ("a", POLICY), ("d", POLICY), ("e", POLICY)) == [Cause.MAIL, Cause.MAIL, Cause.ACCOUNT]


def test_another_kind_of_rejection_begins_a_new_count() -> None:
    """Code or enhanced status differ: that is not the same 5xx."""
    others = (Reply(554, "5.7.1 no"), Reply(550, "5.6.0 no"), Reply(550, "no"))
    history = [("a", POLICY), *[(str(n), other) for n, other in enumerate(others)]]
    assert causes(Cohort(), *history) == [Cause.MAIL] * 4


@pytest.mark.parametrize(
    "text",
    [
        "5.1.1 <p{n}@example.com>: Recipient address rejected",
        "5.2.1 the account is inactive {n}",
        "user unknown",
        "No such mailbox p{n}@example.com",
    ],
)
def test_wrong_addresses_in_a_row_are_normal(text: str) -> None:
    """A rejection that speaks of the recipient is attributed to it much longer, but not for ever."""
    found = causes(Cohort(), *[(f"p{n}@example.com", Reply(550, text.format(n=n))) for n in range(13)])
    assert found == [Cause.MAIL] * 11 + [Cause.ACCOUNT] * 2


@pytest.mark.parametrize(
    "text", ["rejected id=4f3a{n}", "blocked, see <http://example.com/{n}>", "refused p{n}@x.test"]
)
def test_what_varies_in_the_words_does_not_make_it_another_refusal(text: str) -> None:
    """Without an enhanced status the words count, but for ids, numbers and addresses."""
    found = causes(Cohort(), *[(f"p{n}", Reply(550, text.format(n=n))) for n in range(SEVERAL)])
    assert found[-1] is Cause.ACCOUNT


def test_mails_that_failed_too_early_are_given_once() -> None:
    """Who failed by the refusal before it was known for what it is gets another chance; only that row's, only once."""
    cohort = Cohort()
    cohort.cause("x", Reply(554, "5.6.0 other"))
    cohort.failed(mail(id="other"))
    for recipient in ("a", "b"):
        cohort.cause(recipient, POLICY)
        cohort.failed(mail(id=recipient))
    assert [each.id for each in cohort.reprieved()] == ["a", "b"]
    assert cohort.reprieved() == []


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans())))
def test_any_history_of_a_streak(history: list[tuple[str, bool]]) -> None:
    """The account is suspected if and only if a recipient is new to an unbroken row of several, and not cleared."""
    streak = Streak()
    row, cleared = set[str](), set[str]()
    for recipient, accepted in history:
        if accepted:
            cleared = (cleared | (row if len(row) >= SEVERAL else set())) - {recipient}
            row = set()
            streak.delivered(recipient)
            continue
        is_new = recipient not in row
        if recipient in cleared:
            expected = Cause.CLEARED
        else:
            row.add(recipient)
            is_long = len(row) >= SEVERAL
            expected = (Cause.ACCOUNT if is_new else Cause.REPEATED) if is_long else Cause.MAIL
        assert streak.add(recipient, SEVERAL) is expected


def test_one_address_that_is_refused_for_ever_takes_no_more_memory() -> None:
    """Of each recipient the latest failed mails are kept, so that another one's is not pushed out either."""
    cohort = Cohort()
    for number in range(10 * REMEMBERED):
        cohort.cause("a", POLICY)
        cohort.failed(mail(id=f"a{number}", to="a"))
        if number == 0:
            cohort.cause("b", POLICY)
            cohort.failed(mail(id="b", to="b"))
    kept = [each.id for each in cohort.reprieved()]
    assert kept == [*(f"a{number}" for number in range(9 * REMEMBERED, 10 * REMEMBERED)), "b"]


def test_many_recipients_take_no_more_memory() -> None:
    """Beyond a limit a recipient is new each time, and of those that were cleared the earliest are forgotten."""
    streak = Streak()
    for number in range(MAX_RECIPIENTS + 50):
        streak.add(f"p{number}", MANY)
    assert len(streak._recipients) == MAX_RECIPIENTS
    streak.delivered("a")
    for number in range(50):
        streak.add(f"q{number}", MANY)
    streak.delivered("a")
    assert len(streak._cleared) == MAX_RECIPIENTS
    assert streak.add("q49", MANY) is Cause.CLEARED
    assert streak.add("p0", MANY) is Cause.MAIL


def test_the_kind_of_a_rejection_is_found_in_proportional_time() -> None:
    """One word of a hostile reply that is eight times as long takes about eight times as long."""
    short, long = (Reply(550, "a" * length) for length in (1_000, 8_000))
    assert fastest(lambda: causes(Cohort(), ("p", long))) < 24 * fastest(lambda: causes(Cohort(), ("p", short)))


def alone(suspects: Suspects, *history: str) -> list[bool]:
    """Note what happened: the name of a recipient pauses the account, one in capitals gets a mail."""
    found = []
    for name in history:
        if name.isupper():
            suspects.delivered(name.lower())
        else:
            found.append(suspects.is_alone(name, pauses=True))
    return found


def test_a_recipient_that_pauses_the_account_alone_is_found_out() -> None:
    """With mails to others accepted in between it is the cause itself, from the third time on."""
    assert alone(Suspects(), "x", "A", "x", "B", "x", "x", "C", "x") == [False, False, True, True, True]
    assert LONE == 3


def test_an_account_for_which_nothing_is_accepted_is_the_cause() -> None:
    """A recipient whose mail is the only one, or one of many that are rejected, is no suspect."""
    assert not any(alone(Suspects(), *["x"] * 10))
    assert not any(alone(Suspects(), *["x", "y", "z"] * 10))


def test_a_recipient_whose_mail_is_accepted_is_no_suspect_any_more() -> None:
    """The count begins anew."""
    assert alone(Suspects(), "x", "A", "x", "X", "x", "A", "x", "A", "x") == [False, False, False, False, True]


def test_rejections_that_meet_a_paused_account_count_for_nothing() -> None:
    """Several mails to one recipient that are rejected side by side are one time."""
    suspects = Suspects()
    for _ in range(LONE - 1):
        assert not suspects.is_alone("x", pauses=True)
        for _ in range(LONE):
            suspects.delivered("a")
            assert not suspects.is_alone("x", pauses=False)
    assert suspects.is_alone("x", pauses=True)
    assert suspects.is_alone("x", pauses=False)


def test_suspects_take_no_more_memory() -> None:
    """Beyond a limit the one is forgotten that was suspected longest ago."""
    suspects = Suspects()
    for number in range(MAX_RECIPIENTS + 50):
        suspects.is_alone(f"p{number}", pauses=True)
        suspects.delivered("a")
    assert len(suspects._times) == MAX_RECIPIENTS
    assert f"p{MAX_RECIPIENTS + 49}" in suspects._times
