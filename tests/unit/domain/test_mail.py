import uuid
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.samples import NOW, flight, mail

from notifier.domain.mail import (
    ERASED,
    FINISHED,
    NEXT,
    Amendment,
    Itinerary,
    Mail,
    PlainContent,
    Reply,
    RetryPolicy,
    Rewritten,
    Status,
    Withdrawn,
    amended,
    cancelled,
    claimed,
    erased,
    expired,
    failed,
    found_sent,
    handed_back,
    mail_id,
    refused,
    retried,
    retried_now,
    sent,
    standing_note,
)
from notifier.sending.replies import MAX_WAIT
from notifier.settings import MAX_LENGTH

OK = Reply(250, "2.0.0 queued")
LATER = Reply(451, "4.3.0 try again")
POLICY = RetryPolicy((timedelta(seconds=10), timedelta(minutes=1), timedelta(hours=4)), timedelta(hours=48))

CONTRACT = {
    "pending": {"sending", "cancelled", "expired"},
    "sending": {"sent", "pending", "failed", "uncertain"},
    "sent": set(),
    "failed": {"pending"},
    "cancelled": set(),
    "expired": set(),
    "uncertain": {"sent", "pending"},
}


def test_the_steps_of_a_mail_are_those_of_the_contract() -> None:
    """The steps from every status are those of the contract's table."""
    assert {str(status): {str(each) for each in after} for status, after in NEXT.items()} == CONTRACT


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_a_mail_takes_allowed_steps_only(before: Status, after: Status) -> None:
    """A step that `NEXT` has raises rev by one, any other is a ValueError that names both statuses."""
    given_mail = mail(status=before, rev=7)
    if after in NEXT[before]:
        changed = given_mail.become(after, attempt=3)
        assert (changed.status, changed.rev, changed.attempt) == (after, 8, 3)
        assert (given_mail.status, given_mail.rev) == (before, 7)
    else:
        with pytest.raises(ValueError, match=f"{before} cannot become {after}"):
            given_mail.become(after)


def test_a_finished_mail_goes_on_by_an_operator_only() -> None:
    """A finished mail has no next step, except the retry of a failed one."""
    assert {status for status in Status if not NEXT[status]} | {Status.FAILED} == FINISHED


def test_a_claim_begins_an_attempt() -> None:
    """A claimed mail is sending, its attempt counts, and the first attempt's time becomes its Date."""
    first = claimed(mail(), NOW)
    assert (first.status, first.attempt, first.first_attempt_at) == (Status.SENDING, 1, NOW)


def test_the_date_of_a_mail_never_changes() -> None:
    """A later attempt keeps the time of the first one."""
    first = refused(claimed(mail(), NOW), LATER, None, POLICY, NOW)
    second = claimed(first, NOW + timedelta(hours=1))
    assert (second.attempt, second.first_attempt_at, second.next_attempt_at) == (2, NOW, None)


def test_an_accepted_mail_is_sent() -> None:
    """The server's reply and the time are kept, and the error of an earlier attempt is removed."""
    before = claimed(refused(claimed(mail(), NOW), LATER, "timed out", POLICY, NOW), NOW)
    after = sent(before, OK, NOW)
    assert (after.status, after.smtp, after.sent_at, after.error) == (Status.SENT, OK, NOW, None)


def test_what_is_wrong_with_a_booking_outlives_its_delivery() -> None:
    """A sent mail keeps the note about what is wrong with the booking itself."""
    before = claimed(mail(content=Itinerary(("Asha",), (), note="no time zone"), error="no time zone"), NOW)
    assert sent(before, OK, NOW).error == "no time zone"


def test_only_a_booking_s_mail_has_a_standing_note() -> None:
    """A notification has no note, a booking's mail the one of its content."""
    assert standing_note(mail(content=PlainContent("x"))) is None
    assert standing_note(mail(content=Itinerary((), (), note="n"))) == "n"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 10), (2, 60), (3, 14400), (4, 14400), (50, 14400)])
def test_the_last_retry_delay_repeats(attempt: int, seconds: int) -> None:
    """A mail waits for the n-th delay after its n-th rejection, and for the last one after all others."""
    assert POLICY.next_attempt(attempt, NOW) == NOW + timedelta(seconds=seconds)


def test_a_refused_mail_waits_for_its_next_attempt() -> None:
    """A temporary rejection counts as an attempt and sets the time from which the mail is due again."""
    after = refused(claimed(mail(), NOW), LATER, "why", POLICY, NOW)
    assert (after.status, after.attempt, after.smtp, after.error) == (Status.PENDING, 1, LATER, "why")
    assert after.due_at == after.next_attempt_at == NOW + timedelta(seconds=10)


