import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parts import fastest
from support.samples import mail

from notifier.domain.mail import Mail, Reply
from notifier.sending.refusals import (
    LONE,
    MANY,
    MAX_EXTRA,
    MAX_FAILED,
    REMEMBERED,
    SEVERAL,
    Cause,
    RefusalStreak,
    Streak,
    Suspects,
)

POLICY = Reply(550, "5.7.1 Message rejected")


def to(recipient: str, aggregate: str | None = None) -> Mail:
    """Build a mail to a recipient, of a request of its own unless another one is named."""
    return mail(id=recipient, to=recipient, aggregate=aggregate or recipient)


def causes(streak: RefusalStreak, *rejections: tuple[str, Reply]) -> list[Cause]:
    return [streak.cause(to(recipient), reply) for recipient, reply in rejections]


def test_one_request_does_not_suspect_the_account() -> None:
    """The failures count against the account only when they belong to three requests."""
    streak = RefusalStreak()
    assert {streak.cause(to(f"p{n}", "bulk"), POLICY) for n in range(100)} == {Cause.MAIL}
    assert streak.cause(to("p1", "second"), POLICY) is Cause.MAIL
    assert streak.cause(to("p2", "third"), POLICY) is Cause.ACCOUNT
    assert streak.cause(to("p3", "bulk"), POLICY) is Cause.REPEATED


def test_the_same_rejection_for_several_recipients_concerns_the_account() -> None:
    """The first two are attributed to their mails; from the third recipient on they are attributed to the account."""
    found = causes(RefusalStreak(), *[(f"p{n}@example.com", POLICY) for n in range(5)])
    assert found == [Cause.MAIL, Cause.MAIL, Cause.ACCOUNT, Cause.ACCOUNT, Cause.ACCOUNT]


def test_one_recipient_is_not_several() -> None:
    """Ten mails to one address that are rejected alike say nothing about the account."""
    assert causes(RefusalStreak(), *[("p@example.com", POLICY)] * 10) == [Cause.MAIL] * 10


def test_a_recipient_that_is_rejected_again_shows_nothing_new() -> None:
    """While the account is suspected, only a recipient that has not been rejected yet counts against it."""
    streak = RefusalStreak()
    causes(streak, ("a", POLICY), ("b", POLICY), ("c", POLICY))
    assert causes(streak, ("a", POLICY), ("c", POLICY), ("d", POLICY)) == [
        Cause.REPEATED,
        Cause.REPEATED,
        Cause.ACCOUNT,
    ]


def test_recipients_of_a_streak_are_cleared_by_an_accepted_mail() -> None:
    """They do not count against the account a second time until a mail to them is accepted."""
    streak = RefusalStreak()
    row = [(name, POLICY) for name in "abc"]
    causes(streak, *row)
    streak.delivered("x")
    assert causes(streak, *row, ("d", POLICY)) == [Cause.CLEARED] * 3 + [Cause.DOUBTFUL]
    streak.delivered("a")
    assert causes(streak, *row) == [Cause.DOUBTFUL, Cause.CLEARED, Cause.CLEARED]


def test_a_streak_after_a_wrong_suspicion_must_be_longer() -> None:
    """It needs twice as many recipients more as the previous one had, and one fewer after each accepted mail."""
    streak = Streak()
    for name in "abc":
        streak.add(to(name), SEVERAL)
    streak.delivered("x")
    found = [streak.add(to(f"p{n}"), SEVERAL) for n in range(9)]
    assert found == [Cause.DOUBTFUL] * 8 + [Cause.ACCOUNT]
    streak.delivered("x")
    for _ in range(17):
        streak.delivered("x")
    assert [streak.add(to(f"q{n}"), SEVERAL) for n in range(4)] == [Cause.DOUBTFUL] * 3 + [Cause.ACCOUNT]
    streak.delivered("x")
    for _ in range(8):
        streak.delivered("x")
    assert streak.add(to("r"), SEVERAL) is Cause.MAIL


