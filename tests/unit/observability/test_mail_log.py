"""The log line for each change of a mail."""

from datetime import timedelta
from typing import Any

from support.samples import NOW, TRACE, mail

from notifier.domain.events import StoredEvent, encode_event, event_id, event_type
from notifier.domain.mail import Kind, Mail, Reply, RetryPolicy, Status, claimed, failed, refused, sent
from notifier.observability import mail_log

POLICY = RetryPolicy((timedelta(seconds=10),), timedelta(days=2))


def logged(prev: Status | None, after: Mail, lines: list[Any]) -> dict[str, Any]:
    """Log one change and return its line."""
    type_ = event_type(prev, after)
    body = encode_event(type_, prev, after, NOW)
    ids = (event_id(after), after.id, prev, after.status, after.kind, after.booking)
    mail_log.log_changes([StoredEvent(1, body, type_, *ids, NOW, after.event, after.correlation, after.traceparent)])
    line: dict[str, Any] = lines.pop()
    assert not lines
    return line


def test_a_line_names_mail_message_and_booking(logged_lines: list[Any]) -> None:
    """It also has the trace and the masked recipient; a field without a value is left out."""
    assert logged(None, mail(), logged_lines) == {
        "event": "mail.pending",
        "log_level": "info",
        "mail": mail().id,
        "message": "r1",
        "kind": "notification",
        "to": "a•••@example.com",
    }
    reminder = logged(None, mail(booking="RXJ34P", kind=Kind.REMINDER, traceparent=TRACE), logged_lines)
    assert (reminder["booking"], reminder["traceparent"]) == ("RXJ34P", TRACE)


def test_the_line_of_an_attempt_has_the_reply(logged_lines: list[Any]) -> None:
    """It has the code of an acceptance and the masked text of a rejection; a failed mail is a warning."""
    begun = claimed(mail(), NOW)
    assert logged(Status.PENDING, begun, logged_lines)["attempt"] == 1
    accepted = logged(Status.SENDING, sent(begun, Reply(250, "OK"), NOW), logged_lines)
    assert (accepted["event"], accepted["code"], "reply" in accepted) == ("mail.sent", 250, False)
    later = logged(Status.SENDING, refused(begun, Reply(450, "wait"), None, POLICY, NOW), logged_lines)
    assert (later["event"], later["log_level"], later["reply"]) == ("mail.retrying", "info", "wait")
    never = logged(Status.SENDING, failed(begun, Reply(550, "no asha@example.com here"), None), logged_lines)
    assert (never["event"], never["log_level"], never["reply"]) == (
        "mail.failed",
        "warning",
        "no a•••@example.com here",
    )
    broken = logged(Status.SENDING, failed(begun, None, "given up"), logged_lines)
    assert (broken["error"], "code" in broken) == ("given up", False)
