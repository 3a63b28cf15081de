import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.samples import NOW, flight, mail

from notifier.domain.mail import (
    FINISHED,
    NEXT,
    AirportTime,
    Amendment,
    Itinerary,
    Kind,
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
    rewritten,
    sent,
    standing_note,
    uncertain,
    unknown,
)
from notifier.sending.replies import MAX_WAIT
from notifier.settings import MAX_LENGTH

OK = Reply(250, "2.0.0 queued")
LATER = Reply(451, "4.3.0 try again")
POLICY = RetryPolicy((timedelta(seconds=10), timedelta(minutes=1), timedelta(hours=4)), timedelta(hours=48))
HOLDING = replace(POLICY, hold_uncertain=True)
LOST = "connection lost"
NEW = Itinerary(("Asha",), (flight(number="AI202"),), note="no time zone")

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


def test_the_kinds_are_those_of_the_contract() -> None:
    """Clients filter by these values, and databases store them."""
    kinds = {"booking.confirmation", "booking.change", "booking.cancellation", "flight.reminder", "notification"}
    assert set(Kind) == kinds


@pytest.mark.parametrize(
    ("stored", "type_"),
    [
        (NEW, "itinerary"),
        (PlainContent("It is ready."), "letter"),
        (Withdrawn("withdrawn"), "withdrawn"),
        (Rewritten("New", NEW, flight(), NOW), "rewritten"),
    ],
)
def test_contents_and_amendments_are_stored_under_fixed_names(stored: Any, type_: str) -> None:
    """A later version can decode the JSON of an earlier one, because the type is a part of it."""
    encoded = msgspec.json.encode(stored)
    assert json.loads(encoded)["type"] == type_
    assert msgspec.json.decode(encoded, type=Itinerary | PlainContent | Withdrawn | Rewritten) == stored


def test_a_flight_is_stored_from_one_airport_to_another() -> None:
    """The airports are called `from` and `to` in JSON, as in the messages of the contract."""
    stored = msgspec.to_builtins(flight(origin="DEL", destination="BLR"))
    assert (stored["from"], stored["to"]) == ("DEL", "BLR")


def test_the_content_of_an_earlier_version_is_readable() -> None:
    """If it was stored without the newer fields, it is the booking's first content and replaces no reminder."""
    found = msgspec.json.decode(b'{"type":"itinerary","names":["Asha"],"flights":[]}', type=Itinerary)
    assert (found.sequence, found.before, found.leaves_soon) == (0, (), False)


CLOCK = datetime(2026, 12, 1, 9, 30)  # noqa: DTZ001 - what an airport's clock shows


@pytest.mark.parametrize(
    ("at", "latest"),
    [
        (datetime(2026, 12, 1, 4, 0, tzinfo=UTC), datetime(2026, 12, 1, 4, 0, tzinfo=UTC)),
        (None, datetime(2026, 12, 1, 21, 30, tzinfo=UTC)),
    ],
)
def test_a_flight_without_a_time_zone_departs_in_the_westernmost_one_at_the_latest(
    at: datetime | None, latest: datetime
) -> None:
    """The latest possible departure is the departure itself, or 12 hours after the local time if that were UTC."""
    found = flight(departs=AirportTime(at, CLOCK))
    assert (found.departs_at, found.departs_by) == (at, latest)


def test_a_new_mail_has_not_been_attempted() -> None:
    """It waits in its first revision, and its reader cannot have received it."""
    new = mail()
    assert (new.status, new.rev, new.attempt) == (Status.PENDING, 1, 0)
    assert (new.past_data, new.maybe_sent) == (False, False)


def test_a_finished_mail_goes_on_by_an_operator_only() -> None:
    """A finished mail has no next step, except the retry of a failed one."""
    assert {status for status in Status if not NEXT[status]} | {Status.FAILED} == FINISHED


def test_a_claim_begins_an_attempt() -> None:
    """A claimed mail is sending, its attempt counts, and the first attempt's time becomes its Date."""
    first = claimed(mail(), NOW)
    assert (first.status, first.attempt, first.first_attempt_at) == (Status.SENDING, 1, NOW)


def test_a_claim_forgets_how_far_the_attempt_before_came() -> None:
    """The new attempt has transferred nothing yet, even if the one before may have."""
    assert claimed(mail(past_data=True), NOW).past_data is False


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


def test_a_mail_that_is_given_up_has_the_reply_to_its_last_attempt() -> None:
    """It replaces the reply to an earlier attempt."""
    waiting = mail(attempt=3, smtp=LATER, counted_since=NOW)
    final, late = Reply(452, "4.2.2 mailbox full"), NOW + timedelta(hours=49)
    after = refused(claimed(waiting, late), final, None, POLICY, late)
    assert (after.status, after.smtp, after.error) == (Status.FAILED, final, "given up after 4 attempts")


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
            assert steps[1].error == amendment.reason
        case Rewritten() if not maybe_sent:
            assert [(step.subject, step.content) for step in steps] == [(amendment.subject, amendment.content)]
        case _:
            assert steps == (before,)