def test_the_length_that_a_streak_needs_is_bounded() -> None:
    """After a thousand recipients that were suspected wrongly, the next streak needs MAX_EXTRA more at most."""
    streak = Streak()
    for number in range(1000):
        streak.add(to(f"p{number}"), SEVERAL)
    streak.delivered("x")
    found = [streak.add(to(f"q{number}"), SEVERAL) for number in range(MAX_EXTRA + SEVERAL)]
    assert found == [Cause.DOUBTFUL] * (MAX_EXTRA + SEVERAL - 1) + [Cause.ACCOUNT]


def test_memory_for_failed_mails_of_many_recipients_is_bounded() -> None:
    """Mails of the first recipients are kept, and further mails of the same recipients, too."""
    streak = RefusalStreak()
    for number in range(MAX_FAILED + 5):
        streak.failed(to(f"p{number}"))
    streak.failed(to("p0"))
    assert [each.to for each in streak.reprieved()] == ["p0", *(f"p{number}" for number in range(MAX_FAILED))]


def test_an_accepted_mail_begins_a_new_streak() -> None:
    """Rejections after an accepted mail are attributed to their mails again."""
    streak = RefusalStreak()
    causes(streak, ("a", POLICY), ("b", POLICY))
    streak.delivered("x")
    assert causes(streak, ("a", POLICY), ("d", POLICY), ("e", POLICY)) == [Cause.MAIL, Cause.MAIL, Cause.ACCOUNT]


def test_another_kind_of_rejection_begins_a_new_streak() -> None:
    """Rejections whose codes or enhanced statuses differ are not of one kind."""
    others = (Reply(554, "5.7.1 no"), Reply(550, "5.6.0 no"), Reply(550, "no"))
    history = [("a", POLICY), *[(str(n), other) for n, other in enumerate(others)]]
    assert causes(RefusalStreak(), *history) == [Cause.MAIL] * 4


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
    """Rejections that are about the recipient need a longer streak before the account is suspected."""
    found = causes(RefusalStreak(), *[(f"p{n}@example.com", Reply(550, text.format(n=n))) for n in range(13)])
    assert found == [Cause.MAIL] * 11 + [Cause.ACCOUNT] * 2


@pytest.mark.parametrize(
    "text", ["rejected id=4f3a{n}", "blocked, see <http://example.com/{n}>", "refused p{n}@x.test"]
)
def test_ids_in_a_reply_do_not_make_it_another_kind(text: str) -> None:
    """Without an enhanced status the words count, except ids, numbers and addresses."""
    found = causes(RefusalStreak(), *[(f"p{n}", Reply(550, text.format(n=n))) for n in range(SEVERAL)])
    assert found[-1] is Cause.ACCOUNT


def test_mails_that_failed_too_early_are_reprieved_once() -> None:
    """Mails that failed in the current streak, before the account was suspected, are returned once."""
    streak = RefusalStreak()
    streak.cause(to("x"), Reply(554, "5.6.0 other"))
    streak.failed(mail(id="other"))
    for recipient in ("a", "b"):
        streak.cause(to(recipient), POLICY)
        streak.failed(mail(id=recipient))
    assert [each.id for each in streak.reprieved()] == ["a", "b"]
    assert streak.reprieved() == []


@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("1234") | st.none())))
def test_any_history_of_a_streak(history: list[tuple[str, str | None]]) -> None:
    """The account is suspected if and only if an unbroken streak is long enough, by each recipient that is new to it.

    Each step is a failed mail to a recipient with its request, or (None) an accepted one.
    """
    streak = Streak()
    row, requests, cleared, spared, is_long = set[str](), set[str](), set[str](), 0, False
    for recipient, aggregate in history:
        if aggregate is None:
            cleared = (cleared | (row if is_long else set())) - {recipient}
            spared = 2 * len(row) if is_long else max(0, spared - 1)
            row, requests, is_long = set(), set(), False
            streak.delivered(recipient)
            continue
        was_long, is_new = is_long, recipient not in row
        if recipient in cleared:
            expected = Cause.CLEARED
        elif was_long and not is_new:
            expected = Cause.REPEATED
        else:
            row.add(recipient)
            requests.add(aggregate)
            is_long = len(row) >= SEVERAL + spared and len(requests) >= SEVERAL
            expected = Cause.ACCOUNT if is_long else Cause.DOUBTFUL if spared else Cause.MAIL
        assert streak.add(to(recipient, aggregate), SEVERAL) is expected


