import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import fastest
from samples import mail

from notifier.cohort import LONE, MANY, MOST_SUSPECTS, REMEMBERED, SEVERAL, Cohort, Suspects
from notifier.mail import Reply

POLICY = Reply(550, "5.7.1 Message rejected")


def verdicts(cohort: Cohort, *refusals: tuple[str, Reply]) -> list[bool]:
    return [cohort.concerns_everyone(recipient, reply) for recipient, reply in refusals]


def test_the_same_refusal_for_several_recipients_is_the_transport_s() -> None:
    """The first ones are believed; from the third recipient on it is no longer about them."""
    found = verdicts(Cohort(), *[(f"p{n}@example.com", POLICY) for n in range(5)])
    assert found == [False, False, True, True, True]


def test_one_recipient_is_not_several() -> None:
    """Ten mails to one address that are refused alike say nothing about the transport."""
    assert not any(verdicts(Cohort(), *[("p@example.com", POLICY)] * 10))


def test_an_accepted_mail_begins_a_new_count() -> None:
    """What is refused after a success is believed again."""
    cohort = Cohort()
    verdicts(cohort, ("a", POLICY), ("b", POLICY))
    cohort.delivered()
    assert verdicts(cohort, ("c", POLICY), ("d", POLICY), ("e", POLICY)) == [False, False, True]


def test_another_kind_of_refusal_begins_a_new_count() -> None:
    """Code or enhanced status differ: that is not the same 5xx."""
    others = (Reply(554, "5.7.1 no"), Reply(550, "5.6.0 no"), Reply(550, "no"))
    assert not any(verdicts(Cohort(), *[("a", POLICY), *[(str(n), other) for n, other in enumerate(others)]]))


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
    """A refusal that speaks of the recipient is believed much longer, but not for ever."""
    found = verdicts(Cohort(), *[(f"p{n}@example.com", Reply(550, text.format(n=n))) for n in range(13)])
    assert found == [False] * 11 + [True] * 2


@pytest.mark.parametrize(
    "text", ["rejected id=4f3a{n}", "blocked, see <http://example.com/{n}>", "refused p{n}@x.test"]
)
def test_what_varies_in_the_words_does_not_make_it_another_refusal(text: str) -> None:
    """Without an enhanced status the words count, but for ids, numbers and addresses."""
    found = verdicts(Cohort(), *[(f"p{n}", Reply(550, text.format(n=n))) for n in range(SEVERAL)])
    assert found[-1]


def test_mails_that_failed_too_early_are_given_once() -> None:
    """Who failed by the refusal before it was known for what it is gets another chance; only that row's, only once."""
    cohort = Cohort()
    cohort.concerns_everyone("x", Reply(554, "5.6.0 other"))
    cohort.failed(mail(id="other"))
    for recipient in ("a", "b"):
        cohort.concerns_everyone(recipient, POLICY)
        cohort.failed(mail(id=recipient))
    assert [each.id for each in cohort.reprieved()] == ["a", "b"]
    assert cohort.reprieved() == []


@given(st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("abcd"), st.sampled_from([POLICY, Reply(554, "x")])))))
def test_only_a_row_of_different_recipients_is_ever_the_transport_s(history: list[tuple[str, Reply] | None]) -> None:
    """In any history a refusal is the transport's if and only if its row, unbroken, has several recipients."""
    cohort = Cohort()
    row: list[tuple[str, Reply]] = []
    for event in history:
        if event is None:
            cohort.delivered()
            row = []
            continue
        if row and row[-1][1] != event[1]:
            row = []
        row.append(event)
        assert cohort.concerns_everyone(*event) == (len({recipient for recipient, _ in row}) >= SEVERAL)


def test_one_address_that_is_refused_for_ever_takes_no_more_memory() -> None:
    """Of each recipient the latest failed mails are kept, so that another one's is not pushed out either."""
    cohort = Cohort()
    for number in range(10 * REMEMBERED):
        cohort.concerns_everyone("a", POLICY)
        cohort.failed(mail(id=f"a{number}", to="a"))
        if number == 0:
            cohort.concerns_everyone("b", POLICY)
            cohort.failed(mail(id="b", to="b"))
    kept = [each.id for each in cohort.reprieved()]
    assert kept == [*(f"a{number}" for number in range(9 * REMEMBERED, 10 * REMEMBERED)), "b"]


def test_many_recipients_refused_alike_take_no_more_memory() -> None:
    """Once the account is at fault there is nothing more to count."""
    cohort = Cohort()
    verdicts(cohort, *[(f"p{n}", POLICY) for n in range(50 * MANY)])
    assert len(cohort._recipients) <= MANY


def test_the_kind_of_a_rejection_is_found_in_proportional_time() -> None:
    """One word of a hostile reply that is eight times as long takes about eight times as long."""
    short, long = (Reply(550, "a" * length) for length in (1_000, 8_000))
    assert fastest(lambda: verdicts(Cohort(), ("p", long))) < 24 * fastest(lambda: verdicts(Cohort(), ("p", short)))


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
    for number in range(MOST_SUSPECTS + 50):
        suspects.is_alone(f"p{number}", pauses=True)
        suspects.delivered("a")
    assert len(suspects._times) == MOST_SUSPECTS
    assert f"p{MOST_SUSPECTS + 49}" in suspects._times