def test_a_broken_dialogue_keeps_the_last_reply() -> None:
    """An attempt without a reply keeps the reply of the attempt before."""
    once = refused(claimed(mail(), NOW), LATER, None, POLICY, NOW)
    assert refused(claimed(once, NOW), None, "connection lost", POLICY, NOW).smtp == LATER


def tried(first: datetime, last: datetime, error: str | None = None) -> Mail:
    """Return a mail whose first counted attempt and whose second one were rejected at these times."""
    once = refused(claimed(mail(), first), LATER, None, POLICY, first)
    return refused(replace(claimed(once, last), attempt=1), LATER, error, POLICY, last)


@pytest.mark.parametrize(
    ("error", "says"), [(None, "given up after 1 attempt"), ("lost", "given up after 1 attempt: lost")]
)
def test_a_mail_without_expiry_is_given_up_in_the_end(error: str | None, says: str) -> None:
    """If the next attempt would be too late, the mail fails, and its error says so."""
    after = tried(NOW, NOW + timedelta(hours=48) - timedelta(seconds=9), error)
    assert (after.status, after.smtp, after.error, after.next_attempt_at) == (Status.FAILED, LATER, says, None)


def test_the_last_moment_to_try_again_still_counts() -> None:
    """An attempt exactly at the end of the time is made."""
    assert tried(NOW, NOW + timedelta(hours=48) - timedelta(seconds=10)).status is Status.PENDING


def test_a_mail_that_was_late_before_its_first_attempt_has_all_the_time() -> None:
    """After an outage of days, or a backlog behind a quota, a mail still has all its retries."""
    monday = NOW + timedelta(days=3)
    assert refused(claimed(mail(), monday), LATER, None, POLICY, monday).status is Status.PENDING
    assert tried(monday, monday + timedelta(hours=47)).status is Status.PENDING
    assert tried(monday, monday + timedelta(hours=49)).status is Status.FAILED


def test_attempts_that_do_not_count_do_not_use_up_the_time() -> None:
    """If a mail was handed back for days while its account was paused, time counts from its first own rejection."""
    handed = handed_back(claimed(mail(), NOW))
    monday = NOW + timedelta(days=3)
    assert refused(claimed(handed, monday), LATER, None, POLICY, monday).status is Status.PENDING


def test_a_mail_that_an_operator_retries_has_all_the_time_again() -> None:
    """It is not given up at the first rejection after the retry."""
    given_up = tried(NOW, NOW + timedelta(hours=49))
    later = NOW + timedelta(hours=50)
    assert refused(claimed(retried(given_up), later), LATER, None, POLICY, later).status is Status.PENDING


@given(
    st.builds(
        Rewritten,
        st.text(max_size=9),
        st.builds(Itinerary, st.just(("Asha",)), st.just(()), note=st.none() | st.just("no zone")),
        st.none(),
        st.none(),
    )
    | st.builds(Withdrawn, st.just("withdrawn"))
    | st.none(),
    st.booleans(),
)
def test_a_mail_that_waits_again_takes_allowed_steps_only(amendment: Amendment | None, maybe_sent: bool) -> None:  # noqa: FBT001 - drawn
    """A withdrawn mail is cancelled, a rewritten one changes unless it may have been sent, any other stays as it is."""
    before = handed_back(claimed(mail(maybe_sent=maybe_sent), NOW))
    steps = amended(before, amendment)
    assert (steps[0].status, steps[0].rev) == (Status.PENDING, before.rev)
    match amendment:
        case Withdrawn():
            assert [(step.status, step.rev) for step in steps[1:]] == [(Status.CANCELLED, before.rev + 1)]
        case Rewritten() if not maybe_sent:
            assert [(step.subject, step.content) for step in steps] == [(amendment.subject, amendment.content)]
        case _:
            assert steps == (before,)


def test_a_mail_with_an_expiry_is_tried_until_then() -> None:
    """A mail that has an expiry of its own is never given up early."""
    late = NOW + timedelta(days=30)
    before = claimed(mail(expires_at=NOW + timedelta(days=60)), late)
    assert refused(before, LATER, None, POLICY, late).status is Status.PENDING


TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9800, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
LAST = datetime(9999, 1, 2, tzinfo=UTC)
DURATIONS = st.timedeltas(timedelta(0), MAX_LENGTH)