def test_memory_for_one_recipient_is_bounded() -> None:
    """The latest failed mails of each recipient are kept, so that one recipient displaces no other."""
    streak = RefusalStreak()
    for number in range(10 * REMEMBERED):
        streak.cause(to("a"), POLICY)
        streak.failed(mail(id=f"a{number}", to="a"))
        if number == 0:
            streak.cause(to("b"), POLICY)
            streak.failed(mail(id="b", to="b"))
    kept = [each.id for each in streak.reprieved()]
    assert kept == [*(f"a{number}" for number in range(9 * REMEMBERED, 10 * REMEMBERED)), "b"]


def test_memory_for_recipients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the recipients of a streak, and of those that were cleared, the earliest are dropped."""
    monkeypatch.setattr("notifier.sending.refusals.MAX_RECIPIENTS", 100)
    monkeypatch.setattr("notifier.sending.refusals.MAX_EXTRA", 10)
    streak = Streak()
    for number in range(150):
        streak.add(to(f"p{number}"), MANY)
    assert [streak.add(to(f"p{number}"), MANY) for number in (50, 49)] == [Cause.REPEATED, Cause.ACCOUNT]
    streak.delivered("a")
    assert [streak.add(to(f"p{number}"), MANY) for number in (49, 50, 51)] == [
        Cause.CLEARED,
        Cause.DOUBTFUL,
        Cause.CLEARED,
    ]
    for number in range(250):
        streak.add(to(f"q{number}"), MANY)
    streak.delivered("a")
    assert len(streak._cleared) == 100
    assert streak.add(to("q249"), MANY) is Cause.CLEARED
    assert streak.add(to("p51"), MANY) is Cause.DOUBTFUL


def test_the_kind_of_a_rejection_is_found_in_proportional_time() -> None:
    """A word of a hostile reply that is eight times as long takes about eight times as long."""
    short, long = (Reply(550, "a" * length) for length in (1_000, 8_000))
    assert fastest(lambda: causes(RefusalStreak(), ("p", long))) < 24 * fastest(
        lambda: causes(RefusalStreak(), ("p", short))
    )


def alone(suspects: Suspects, *history: str) -> list[bool]:
    """Replay a history: a name is a recipient that pauses the account, in capitals one whose mail is accepted."""
    found = []
    for name in history:
        if name.isupper():
            suspects.delivered(name.lower())
        else:
            found.append(suspects.is_alone(name, pauses=True))
    return found


def test_a_recipient_that_alone_pauses_the_account_is_found() -> None:
    """With mails to others accepted in between, it is the cause itself from the third time on."""
    assert alone(Suspects(), "x", "A", "x", "B", "x", "x", "C", "x") == [False, False, True, True, True]
    assert LONE == 3


def test_an_account_for_which_nothing_is_accepted_is_the_cause() -> None:
    """A recipient is not the cause if no mail to others is accepted in between."""
    assert not any(alone(Suspects(), *["x"] * 10))
    assert not any(alone(Suspects(), *["x", "y", "z"] * 10))


def test_an_accepted_mail_clears_its_recipient() -> None:
    """The count starts over."""
    assert alone(Suspects(), "x", "A", "x", "X", "x", "A", "x", "A", "x") == [False, False, False, False, True]


def test_rejections_on_a_paused_account_do_not_count() -> None:
    """Several mails to one recipient that are rejected at the same time count once."""
    suspects = Suspects()
    for _ in range(LONE - 1):
        assert not suspects.is_alone("x", pauses=True)
        for _ in range(LONE):
            suspects.delivered("a")
            assert not suspects.is_alone("x", pauses=False)
    assert suspects.is_alone("x", pauses=True)
    assert suspects.is_alone("x", pauses=False)


def test_memory_for_suspects_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the recipient that was suspected longest ago is dropped."""
    monkeypatch.setattr("notifier.sending.refusals.MAX_RECIPIENTS", 100)
    suspects = Suspects()
    for number in range(150):
        suspects.is_alone(f"p{number}", pauses=True)
        suspects.delivered("a")
    assert list(suspects._times) == [f"p{number}" for number in range(50, 150)]
