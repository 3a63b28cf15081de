"""The two shapes of older publishers."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.incoming import ORIGIN, legacy_mail, names, refusal
from support.samples import NOW

from notifier.domain.messages import Origin, decode
from notifier.domain.notification import NotificationRequest, Recipient


def read_request(event: Any, origin: Origin = ORIGIN) -> NotificationRequest:
    message = decode(json.dumps(event).encode(), origin)
    assert isinstance(message, NotificationRequest)
    return message


@pytest.mark.parametrize("address", ["recepientEmail", "recipientEmail"])
@pytest.mark.parametrize("text", ["text", "content", "message"])
@pytest.mark.parametrize("service", [None, "CREATE_TICKET", "SEND_BASIC_MAIL"])
def test_the_older_shapes_are_read_with_all_aliases(address: str, text: str, service: str | None) -> None:
    """Either spelling of the address and any name of the text are read, with and without an envelope."""
    data = {address: "asha@example.com", "subject": "Ticket", text: "Ready"}
    found = read_request({"service": service, "data": data} if service else data, Origin(NOW, message_id="m-1"))
    assert (found.id, found.source, found.recipients) == ("m-1", "/", (Recipient("asha@example.com"),))
    assert (found.subject, found.text, found.send_at) == ("Ticket", "Ready", None)


@pytest.mark.parametrize(
    "given_time",
    ["2026-11-25T10:00:00Z", "2026-11-25T15:30:00+05:30", "2026-11-25T10:00:00", 1795600800, 1795600800000],
)
def test_an_older_publisher_s_time_is_read_in_every_form(given_time: str | int) -> None:
    """A time with or without offset, seconds and milliseconds since 1970 are read as the same moment."""
    assert read_request(legacy_mail(notificationTime=given_time)).send_at == datetime(2026, 11, 25, 10, 0, tzinfo=UTC)


def test_an_older_message_without_an_id_is_identified_by_body_and_time() -> None:
    """The same body with the same timestamp has the same id; another timestamp makes another id."""
    body = json.dumps(legacy_mail()).encode()
    stamped = [Origin(NOW, timestamp=NOW + timedelta(seconds=n)) for n in (0, 0, 1)]
    first, again, later = [decode(body, origin).id for origin in stamped]
    assert first == again == hashlib.sha256(body + NOW.isoformat().encode()).hexdigest()
    assert later != first
    assert decode(body, ORIGIN).id == decode(body, Origin(NOW + timedelta(days=1))).id != first
    assert decode(body + b" ", ORIGIN).id != decode(body, ORIGIN).id


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"recepientEmail": ""}, "recepientEmail"),
    ({"recepientEmail": "nobody"}, "recepientEmail"),
    ({"recepientEmail": ["a@example.com"]}, "recepientEmail"),
    ({"text": None}, "text"),
    ({"text": "a\x00"}, "text"),
    ({"subject": None}, "subject"),
    ({"subject": "x" * 201}, "subject"),
    ({"notificationTime": "soon"}, "notificationTime"),
    ({"notificationTime": 10**18}, "notificationTime"),
    ({"notificationTime": 253402300799000}, "notificationTime"),
    ({"notificationTime": -(10**18)}, "notificationTime"),
    ({"notificationTime": 1.5}, "notificationTime"),
]


@pytest.mark.parametrize(("changes", "says"), FAULTS)
@pytest.mark.parametrize("service", [None, "CREATE_TICKET"])
def test_an_older_message_with_a_fault_is_refused_and_the_field_named(
    changes: dict[str, Any], says: str, service: str | None
) -> None:
    """Each fault of an older mail is refused with a detail that names the field."""
    data = legacy_mail(**changes)
    code, detail = refusal(json.dumps({"service": service, "data": data} if service else data).encode())
    assert code == "invalid"
    assert names(detail, says)


def test_a_field_of_an_enveloped_mail_is_named_with_its_path() -> None:
    """The detail says where the field is: in `data` if the mail is in an envelope."""
    mail = legacy_mail(text=None)
    assert refusal(json.dumps(mail).encode())[1] == "text: missing"
    assert refusal(json.dumps({"service": "CREATE_TICKET", "data": mail}).encode())[1] == "data.text: missing"
