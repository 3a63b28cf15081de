import json
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.any_mail import MAILS
from support.samples import NOW, TRACE, flight, mail

from notifier.domain.events import (
    EVENT_TYPES,
    Batch,
    MailFilter,
    StoredEvent,
    encode_event,
    erased_body,
    event_id,
    event_type,
    ids,
)
from notifier.domain.mail import (
    ERASED,
    Itinerary,
    Kind,
    Mail,
    Reply,
    RetryPolicy,
    Status,
    claimed,
    erased,
    handed_back,
    refused,
)

POLICY = RetryPolicy((timedelta(minutes=1),), timedelta(hours=48))
REMINDER = mail(
    kind=Kind.REMINDER,
    booking="RXJ34P",
    flight=flight(),
    content=Itinerary(("Asha Rao",), (flight(),)),
    expires_at=flight().departs_at,
)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
def test_a_change_is_named_by_the_new_status(status: Status) -> None:
    """The type of an event is the status that the mail now has."""
    assert event_type(Status.SENDING, mail(status=status)) == f"mail.{status}"


def test_a_new_mail_is_pending() -> None:
    """The first event of a mail has nothing before it."""
    assert event_type(None, mail()) == "mail.pending"


def test_a_refused_mail_is_retrying() -> None:
    """A mail that was rejected temporarily waits for its next attempt."""
    after = refused(claimed(mail(), NOW), Reply(451, "later"), None, POLICY, NOW)
    assert event_type(Status.SENDING, after) == "mail.retrying"


def test_a_mail_handed_back_is_pending_again() -> None:
    """A fault of the transport is no rejection, even for a mail that was rejected before."""
    once = refused(claimed(mail(), NOW), Reply(451, "later"), None, POLICY, NOW)
    assert event_type(Status.SENDING, handed_back(claimed(once, NOW), NOW), counted=False) == "mail.pending"


@pytest.mark.parametrize("prev", [Status.FAILED, Status.UNCERTAIN])
def test_a_mail_that_an_operator_retries_is_pending(prev: Status) -> None:
    """Only a rejection makes a mail retrying."""
    assert event_type(prev, mail(next_attempt_at=NOW)) == "mail.pending"


def test_every_type_of_event_is_listed() -> None:
    """The list has exactly the types that changes can have, each once."""
    changes = product((None, *Status), Status, (True, False))
    types = [event_type(prev, mail(status=status), counted=counted) for prev, status, counted in changes]
    assert sorted(EVENT_TYPES) == sorted(set(types))


def test_each_change_has_an_id_of_its_own() -> None:
    """The id is the mail's and its rev, so a repeat is recognised and the next change has another id."""
    before, after = mail(), claimed(mail(), NOW)
    assert event_id(before) == f"{before.id}.1"
    assert event_id(after) == f"{before.id}.2"


def test_an_event_is_a_cloud_event() -> None:
    """The encoded event has the contract's fields, the status before, and the mail as it is now."""
    after = claimed(REMINDER, NOW)
    assert json.loads(encode_event("mail.sending", Status.PENDING, after, NOW + timedelta(milliseconds=7))) == {
        "specversion": "1.0",
        "id": f"{after.id}.2",
        "source": "/notifier",
        "type": "mail.sending",
        "time": "2026-11-24T10:00:00.007Z",
        "subject": after.id,
        "data": {
            "prev": "pending",
            "mail": {
                "id": after.id,
                "rev": 2,
                "kind": "flight.reminder",
                "status": "sending",
                "to": "a•••@example.com",
                "subject": "Your ticket",
                "booking": "RXJ34P",
                "flight": {"number": "AI101", "from": "DEL", "to": "BLR", "departs_at": "2026-12-01T04:00:00.000Z"},
                "attempt": 1,
                "created_at": "2026-11-24T10:00:00.000Z",
                "send_at": "2026-11-24T10:00:00.000Z",
                "expires_at": "2026-12-01T04:00:00.000Z",
                "next_attempt_at": None,
                "sent_at": None,
                "message_id": after.message_id,
                "event": "r1",
                "smtp": None,
                "error": None,
            },
        },
    }


def test_the_first_event_has_no_status_before() -> None:
    """`data.prev` of a new mail is null."""
    assert json.loads(encode_event("mail.pending", None, mail(), NOW))["data"]["prev"] is None


@pytest.mark.parametrize(("traceparent", "shown"), [(TRACE, {"traceparent": TRACE}), (None, {})])
def test_an_event_continues_the_trace_of_its_message(traceparent: str | None, shown: dict[str, str]) -> None:
    """The event has the mail's `traceparent`; without one the field is absent."""
    event = json.loads(encode_event("mail.pending", None, mail(traceparent=traceparent), NOW))
    assert {name: value for name, value in event.items() if name == "traceparent"} == shown