def test_a_rewritten_mail_says_something_new() -> None:
    """Subject, content, flight and expiry are the new ones, watchers see a new revision, and nothing else changes."""
    before = mail(rev=5, attempt=2, next_attempt_at=NOW, content=Itinerary((), ()), expires_at=NOW)
    after = rewritten(before, Rewritten("New", NEW, flight(number="AI202"), NOW + timedelta(hours=1)))
    assert after == replace(
        before,
        rev=6,
        subject="New",
        content=NEW,
        flight=flight(number="AI202"),
        expires_at=NOW + timedelta(hours=1),
        error="no time zone",
    )


@pytest.mark.parametrize(
    ("error", "old", "new", "shown"),
    [
        (None, None, "no price", "no price"),
        (None, None, None, None),
        ("no seat", "no seat", "no price", "no price"),
        ("no seat", "no seat", None, None),
        ("timed out", None, "no price", "timed out"),
        ("timed out", "no seat", "no price", "timed out"),
        ("timed out", "no seat", None, "timed out"),
    ],
)
def test_a_rewritten_mail_keeps_the_error_of_an_attempt(
    error: str | None, old: str | None, new: str | None, shown: str | None
) -> None:
    """Without such an error, the note of the new content replaces that of the old one."""
    before = mail(content=Itinerary((), (), note=old), error=error)
    assert rewritten(before, Rewritten("New", Itinerary((), (), note=new), None, None)).error == shown


def test_a_mail_with_an_expiry_is_tried_until_then() -> None:
    """A mail that has an expiry of its own is never given up early."""
    late = NOW + timedelta(days=30)
    before = claimed(mail(expires_at=NOW + timedelta(days=60)), late)
    assert refused(before, LATER, None, POLICY, late).status is Status.PENDING


def test_a_mail_with_an_unknown_outcome_is_tried_again_unless_the_policy_holds_it() -> None:
    """It counts as perhaps sent, keeps the last reply, and waits for its next attempt like a rejected one."""
    after = unknown(claimed(mail(smtp=LATER), NOW), LOST, POLICY, NOW)
    assert (after.status, after.attempt, after.maybe_sent) == (Status.PENDING, 1, True)
    assert (after.error, after.smtp) == ("outcome unknown: connection lost", LATER)
    assert after.next_attempt_at == NOW + timedelta(seconds=10)


def test_a_mail_with_an_unknown_outcome_is_given_up_in_the_end() -> None:
    """An unknown outcome uses up the time for retries like a rejection."""
    late = NOW + timedelta(hours=49)
    after = unknown(claimed(mail(counted_since=NOW), late), LOST, POLICY, late)
    assert (after.status, after.maybe_sent) == (Status.FAILED, True)
    assert after.error == "given up after 1 attempt: outcome unknown: connection lost"


def test_a_mail_that_may_have_been_sent_is_held_if_the_policy_says_so() -> None:
    """An operator sees why, and the attempt counts."""
    sending = replace(claimed(mail(), NOW), past_data=True)
    held = unknown(sending, LOST, HOLDING, NOW)
    assert (held.status, held.attempt, held.maybe_sent) == (Status.UNCERTAIN, 1, True)
    assert held.error == "outcome unknown: connection lost"


def test_a_mail_that_was_not_transferred_is_not_held() -> None:
    """It is due at once, and the attempt does not count."""
    after = unknown(claimed(mail(), NOW), LOST, HOLDING, NOW)
    assert (after.status, after.attempt, after.maybe_sent) == (Status.PENDING, 0, False)
    assert (after.error, after.due_at) == (None, NOW)


def test_a_held_mail_says_why() -> None:
    """It waits for an operator, and its reader may have it."""
    held = uncertain(claimed(mail(), NOW), "the process was killed")
    assert (held.status, held.error, held.maybe_sent) == (Status.UNCERTAIN, "the process was killed", True)


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


def test_a_mail_that_is_handed_back_can_go_behind_the_others() -> None:
    """With a time it counts as due since then, and mails that have been due longer go first."""
    until = NOW + timedelta(seconds=5)
    assert handed_back(claimed(mail(), NOW), until).due_at == until


@pytest.mark.parametrize("status", [Status.FAILED, Status.UNCERTAIN])
def test_an_operator_can_choose_when_a_mail_is_tried_again(status: Status) -> None:
    """Without a time it is tried at once."""
    at = NOW + timedelta(hours=2)
    stopped = mail(status=status, next_attempt_at=None)
    assert (retried(stopped, at).status, retried(stopped, at).due_at) == (Status.PENDING, at)
    assert retried(stopped).due_at == NOW


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
    assert (gone.to, gone.subject, gone.content, gone.error) == ("", "", PlainContent(""), "the address was erased")
    assert gone.flight == flight(seat=None, gate=None)
    assert gone.smtp == Reply(550, "")


def test_an_erased_mail_without_flight_and_reply_gets_none() -> None:
    """What the mail never had stays None."""
    gone = erased(mail())
    assert (gone.flight, gone.smtp) == (None, None)
