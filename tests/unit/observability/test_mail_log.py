"""The log's line of each change of a mail."""

from datetime import timedelta
from typing import Any

from support.samples import NOW, TRACE, mail

from notifier.domain.events import StoredEvent, encode_event, event_id, event_type
from notifier.domain.mail import Kind, Mail, Reply, RetryPolicy, Status, claimed, failed, refused, sent
from notifier.observability import mail_log

POLICY = RetryPolicy((timedelta(seconds=10),), timedelta(days=2))


def told(prev: Status | None, after: Mail, lines: list[Any]) -> dict[str, Any]:
    """Log one change and give its line."""
    type_ = event_type(prev, after)
    body = encode_event(type_, prev, after, NOW)
    ids = (event_id(after), after.id, prev, after.status, after.kind, after.booking)
    mail_log.tell([StoredEvent(1, body, type_, *ids, NOW, after.event, after.correlation, after.traceparent)])
    line: dict[str, Any] = lines.pop()
    assert not lines
    return line


def test_a_line_names_mail_message_and_booking(logged_lines: list[Any]) -> None:
    """And the trace, and whom it goes to, masked; what does not exist is not there."""
    assert told(None, mail(), logged_lines) == {
        "event": "mail.pending",
        "log_level": "info",
        "mail": mail().id,
        "message": "r1",
        "kind": "notification",
        "to": "a•••@example.com",
    }
    reminder = told(None, mail(booking="RXJ34P", kind=Kind.REMINDER, traceparent=TRACE), logged_lines)
    assert (reminder["booking"], reminder["traceparent"]) == ("RXJ34P", TRACE)


def test_an_attempt_is_told_with_the_servers_answer(logged_lines: list[Any]) -> None:
    """The code of an acceptance, the words of a refusal without the address; what failed for good is a warning."""
    begun = claimed(mail(), NOW)
    assert told(Status.PENDING, begun, logged_lines)["attempt"] == 1
    accepted = told(Status.SENDING, sent(begun, Reply(250, "OK"), NOW), logged_lines)
    assert (accepted["event"], accepted["code"], "reply" in accepted) == ("mail.sent", 250, False)
    later = told(Status.SENDING, refused(begun, Reply(450, "wait"), None, POLICY, NOW), logged_lines)
    assert (later["event"], later["log_level"], later["reply"]) == ("mail.retrying", "info", "wait")
    never = told(Status.SENDING, failed(begun, Reply(550, "no asha@example.com here"), None), logged_lines)
    assert (never["event"], never["log_level"], never["reply"]) == (
        "mail.failed",
        "warning",
        "no a•••@example.com here",
    )
    broken = told(Status.SENDING, failed(begun, None, "given up"), logged_lines)
    assert (broken["error"], "code" in broken) == ("given up", False)