@given(MAILS, st.none() | st.sampled_from(Status))
def test_an_event_is_erased_like_its_mail(any_mail: Mail, prev: Status | None) -> None:
    """An erased event is the event of the erased mail, except that an error appears only if there was one."""
    event = json.loads(erased_body(encode_event("mail.sending", prev, any_mail, NOW)))
    gone = replace(erased(any_mail), error=ERASED if any_mail.error else None)
    assert event == json.loads(encode_event("mail.sending", prev, gone, NOW))


def test_an_erased_event_names_nobody() -> None:
    """Address, subject, error and the text of the reply are removed; the rest stays."""
    known = replace(REMINDER, subject="Asha's flight", smtp=Reply(550, "no Asha"), error="rejected Asha")
    body = encode_event("mail.failed", Status.SENDING, known, NOW)
    gone = json.loads(erased_body(body))
    shown = gone["data"]["mail"]
    assert (shown["to"], shown["subject"], shown["error"]) == ("•••", "", "the address was erased")
    assert shown["smtp"] == {"code": 550, "text": ""}
    before = json.loads(body)
    before["data"]["mail"] |= {name: shown[name] for name in ("to", "subject", "error", "smtp")}
    assert gone == before


@pytest.mark.parametrize(
    ("booking", "traceparent", "more"),
    [
        ("RXJ34P", TRACE, {"booking": "RXJ34P", "traceparent": TRACE}),
        ("RXJ34P", None, {"booking": "RXJ34P"}),
        (None, TRACE, {"traceparent": TRACE}),
        (None, None, {}),
    ],
)
def test_a_log_line_names_what_it_concerns(booking: str | None, traceparent: str | None, more: dict[str, str]) -> None:
    """It has the mail and the message, and the booking and the trace if there are any."""
    assert ids("m", "e", booking, traceparent) == {"mail": "m", "message": "e", **more}


def logged(**changes: Any) -> StoredEvent:
    event = StoredEvent(
        7, b"{}", "mail.sent", "m.3", "m", Status.SENDING, Status.SENT, Kind.REMINDER, "RXJ34P", NOW, "e", None
    )
    return event._replace(**changes)


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (MailFilter(), True),
        (MailFilter(status=frozenset({Status.SENT})), True),
        (MailFilter(status=frozenset({Status.SENDING})), True),
        (MailFilter(status=frozenset({Status.SENDING, Status.FAILED})), True),
        (MailFilter(status=frozenset({Status.PENDING, Status.FAILED})), False),
        (MailFilter(kind=frozenset({Kind.REMINDER, Kind.CHANGE})), True),
        (MailFilter(kind=frozenset({Kind.CHANGE})), False),
        (MailFilter(booking=frozenset({"RXJ34P"})), True),
        (MailFilter(booking=frozenset({"OTHER1"})), False),
        (MailFilter(mail=frozenset({"m", "n"})), True),
        (MailFilter(mail=frozenset({"n"})), False),
        (MailFilter(since=NOW), True),
        (MailFilter(since=NOW + timedelta(milliseconds=1)), False),
        (MailFilter(status=frozenset({Status.SENT}), kind=frozenset({Kind.CHANGE})), False),
        (MailFilter(status=frozenset({Status.SENT}), booking=frozenset({"RXJ34P"}), since=NOW), True),
    ],
)
def test_a_filter_passes_what_matched_before_or_after(wanted: MailFilter, passes: bool) -> None:  # noqa: FBT001 - a column of the table
    """Fields are ANDed, values ORed, an empty field matches all, and the old status counts like the new one."""
    assert wanted.passes(logged()) is passes
    assert wanted.may_pass(Batch([logged()])) is passes


def test_a_new_mail_passes_by_its_status_alone() -> None:
    """If there was no status before, only the new one can match."""
    new = logged(prev=None, status=Status.PENDING)
    assert MailFilter(status=frozenset({Status.PENDING})).passes(new)
    assert not MailFilter(status=frozenset({Status.SENT})).passes(new)


def test_a_batch_keeps_the_order_of_its_events() -> None:
    """Clients get the events in the order of the log."""
    events = [logged(seq=8), logged(seq=9), logged(seq=12)]
    assert list(Batch(events).events) == events


def test_a_batch_can_pass_if_one_of_its_events_can() -> None:
    """It is skipped only if a client wants values that none of its events has."""
    batch = Batch([logged(mail="m", booking="A"), logged(mail="n", booking="B", created_at=NOW + timedelta(hours=1))])
    assert MailFilter(mail=frozenset({"n"}), booking=frozenset({"B"}), since=NOW + timedelta(hours=1)).may_pass(batch)
    assert not MailFilter(mail=frozenset({"o"})).may_pass(batch)
    assert not MailFilter(since=NOW + timedelta(hours=2)).may_pass(batch)
