from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from support.samples import NOW, RULES, TRACE

from notifier.domain.mail import Kind, Mail, PlainContent, Status, Withdrawn, claimed
from notifier.domain.notification import NotificationCancelled, NotificationRequest, Recipient
from notifier.domain.planning import BYTES_PER_MAIL, Plan, RequestState


def request(*addresses: str, **changes: Any) -> NotificationRequest:
    fields: dict[str, Any] = {
        "id": "r1",
        "source": "/tickets",
        "recipients": tuple(map(Recipient, addresses or ("asha@example.com",))),
        "subject": "Your ticket",
        "text": "It is ready.",
    }
    return NotificationRequest(**{**fields, **changes})


def withdrawal(**changes: Any) -> NotificationCancelled:
    return NotificationCancelled(**{"id": "c1", "source": "/tickets", "request": "r1", **changes})


def plan(message: NotificationRequest | NotificationCancelled, *existing: Mail, withdrawn: bool = False) -> Plan:
    return message.plan(RequestState(withdrawn=True) if withdrawn else None, existing, RULES, NOW)


def statuses(mails: Sequence[Mail]) -> list[Status]:
    return [mail.status for mail in mails]


def test_a_request_makes_one_mail_for_each_address() -> None:
    """Each recipient gets a mail of its own with the publisher's text."""
    message = request("a@example.com", "b@example.com", html="<p>Ready</p>", correlation="k", traceparent=TRACE)
    found = plan(message)
    assert [mail.to for mail in found.added] == ["a@example.com", "b@example.com"]
    mail = found.added[0]
    assert (mail.kind, mail.status, mail.subject) == (Kind.NOTIFICATION, Status.PENDING, "Your ticket")
    assert (mail.content, mail.event, mail.correlation) == (PlainContent("It is ready.", "<p>Ready</p>"), "r1", "k")
    assert (mail.aggregate, mail.traceparent) == (message.aggregate, TRACE)
    assert mail.message_id == f"<{mail.id}@mail.example.com>"
    assert (found.changed, found.state) == ((), None)


def test_a_request_without_a_time_is_due_at_once() -> None:
    """Without `send_at` the mail is sent at once, and it does not expire."""
    (mail,) = plan(request()).added
    assert (mail.created_at, mail.send_at, mail.expires_at) == (NOW, NOW, None)


def test_a_request_waits_for_its_time() -> None:
    """`send_at` and `expires_at` are the mail's."""
    later, end = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    (mail,) = plan(request(send_at=later, expires_at=end)).added
    assert (mail.send_at, mail.expires_at) == (later, end)


def test_an_address_named_twice_gets_one_mail() -> None:
    """Letter case makes no other mailbox."""
    assert len(plan(request("a@example.com", "A@Example.com")).added) == 1


def test_a_bad_address_is_reported_and_the_others_get_theirs() -> None:
    """An invalid address has a failed mail whose error says why."""
    recipients = (Recipient("nobody", "it has no @"), Recipient("a@example.com"))
    bad, good = plan(request(recipients=recipients)).added
    assert (bad.status, bad.error) == (Status.FAILED, "'nobody' is not a valid address: it has no @")
    assert (good.status, good.to) == (Status.PENDING, "a@example.com")


def test_a_repeated_request_plans_nothing() -> None:
    """If the same request arrives again, its mails exist, whatever their status."""
    first = plan(request("a@example.com", "b@example.com")).added
    assert plan(request("A@example.com", "b@example.com"), claimed(first[0], NOW), first[1]) == Plan()


def test_a_request_adds_no_mail_that_is_stored() -> None:
    """A finished mail need not be among the existing ones; its id is enough."""
    message = request("a@example.com", "b@example.com")
    first, second = plan(message).added
    assert message.plan(None, (), RULES, NOW, stored={first.id}) == Plan(added=(second,))


def test_the_same_id_of_another_source_is_another_request() -> None:
    """A request is identified by id and source together."""
    one, other = request(), request(source="/other")
    assert one.aggregate != other.aggregate
    assert plan(one).added[0].id != plan(other).added[0].id


def test_no_source_can_name_a_request_of_another_one() -> None:
    """A space in a source or an id does not make it the aggregate of another request."""
    assert request(source="a b", id="c").aggregate != request(source="a", id="b c").aggregate
    assert request(source="a%20b", id="c").aggregate != request(source="a b", id="c").aggregate


