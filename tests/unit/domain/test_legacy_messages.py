"""The two shapes of older publishers."""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.incoming import ORIGIN, legacy_mail, names, refusal
from support.samples import NOW, TRACE

from notifier.domain.legacy_messages import ADDRESS_FIELDS, TEXT_FIELDS, LegacyMail
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
    found = read_request(legacy_mail(notificationTime=given_time)).send_at
    assert found == datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
    assert found.tzinfo is UTC


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's clock to another time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "IST-5:30")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_a_time_without_an_offset_is_utc_on_every_machine() -> None:
    """It does not depend on the time zone of the service."""
    found = read_request(legacy_mail(notificationTime="2026-11-25T10:00:00")).send_at
    assert found == datetime(2026, 11, 25, 10, 0, tzinfo=UTC)


def test_the_names_of_a_field_are_those_of_the_shape() -> None:
    """The documentation lists them in the order in which they count."""
    assert ADDRESS_FIELDS == ("recepientEmail", "recipientEmail")
    assert TEXT_FIELDS == ("text", "content", "message")
    assert {*ADDRESS_FIELDS, *TEXT_FIELDS, "subject", "notificationTime"} == set(LegacyMail.__struct_encode_fields__)


def test_a_message_id_that_is_too_long_is_refused_as_such() -> None:
    """It would not fit into the correlation id of the results."""
    body = json.dumps(legacy_mail()).encode()
    reason = ("invalid", "message_id: longer than 200 bytes")
    assert refusal(body, Origin(NOW, message_id="x" * 201)) == reason


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
        (10**11, datetime(5138, 11, 16, 9, 46, 40, tzinfo=UTC)),
        (10**11 + 1000, datetime(1973, 3, 3, 9, 46, 41, tzinfo=UTC)),
        (253370764799000, datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_number_above_a_hundred_thousand_million_is_milliseconds(number: int, at: datetime) -> None:
    """Up to there it is seconds; no mail is meant for the year 5138."""
    assert read_request(legacy_mail(notificationTime=number)).send_at == at


@pytest.mark.parametrize("number", [253370764800000, 10**18, -(10**12)])
def test_a_number_that_is_no_time_is_shown_shortened(number: int) -> None:
    """The detail has at most 20 of its characters, and the last year that a time can have."""
    code, detail = refusal(json.dumps(legacy_mail(notificationTime=number * 10**9)).encode())
    shown = str(number * 10**9)[:20]
    assert (code, detail) == ("invalid", f"notificationTime: {shown} is not a time up to the year 9998")


def test_the_first_name_of_a_field_that_is_not_empty_counts() -> None:
    """Publishers fill some or all of the names of the address and of the text."""
    everything = {"recepientEmail": "a@example.com", "recipientEmail": "b@example.com", "subject": "Ticket"}
    everything |= {"text": "one", "content": "two", "message": "three"}
    for empty, address, text in (
        ([], "a@example.com", "one"),
        (["recepientEmail", "text"], "b@example.com", "two"),
        (["text", "content"], "a@example.com", "three"),
    ):
        found = read_request({**everything, **dict.fromkeys(empty, "")})
        assert (found.recipients, found.text) == ((Recipient(address),), text)


@pytest.mark.parametrize("service", [None, "CREATE_TICKET"])
def test_the_properties_of_an_older_message_are_kept(service: str | None) -> None:
    """Its events carry on the correlation id and the trace; it expires never and has no HTML."""
    data = legacy_mail(subject="Your  ticket", text="a\r\nb")
    found = read_request(
        {"service": service, "data": data} if service else data,
        Origin(NOW, message_id="m-1", correlation_id="c-1", traceparent=TRACE),
    )
    assert found == NotificationRequest(
        id="m-1",
        source="/",
        correlation="c-1",
        traceparent=TRACE,
        recipients=(Recipient("asha@example.com"),),
        subject="Your ticket",
        text="a\nb",
    )


@pytest.mark.parametrize("service", ["OTHER", "x" * 201, None, 5, ["CREATE_TICKET"]])
def test_an_unknown_service_is_refused_with_the_known_ones(service: Any) -> None:
    """The detail has at most 200 characters of what was given."""
    code, detail = refusal(json.dumps({"service": service, "data": legacy_mail()}).encode())
    shown = repr(str(service)[:200])
    assert (code, detail) == (
        "unknown_type",
        f"service: {shown} is unknown; it must be CREATE_TICKET or SEND_BASIC_MAIL",
    )


@pytest.mark.parametrize("data", [None, [], "x"])
def test_an_envelope_without_a_mail_is_refused(data: Any) -> None:
    """Its `data` must be an object."""
    assert refusal(json.dumps({"service": "SEND_BASIC_MAIL", "data": data}).encode()) == (
        "invalid",
        "data: must be an object",
    )


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"recepientEmail": None}, "recepientEmail: missing"),
        ({"text": ""}, "text: missing"),
        ({"subject": "a\tb"}, "subject: contains a control character or a line break"),
        ({"text": "a\x00"}, "text: contains a control character other than a tab or a line end"),
        ({"content": 5}, "content: must be a text without control characters except tabs and line ends"),
        ({"notificationTime": "soon"}, "notificationTime: 'soon' is not a time such as 2026-12-01T09:30:00+05:30"),
    ],
)
def test_each_fault_of_an_enveloped_mail_has_its_path(changes: dict[str, Any], detail: str) -> None:
    """The field is in `data`, whichever check has found the fault."""
    mail = legacy_mail(**changes)
    assert refusal(json.dumps({"service": "CREATE_TICKET", "data": mail}).encode()) == ("invalid", f"data.{detail}")
    if "recepientEmail" not in changes:
        assert refusal(json.dumps(mail).encode()) == ("invalid", detail)


def test_an_older_message_without_an_id_is_identified_by_body_and_time() -> None:
    """The same body with the same timestamp has the same id; another timestamp makes another id."""
    body = json.dumps(legacy_mail()).encode()
    stamped = [Origin(NOW, timestamp=NOW + timedelta(seconds=n)) for n in (0, 0, 1)]
    first, again, later = [decode(body, origin).id for origin in stamped]
    assert first == again == hashlib.sha256(body + NOW.isoformat().encode()).hexdigest()
    assert later != first
    plain = hashlib.sha256(body).hexdigest()
    assert decode(body, ORIGIN).id == decode(body, Origin(NOW + timedelta(days=1))).id == plain != first
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