@given(TIMES | st.just(LAST), TIMES, DURATIONS, DURATIONS, st.timedeltas(timedelta(0), MAX_WAIT))
@example(LAST, NOW, MAX_LENGTH, MAX_LENGTH, MAX_WAIT)
def test_every_time_and_setting_can_be_retried(
    send_at: datetime, now: datetime, delay: timedelta, give_up_after: timedelta, asked: timedelta
) -> None:
    """The sum of any time in a message, the current time and any duration in the settings is a valid date."""
    policy = RetryPolicy((delay,), give_up_after)
    after = refused(claimed(mail(send_at=send_at), now), LATER, None, policy, now, asked=asked)
    given_up = max(delay, asked) + now > max(send_at, now) + give_up_after if send_at < LAST else False
    assert after.status is (Status.FAILED if given_up else Status.PENDING)


def test_a_fault_of_the_transport_costs_no_attempt() -> None:
    """A mail that is handed back is as due as it was, and the attempt is not counted."""
    before = mail(attempt=2)
    after = handed_back(claimed(before, NOW))
    assert (after.status, after.attempt, after.next_attempt_at) == (Status.PENDING, 2, None)


def test_a_mail_refused_for_good_has_failed() -> None:
    """The server's last reply says why."""
    after = failed(claimed(mail(), NOW), Reply(550, "5.1.1 no such user"), None)
    assert (after.status, after.smtp) == (Status.FAILED, Reply(550, "5.1.1 no such user"))


def test_a_withdrawn_mail_says_why() -> None:
    """A cancelled mail has the reason as its error and is no longer due."""
    waiting = refused(claimed(mail(), NOW), LATER, None, POLICY, NOW)
    after = cancelled(waiting, "the booking was cancelled")
    assert (after.status, after.error, after.next_attempt_at) == (Status.CANCELLED, "the booking was cancelled", None)


def test_a_mail_whose_time_has_passed_is_expired() -> None:
    """An expired mail waits for nothing any more."""
    after = expired(refused(claimed(mail(), NOW), LATER, None, POLICY, NOW))
    assert (after.status, after.next_attempt_at) == (Status.EXPIRED, None)


def test_a_mail_is_due_when_it_is_to_be_sent() -> None:
    """Before its first attempt a mail is due at `send_at`."""
    assert mail(send_at=NOW + timedelta(hours=1)).due_at == NOW + timedelta(hours=1)


@given(st.lists(st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"])), min_size=1))
def test_a_mail_s_id_is_what_it_is(what: list[str]) -> None:
    """Equal parts have the same id; one more part, or parts divided in another place, have another."""
    assert mail_id(*what) == mail_id(*what)
    assert mail_id(*what) != mail_id(*what, "x")
    assert mail_id(*what, "a", "b") != mail_id(*what, "ab")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_mail_s_id_is_a_uuid_of_version_5(what: list[str]) -> None:
    """Ids are those of the standard library, so that an upgrade computes the same ones again."""
    namespace = uuid.UUID("7f1c1f0e-6f0b-5a55-9f0e-3c1b7d4f2a10")
    assert mail_id(*what) == str(uuid.uuid5(namespace, "\x1f".join(what)))


def test_the_next_attempt_is_not_before_the_time_that_the_server_asked_for() -> None:
    """A pause that the server requests is honoured if it is longer than the mail's own delay."""
    policy = RetryPolicy((timedelta(seconds=10),), timedelta(hours=48))
    sending = claimed(mail(), NOW)
    for asked, expected in ((300, 300), (3, 10)):
        again = refused(sending, Reply(450, "later"), None, policy, NOW, asked=timedelta(seconds=asked))
        assert again.next_attempt_at == NOW + timedelta(seconds=expected)


def test_an_uncertain_mail_that_was_sent_says_when_that_was_found_out() -> None:
    """The time of the operator's decision is its `sent_at`."""
    held = mail(status=Status.UNCERTAIN, attempt=1)
    assert (found_sent(held, NOW).status, found_sent(held, NOW).sent_at) == (Status.SENT, NOW)


def test_a_mail_that_is_hurried_is_a_newer_state_of_it() -> None:
    """It is due at once, keeps its attempts, and has a higher revision."""
    waiting = mail(attempt=2, rev=5, next_attempt_at=NOW)
    hurried = retried_now(waiting)
    assert (hurried.rev, hurried.attempt, hurried.next_attempt_at, hurried.status) == (6, 2, None, Status.PENDING)


def test_an_erased_mail_keeps_what_is_nobody_s() -> None:
    """The flight stays without seat and gate, and the reply's code without its text."""
    known = mail(flight=flight(gate="4"), smtp=Reply(550, "no such user asha"), error="refused asha")
    gone = erased(known)
    assert (gone.to, gone.subject, gone.content, gone.error) == ("", "", PlainContent(""), ERASED)
    assert gone.flight == flight(seat=None, gate=None)
    assert gone.smtp == Reply(550, "")