@pytest.mark.parametrize(
    ("source", "id_", "aggregate"),
    [
        ("/tickets", "r1", "request:/tickets r1"),
        ("/my tickets", "r 1", "request:/my%20tickets r 1"),
        ("/100%", "50%", "request:/100%25 50%"),
    ],
)
def test_a_withdrawal_finds_a_request_that_an_earlier_version_stored(source: str, id_: str, aggregate: str) -> None:
    """The name of an aggregate is stored, so it must never change."""
    assert request(source=source, id=id_).aggregate == aggregate
    assert withdrawal(source=source, request=id_).aggregate == aggregate


def test_no_two_mails_have_the_same_id() -> None:
    """Another source, request, address or time of arrival results in another id."""
    requests = [request(), request(source="/other"), request(id="r2"), request("ravi@example.com")]
    mails = [
        mail
        for message in requests
        for now in (NOW, NOW + timedelta(microseconds=1))
        for mail in message.plan(None, (), RULES, now).added
    ]
    assert len({mail.id for mail in mails}) == len(mails) == 8


def test_a_withdrawal_cancels_what_is_unsent() -> None:
    """A mail that waits is cancelled; one that is being handed over is cancelled if it becomes pending again."""
    first = plan(request("a@example.com", "b@example.com")).added
    found = plan(withdrawal(), first[0], claimed(first[1], NOW))
    assert [mail.to for mail in found.changed] == ["a@example.com"]
    assert found.amended == ((first[1].id, Withdrawn("the request was withdrawn")),)
    assert (statuses(found.changed), found.changed[0].error) == ([Status.CANCELLED], "the request was withdrawn")
    assert (found.state, found.forget_at) == (RequestState(withdrawn=True), NOW + RULES.remember)


def test_a_withdrawal_belongs_to_its_request() -> None:
    """A withdrawal has the aggregate of the request with the same source and id, and of no other."""
    assert withdrawal().aggregate == request().aggregate
    assert withdrawal(source="/other").aggregate != request().aggregate
    assert withdrawal(request="r2").aggregate != request().aggregate


def test_a_request_that_was_withdrawn_before_it_came_mails_nothing() -> None:
    """The mails of the late request are stored and cancelled."""
    found = plan(request("a@example.com", "b@example.com"), withdrawn=True)
    assert statuses(found.added) == [Status.PENDING] * 2
    assert statuses(found.changed) == [Status.CANCELLED] * 2
    assert {mail.error for mail in found.changed} == {"the request was withdrawn"}
    assert [(mail.id, mail.rev) for mail in found.changed] == [(mail.id, mail.rev + 1) for mail in found.added]


def test_a_bad_address_of_a_withdrawn_request_stays_failed() -> None:
    """A mail that has failed already is not cancelled."""
    recipients = (Recipient("nobody", "it has no @"), Recipient("a@example.com"))
    found = plan(request(recipients=recipients), withdrawn=True)
    assert [mail.to for mail in found.changed] == ["a@example.com"]
    assert found.amended == ((found.added[0].id, Withdrawn("the request was withdrawn")),)


def test_a_message_estimates_the_mails_that_it_writes() -> None:
    """It is one for each recipient; a withdrawal, which names none, counts as several."""
    assert request(*(f"p{n}@example.com" for n in range(100))).rows == 100
    assert withdrawal().rows > 1


@pytest.mark.parametrize(
    ("text", "html", "rows"),
    [
        (0, None, 2),
        (BYTES_PER_MAIL - 1, None, 2),
        (BYTES_PER_MAIL, None, 4),
        (BYTES_PER_MAIL - 1, 1, 4),
        (1, 2 * BYTES_PER_MAIL, 6),
    ],
)
def test_a_large_content_counts_as_more_mails(text: int, html: int | None, rows: int) -> None:
    """Text and HTML are added up, and each recipient's mail has the whole content."""
    message = request("a@example.com", "b@example.com", text="x" * text, html=None if html is None else "y" * html)
    assert message.rows == rows


def test_the_size_of_a_content_is_that_of_its_bytes() -> None:
    """A character outside ASCII counts as several."""
    assert request(text="é" * (BYTES_PER_MAIL // 2)).rows == 2


@pytest.mark.parametrize("message", [request(), withdrawal()])
def test_a_request_and_its_withdrawal_concern_the_mails_that_exist(
    message: NotificationRequest | NotificationCancelled,
) -> None:
    """Planning needs the stored mails, whether or not the state of the request is known, and no rendered subject."""
    assert message.concerns_mails(None)
    assert message.concerns_mails(RequestState(withdrawn=False))
    assert not list(message.subjects())
