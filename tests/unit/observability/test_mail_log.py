"""The log line for each change of a mail."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.samples import NOW, TRACE, mail

from notifier.domain.events import StoredEvent, encode_event, event_id, event_type
from notifier.domain.mail import Kind, Mail, Reply, RetryPolicy, Status, claimed, failed, refused, sent
from notifier.observability.mail_log import MailLog
from notifier.settings import LogSettings

POLICY = RetryPolicy((timedelta(seconds=10),), timedelta(days=2))
Logged = Callable[..., dict[str, Any]]


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Logged:
    """Log one change and return its line, without its time."""

    def log(prev: Status | None, after: Mail, level: str = "INFO") -> dict[str, Any]:
        type_ = event_type(prev, after)
        body = encode_event(type_, prev, after, NOW)
        ids = (event_id(after), after.id, prev, after.status, after.kind, after.booking)
        event = StoredEvent(1, body, type_, *ids, NOW, after.event, after.correlation, after.traceparent)
        settings = {"NOTIFIER_LOG_FORMAT": "json", "NOTIFIER_LOG_LEVEL": level}
        MailLog(LogSettings.model_validate(settings)).observe([event])
        written = capsys.readouterr().err
        line: dict[str, Any] = json.loads(written or "{}")
        line.pop("timestamp", None)
        return line

    return log


def test_a_line_names_mail_message_and_booking(logged: Logged) -> None:
    """It also has the trace and the masked recipient; a field without a value is left out."""
    assert logged(None, mail()) == {
        "event": "mail.pending",
        "level": "info",
        "mail": mail().id,
        "message": "r1",
        "kind": "notification",
        "to": "a•••@example.com",
    }
    reminder = logged(None, mail(booking="RXJ34P", kind=Kind.REMINDER, traceparent=TRACE))
    assert (reminder["booking"], reminder["traceparent"]) == ("RXJ34P", TRACE)


def test_the_line_of_an_attempt_has_the_reply(logged: Logged) -> None:
    """It has the code of an acceptance and the masked text of a rejection; a failed mail is a warning."""
    begun = claimed(mail(), NOW)
    assert logged(Status.PENDING, begun)["attempt"] == 1
    accepted = logged(Status.SENDING, sent(begun, Reply(250, "OK"), NOW))
    assert (accepted["event"], accepted["code"], "reply" in accepted) == ("mail.sent", 250, False)
    later = logged(Status.SENDING, refused(begun, Reply(450, "wait"), None, POLICY, NOW))
    assert (later["event"], later["level"], later["reply"]) == ("mail.retrying", "info", "wait")
    never = logged(Status.SENDING, failed(begun, Reply(550, "no asha@example.com here"), None))
    assert (never["event"], never["level"], never["reply"]) == (
        "mail.failed",
        "warning",
        "no a•••@example.com here",
    )
    broken = logged(Status.SENDING, failed(begun, None, "given up"))
    assert (broken["error"], "code" in broken) == ("given up", False)


def test_addresses_in_the_ids_of_publishers_are_masked(logged: Logged) -> None:
    """A publisher may use an address as the id of its message, or as the reference of its booking."""
    line = logged(None, mail(event="for asha@example.com", booking="asha@example.com"))
    assert (line["message"], line["booking"]) == ("for a•••@example.com", "a•••@example.com")


def test_only_the_levels_that_are_asked_for_are_logged(logged: Logged) -> None:
    """At level WARNING the mails that failed are logged; at ERROR nothing is."""
    never = failed(claimed(mail(), NOW), Reply(550, "no"), None)
    assert [bool(logged(None, mail(), level)) for level in ("DEBUG", "INFO", "WARNING")] == [True, True, False]
    assert [bool(logged(Status.SENDING, never, level)) for level in ("WARNING", "ERROR")] == [True, False]
