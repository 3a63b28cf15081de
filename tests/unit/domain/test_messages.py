"""Decoding of messages: what is read, and what is refused with which code and detail."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.incoming import ORIGIN, legacy_mail, names, refusal
from support.samples import NOW, TRACE, booking_event, flight_data, in_delhi

from notifier.domain.booking import BookingMessage, Change, Passenger
from notifier.domain.mail import Flight, Price
from notifier.domain.messages import MAX_BYTES, Message, Origin, decode
from notifier.domain.notification import NotificationCancelled, NotificationRequest, Recipient
from notifier.errors import Refused


def read(event: Any, origin: Origin = ORIGIN) -> Message:
    return decode(json.dumps(event).encode(), origin)


def read_booking(event: Any, origin: Origin = ORIGIN) -> BookingMessage:
    message = read(event, origin)
    assert isinstance(message, BookingMessage)
    return message


def read_request(event: Any, origin: Origin = ORIGIN) -> NotificationRequest:
    message = read(event, origin)
    assert isinstance(message, NotificationRequest)
    return message


def request_event(**changes: Any) -> dict[str, Any]:
    data = {"to": "asha@example.com", "subject": "Ticket", "text": "Ready", **changes}
    return {"id": "r1", "source": "/tickets", "type": "notification.requested", "data": data}


def passenger(**changes: Any) -> dict[str, Any]:
    return {"name": "Asha Rao", "email": "asha@example.com", **changes}


def test_the_contract_s_example_is_read() -> None:
    """Every field of a confirmed booking in structured CloudEvents form is read."""
    assert read(booking_event()) == BookingMessage(
        id="7f0c",
        source="/booking-service",
        change=Change.CONFIRMED,
        booking="RXJ34P",
        version=1,
        time=NOW,
        passengers=(Passenger("Asha Rao", "asha@example.com", "en"),),
        flights=(
            Flight(
                number="AI101",
                origin="DEL",
                destination="BLR",
                departs=in_delhi(datetime(2026, 12, 1, 4, 0, tzinfo=UTC)),
                arrives=in_delhi(datetime(2026, 12, 1, 6, 50, tzinfo=UTC)),
                seat="12A",
                gate="4",
            ),
        ),
        price=Price("5400.00", "INR"),
    )


@pytest.mark.parametrize("change", Change)
def test_each_kind_of_booking_message_is_read(change: Change) -> None:
    """The type of the event distinguishes confirmed, changed and cancelled bookings."""
    assert read_booking(booking_event(type=str(change))).change is change


def test_optional_fields_may_be_missing() -> None:
    """Specversion, source, time, version, price, arrival, seat and gate are optional; unknown fields are ignored."""
    event = booking_event(specversion=None, source=None, time=None, version=None, price=None, colour="red")
    event["data"]["flights"] = [{"number": "AI101", "from": "DEL", "to": "BLR", "departs_at": "2026-12-01T09:30"}]
    message = read_booking(event)
    assert (message.source, message.version, message.price, message.time) == ("/", None, None, NOW)
    assert (message.flights[0].arrives, message.flights[0].seat, message.flights[0].gate) == (None, None, None)


def test_a_cancellation_needs_no_flights() -> None:
    """The booking's reference is enough to cancel it."""
    message = read_booking(booking_event(type="booking.cancelled", flights=None, passengers=None, price=None))
    assert (message.flights, message.passengers) == ((), ())


def test_a_cancellation_needs_no_usable_address() -> None:
    """A cancellation is accepted although its passengers, which are optional, have invalid addresses."""
    unusable = [passenger(email=""), passenger(email="nobody")]
    message = read_booking(booking_event(type="booking.cancelled", flights=None, passengers=unusable))
    assert all(each.fault for each in message.passengers)


def test_a_message_without_a_time_has_its_publisher_s_or_its_arrival_s() -> None:
    """`time` comes first, then the AMQP timestamp, then the time of arrival."""
    sent_at = NOW - timedelta(minutes=1)
    stamped = Origin(NOW, timestamp=sent_at)
    assert read_booking(booking_event(time="2026-11-24T15:00:00+05:30"), stamped).time == NOW - timedelta(minutes=30)
    assert read_booking(booking_event(time=None), stamped).time == sent_at
    assert read_booking(booking_event(time=None)).time == NOW


@pytest.mark.parametrize("id_", [None, ""])
def test_the_id_falls_back_to_the_amqp_message_id(id_: str | None) -> None:
    """An event without an id is identified by its delivery's message_id."""
    event = booking_event()
    event["id"] = id_
    assert read_booking(event, Origin(NOW, message_id="m-1")).id == "m-1"
    assert read_booking(booking_event(id=None), Origin(NOW, message_id="m-1")).id == "m-1"
    assert read_booking(booking_event(), Origin(NOW, message_id="m-1")).id == "7f0c"


@pytest.mark.parametrize("event", [booking_event(), request_event(), legacy_mail()])
def test_the_correlation_id_is_kept(event: dict[str, Any]) -> None:
    """The correlation id of the delivery is kept for the results."""
    message = read(event, Origin(NOW, message_id="m", correlation_id="c-9"))
    assert message.correlation == "c-9"


WITHDRAWAL = {"type": "notification.cancelled", "id": "w1", "data": {"id": "r1"}}


@pytest.mark.parametrize("event", [booking_event(), request_event(), WITHDRAWAL, legacy_mail()])
def test_the_trace_is_kept(event: dict[str, Any]) -> None:
    """The trace context of the headers is kept for messages of every shape."""
    assert read(event, Origin(NOW, message_id="m", traceparent=TRACE)).traceparent == TRACE
    assert read(event, Origin(NOW, message_id="m")).traceparent is None


@pytest.mark.parametrize("given", [None, "", "00-0-0-00", TRACE.upper(), 7, {"a": 1}, "x" * 100_000])
def test_a_wrong_trace_is_ignored(given: Any) -> None:
    """An invalid trace context is replaced by that of the headers and never refuses a message."""
    event = {**booking_event(), "traceparent": given}
    assert read(event).traceparent is None
    assert read(event, Origin(NOW, traceparent=TRACE)).traceparent == TRACE


def test_the_events_own_trace_comes_before_the_headers() -> None:
    """The attribute names the trace in which the event arose; the header can be that of a hop on its way."""
    other = TRACE.replace("4bf9", "aaaa")
    assert read({**booking_event(), "traceparent": other}, Origin(NOW, traceparent=TRACE)).traceparent == other


def test_an_unknown_airport_never_loses_a_booking() -> None:
    """Without offset and zone the departure is shown as given, and the note names airport and flight."""
    flights = [flight_data(), flight_data(number="XX1", from_="ZZZ9", departs_at="2026-12-01T09:30")]
    message = read_booking(booking_event(flights=flights))
    assert message.flights[1].departs_at is None
    assert f"{message.flights[1].departs.clock:%d %b, %H:%M}" == "01 Dec, 09:30"
    assert message.note == "no time zone is known for 'ZZZ9': no reminder for XX1"


def test_an_arrival_before_the_departure_is_left_out() -> None:
    """The rest of the booking is accepted, and the note says what was wrong; several notes are joined."""
    back = flight_data(arrives_at="2026-12-01T09:29:59+05:30")
    message = read_booking(booking_event(flights=[back, flight_data(number="AI2"), flight_data(from_="ZZZ9")]))
    assert [each.arrives is None for each in message.flights] == [True, False, False]
    assert message.note == "AI101 would arrive before it departs: its arrival is left out"
    lost = flight_data(number="XX1", from_="ZZZ9", departs_at="2026-12-01T09:30")
    assert "departs: its arrival is left out; no time zone" in str(
        read_booking(booking_event(flights=[back, lost])).note
    )


def test_a_passenger_with_a_bad_address_does_not_stop_the_others() -> None:
    """An invalid address is a fault of that passenger only."""
    message = read_booking(booking_event(passengers=[passenger(email="nobody"), passenger()]))
    assert [bool(each.fault) for each in message.passengers] == [True, False]


@pytest.mark.parametrize(("amount", "text"), [("5400.00", "5400.00"), (5400, "5400"), (5400.5, "5400.5")])
def test_a_price_may_be_a_number(amount: Any, text: str) -> None:
    """An amount is kept as the text it is written with."""
    assert read_booking(booking_event(price={"amount": amount, "currency": "INR"})).price == Price(text, "INR")


def test_a_notification_is_read() -> None:
    """Recipients, texts and times (in UTC) of a request are read."""
    found = read_request(
        request_event(
            to=["a@example.com", "B@Example.com"],
            html="<p>Ready</p>",
            send_at="2026-11-25T10:00:00+05:30",
            expires_at="2026-11-25T10:00:00Z",
        )
    )
    assert found == NotificationRequest(
        id="r1",
        source="/tickets",
        recipients=(Recipient("a@example.com"), Recipient("B@example.com")),
        subject="Ticket",
        text="Ready",
        html="<p>Ready</p>",
        send_at=datetime(2026, 11, 25, 4, 30, tzinfo=UTC),
        expires_at=datetime(2026, 11, 25, 10, 0, tzinfo=UTC),
    )


def test_a_notification_to_one_address_is_read() -> None:
    """A single address needs no list; without times the request has none."""
    found = read_request(request_event())
    assert found.recipients == (Recipient("asha@example.com"),)
    assert (found.send_at, found.expires_at, found.html) == (None, None, None)


def test_a_withdrawal_is_read() -> None:
    """`notification.cancelled` names the request."""
    event = {"id": "c1", "source": "/tickets", "type": "notification.cancelled", "data": {"id": "r1"}}
    assert read(event) == NotificationCancelled(id="c1", source="/tickets", request="r1")


def test_line_ends_of_a_text_become_lf() -> None:
    """CRLF and a lone CR become LF, so that no lone CR can be sent."""
    found = read_request(request_event(text="a\r\nb\rc\n\r\r\n", html="x\ry"))
    assert (found.text, found.html) == ("a\nb\nc\n\n\n", "x\ny")


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"\xff", "not_utf8", "byte 0"),
        (b'{"type":"\xed\xa0\x80"}', "not_utf8", "byte 9"),
        (b"", "not_json", ""),
        (b"hello", "not_json", ""),
        (b'{"type":', "not_json", ""),
        (b"{}{}", "not_json", ""),
        (b'{"type":NaN}', "not_json", ""),
        (b'{"type":"\\ud800"}', "not_json", ""),
        (b'{"recepientEmail":"\\udc00@example.com"}', "not_json", ""),
        (b"[" * 100_000 + b"]" * 100_000, "not_json", "nested"),
        (b'{"type":' * 20_000 + b"1" + b"}" * 20_000, "not_json", "nested"),
        (b"[]", "invalid", "object"),
        (b"null", "invalid", "object"),
        (b'"text"', "invalid", "object"),
        (b"{}", "invalid", "type"),
        (b'{"data":{}}', "invalid", "type"),
        (b'{"type":5}', "unknown_type", "type"),
        (b'{"type":null}', "unknown_type", "type"),
        (b'{"type":"booking.deleted"}', "unknown_type", "booking.deleted"),
        (b'{"service":"OTHER","data":{}}', "unknown_type", "OTHER"),
        (b'{"service":{},"data":{}}', "unknown_type", "service"),
        (b'{"service":"CREATE_TICKET"}', "invalid", "data"),
        (b'{"service":"CREATE_TICKET","data":[]}', "invalid", "data"),
        (b" " * (MAX_BYTES + 1), "too_large", "262145"),
    ],
)
def test_an_invalid_body_is_refused(body: bytes, code: str, says: str) -> None:
    """An invalid body is refused with a code and a detail that says what is wrong."""
    found, detail = refusal(body)
    assert found == code
    assert names(detail, says)
    assert detail


def test_the_largest_body_is_still_read() -> None:
    """A body of exactly 256 KiB is accepted."""
    event = json.dumps(request_event()).encode()
    assert decode(event + b" " * (MAX_BYTES - len(event)), ORIGIN).id == "r1"


TYPES = "booking.cancelled, booking.changed, booking.confirmed, notification.cancelled, notification.requested"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "not_utf8: the body is not UTF-8: byte 0: invalid start byte"),
        (b"[" * 100_000, "not_json: the body is nested too deeply"),
        (b"[]", "invalid: the body must be a JSON object"),
        (b"{}", f"invalid: type: missing; it must be one of {TYPES}"),
        (b'{"type":7}', f"unknown_type: type: '7' is unknown; it must be one of {TYPES}"),
        (
            json.dumps({"type": "x" * 300}).encode(),
            f"unknown_type: type: '{'x' * 200}' is unknown; it must be one of {TYPES}",
        ),
        (
            json.dumps(booking_event(id=None)).encode(),
            "invalid: id: missing, and the AMQP property message_id is missing, too",
        ),
    ],
)
def test_the_detail_says_how_to_repair_a_message(body: bytes, reason: str) -> None:
    """It names what was found and what is possible, and shows no more than 200 characters of it."""
    assert ": ".join(refusal(body)) == reason


def test_a_body_of_which_only_the_beginning_was_kept_is_too_large() -> None:
    """The detail has its size on the broker."""
    code, detail = refusal(b'{"type":', Origin(NOW, size=300_000))
    assert (code, detail) == ("too_large", "the body has 300000 bytes; at most 262144 are allowed")
    body = json.dumps(request_event()).encode()
    assert decode(body, Origin(NOW, size=len(body))).id == "r1"


def test_the_type_decides_before_the_names_of_older_fields() -> None:
    """A CloudEvent may also have a service and an address, and an envelope an address."""
    everything = {"service": "CREATE_TICKET", "recepientEmail": "b@example.com"}
    assert read_request({**everything, **request_event()}).recipients == (Recipient("asha@example.com"),)
    assert read_request({**everything, "data": legacy_mail()}).recipients == (Recipient("asha@example.com"),)


@pytest.mark.parametrize("message", [legacy_mail(), {"service": "CREATE_TICKET", "data": legacy_mail()}])
def test_an_older_message_without_an_id_is_identified_by_its_whole_body(message: dict[str, Any]) -> None:
    """Also by what is around the mail, so that a repeat is recognised and another message is not taken for it."""
    body = json.dumps(message).encode()
    assert decode(body, ORIGIN).id == hashlib.sha256(body).hexdigest()


def test_an_empty_optional_field_counts_as_missing() -> None:
    """Publishers write an empty text for what they do not know."""
    flight = flight_data(seat="", gate="", arrives_at="")
    booking = read_booking(booking_event(passengers=[passenger(locale="")], flights=[flight], time=""))
    assert (booking.passengers[0].locale, booking.time) == (None, NOW)
    assert (booking.flights[0].seat, booking.flights[0].gate, booking.flights[0].arrives) == (None, None, None)
    request = read_request(request_event(html="", send_at="", expires_at=""))
    assert (request.html, request.send_at, request.expires_at) == (None, None, None)


def test_texts_for_people_have_single_spaces_and_references_stay() -> None:
    """A name and a subject are written into headers; a reference or a number is compared."""
    booking = read_booking(
        booking_event(
            booking="R  1", passengers=[passenger(name=" Asha  Rao ")], flights=[flight_data(number="AI  101")]
        )
    )
    assert (booking.booking, booking.passengers[0].name, booking.flights[0].number) == ("R  1", "Asha Rao", "AI  101")
    assert read_request(request_event(subject=" Your  ticket ")).subject == "Your ticket"


@pytest.mark.parametrize("arrives_at", ["2026-12-01T09:30:00+05:30", "2026-12-01T04:00:00Z"])
def test_an_arrival_at_the_time_of_departure_is_left_out(arrives_at: str) -> None:
    """A flight takes longer than nothing; a second later is an arrival."""
    assert read_booking(booking_event(flights=[flight_data(arrives_at=arrives_at)])).flights[0].arrives is None
    later = flight_data(arrives_at=arrives_at.replace(":00+", ":01+").replace(":00Z", ":01Z"))
    assert read_booking(booking_event(flights=[later])).flights[0].arrives


def test_a_withdrawal_keeps_what_its_events_carry_on() -> None:
    """Correlation id and trace."""
    origin = Origin(NOW, correlation_id="c-9", traceparent=TRACE)
    assert read(WITHDRAWAL, origin) == NotificationCancelled(
        id="w1", source="/", correlation="c-9", traceparent=TRACE, request="r1"
    )


LONG = "票" * 67
"""One byte more than an id may have, in far fewer characters."""


@pytest.mark.parametrize(
    ("message", "message_id", "says"),
    [
        (booking_event(id=LONG), "m", "id: longer than 200 bytes"),
        (booking_event(source=LONG), "m", "source: longer than 200 bytes"),
        (booking_event(id=None), LONG, "id: longer than 200 bytes"),
        ({"type": "notification.cancelled", "id": "c", "data": {"id": LONG}}, "m", "data.id: longer than 200 bytes"),
        ({"recepientEmail": "a@example.com", "subject": "s", "text": "t"}, LONG, "message_id: longer than 200 bytes"),
    ],
)
def test_ids_are_limited_in_bytes(message: dict[str, Any], message_id: str, says: str) -> None:
    """An id of 200 bytes is accepted, because it must fit into a correlation id of 255 bytes."""
    with pytest.raises(Refused, match=f"^invalid: {says}$"):
        read(message, Origin(NOW, message_id=message_id))
    text = json.dumps(message).replace(json.dumps(LONG), json.dumps(LONG[1:] + "ab"))
    assert decode(text.encode(), Origin(NOW, message_id=message_id.replace(LONG, LONG[1:] + "ab")))


EVENT_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"id": None}, "invalid", "id"),
    ({"id": 5}, "invalid", "id"),
    ({"id": "x" * 201}, "invalid", "id"),
    ({"id": "a\nb"}, "invalid", "id"),
    ({"source": ""}, "invalid", "source"),
    ({"source": "a\x00"}, "invalid", "source"),
    ({"specversion": "2.0"}, "invalid", "specversion"),
    ({"specversion": 1}, "invalid", "specversion"),
    ({"time": "yesterday"}, "invalid", "time"),
    ({"time": "2026-11-24T10:00:00"}, "invalid", "time"),
    ({"time": 5}, "invalid", "time"),
    ({"data": None}, "invalid", "data"),
    ({"data": "x"}, "invalid", "data"),
    ({"booking": None}, "invalid", "booking"),
    ({"booking": 5}, "invalid", "data.booking"),
    ({"booking": " "}, "invalid", "data.booking"),
    ({"booking": "R\u2028J"}, "invalid", "data.booking"),
    ({"booking": "R" * 201}, "invalid", "data.booking"),
    ({"version": -1}, "invalid", "data.version"),
    ({"version": "1"}, "invalid", "data.version"),
    ({"version": True}, "invalid", "data.version"),
    ({"version": 2**53 + 1}, "invalid", "data.version"),
    ({"version": 10**400}, "invalid", "data.version"),
    ({"passengers": None}, "invalid", "data.passengers"),
    ({"passengers": []}, "invalid", "data.passengers"),
    ({"passengers": {}}, "invalid", "data.passengers"),
    ({"passengers": [5]}, "invalid", "data.passengers[0]"),
    ({"passengers": [passenger()] * 101}, "too_large", "passengers: 101"),
    ({"passengers": [{"email": "a@example.com"}]}, "invalid", "name"),
    ({"passengers": [{"name": "Asha"}]}, "invalid", "email"),
    ({"passengers": [passenger(name="\t")]}, "invalid", "data.passengers[0].name"),
    ({"passengers": [passenger(), passenger(name="A\x1bB")]}, "invalid", "data.passengers[1].name"),
    ({"passengers": [passenger(name="A\x85B")]}, "invalid", "data.passengers[0].name"),
    ({"passengers": [passenger(name="A\r\nBcc: x@example.com")]}, "invalid", "data.passengers[0].name"),
    ({"passengers": [passenger(name="x" * 201)]}, "invalid", "data.passengers[0].name"),
    ({"passengers": [passenger(locale="e\nn")]}, "invalid", "data.passengers[0].locale"),
    ({"passengers": [passenger(email="nobody")]}, "invalid", "data.passengers[0].email"),
    ({"passengers": [passenger(email="a@b@c"), passenger(email="")]}, "invalid", "data.passengers[0].email"),
    ({"flights": None}, "invalid", "data.flights"),
    ({"flights": []}, "invalid", "data.flights"),
    ({"flights": [flight_data()] * 21}, "too_large", "flights: 21"),
    ({"flights": [{}]}, "invalid", "data.flights[0]"),
    ({"flights": [flight_data(number="")]}, "invalid", "data.flights[0].number"),
    ({"flights": [flight_data(from_="\x07")]}, "invalid", "data.flights[0].from"),
    ({"flights": [flight_data(to=" ")]}, "invalid", "data.flights[0].to"),
    ({"flights": [flight_data(), flight_data(departs_at="soon")]}, "invalid", "data.flights[1].departs_at"),
    ({"flights": [flight_data(departs_at=5)]}, "invalid", "data.flights[0].departs_at"),
    ({"flights": [flight_data(arrives_at="9999-12-31T23:59")]}, "invalid", "data.flights[0].arrives_at"),
    ({"flights": [flight_data(seat="1\n2")]}, "invalid", "data.flights[0].seat"),
    ({"flights": [flight_data(gate="\x7f")]}, "invalid", "data.flights[0].gate"),
    ({"price": 5}, "invalid", "data.price"),
    ({"price": {"amount": "1"}}, "invalid", "currency"),
    ({"price": {"amount": 10**300, "currency": "INR"}}, "invalid", "data.price.amount"),
    ({"price": {"amount": "1", "currency": "\n"}}, "invalid", "data.price.currency"),
    ({"price": {"amount": "\n", "currency": "INR"}}, "invalid", "data.price.amount"),
]


@pytest.mark.parametrize(("changes", "code", "says"), EVENT_FAULTS)
def test_a_booking_with_a_fault_is_refused_and_the_field_named(changes: dict[str, Any], code: str, says: str) -> None:
    """Each fault of a booking has its code, and its detail says which field it is in."""
    found, detail = refusal(json.dumps(booking_event(**changes)).encode())
    assert found == code
    assert names(detail, says)
    assert len(detail) < 500


@pytest.mark.parametrize("most", [{"passengers": [passenger()] * 100}, {"flights": [flight_data()] * 20}])
def test_the_largest_booking_is_still_read(most: dict[str, Any]) -> None:
    """A hundred passengers and twenty flights are accepted."""
    assert read_booking(booking_event(**most)).booking == "RXJ34P"


REQUEST_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"to": []}, "invalid", "data.to"),
    ({"to": ""}, "invalid", "data.to"),
    ({"to": 5}, "invalid", "data.to"),
    ({"to": [5]}, "invalid", "data.to"),
    ({"to": ["nobody", "no one"]}, "invalid", "data.to"),
    ({"to": ["a@example.com"] * 101}, "too_large", "to: 101"),
    ({"to": "x" * 200_000 + "@example.com"}, "invalid", "data.to"),
    ({"subject": ""}, "invalid", "data.subject"),
    ({"subject": "x" * 201}, "invalid", "data.subject"),
    ({"subject": "a\r\nBcc: x@example.com"}, "invalid", "data.subject"),
    ({"subject": 5}, "invalid", "data.subject"),
    ({"text": None}, "invalid", "data.text"),
    ({"text": "a\x00b"}, "invalid", "data.text"),
    ({"text": "a\x0cb"}, "invalid", "data.text"),
    ({"html": "<p>\x08"}, "invalid", "data.html"),
    ({"html": 5}, "invalid", "data.html"),
    ({"send_at": "2026-11-25T10:00:00"}, "invalid", "data.send_at"),
    ({"send_at": "soon"}, "invalid", "data.send_at"),
    ({"send_at": 5}, "invalid", "data.send_at"),
    ({"expires_at": "2026-11-25T10:00:00"}, "invalid", "data.expires_at"),
]


@pytest.mark.parametrize(("changes", "code", "says"), REQUEST_FAULTS)
def test_a_request_with_a_fault_is_refused_and_the_field_named(changes: dict[str, Any], code: str, says: str) -> None:
    """Each fault of a notification has its code, and its detail says which field it is in."""
    found, detail = refusal(json.dumps(request_event(**changes)).encode())
    assert found == code
    assert names(detail, says)
    assert len(detail) < 500


@pytest.mark.parametrize("data", [{}, {"id": 5}, {"id": ""}, {"id": "a\nb"}])
def test_a_withdrawal_of_nothing_is_refused(data: dict[str, Any]) -> None:
    """A withdrawal must name its request."""
    code, detail = refusal(json.dumps({"id": "c", "type": "notification.cancelled", "data": data}).encode())
    assert code == "invalid"
    assert detail.startswith("data.id: ")


@pytest.mark.parametrize("number", ["9" * 30, "9" * 400, "-" + "9" * 400, "9" * 5000, "1e400", "-1e400"])
@pytest.mark.parametrize(
    "write",
    [
        lambda number: f'{{"type":{number}}}',
        lambda number: f'{{"type":[{number}]}}',
        lambda number: f'{{"service":{number}}}',
        lambda number: f'{{"recepientEmail":"a@example.com","subject":"s","text":"t","notificationTime":{number}}}',
        lambda number: json.dumps(booking_event(version=0)).replace('"version": 0', f'"version": {number}'),
        lambda number: json.dumps(booking_event(price={"amount": 0, "currency": "INR"})).replace(
            '"amount": 0', f'"amount": {number}'
        ),
    ],
)
def test_a_huge_number_is_refused_like_any_other_fault(number: str, write: Callable[[str], str]) -> None:
    """A huge number is refused, or kept as the text of a price, and never causes another error."""
    returns_or_refuses(write(number).encode())


@pytest.mark.parametrize("depth", [10, 400, 900, 990, 1500, 30_000])
@pytest.mark.parametrize("around", ["{}", '{{"type":{}}}', '{{"type":"booking.confirmed","data":{{"x":{}}}}}'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_nesting_bomb_is_refused_at_any_depth(depth: int, around: str, opening: str, closing: str) -> None:
    """A deeply nested body is refused at any depth."""
    assert refusal(around.format(opening * depth + "1" + closing * depth).encode())[0] in (
        "not_json",
        "invalid",
        "unknown_type",
    )


def returns_or_refuses(body: bytes, origin: Origin = ORIGIN) -> None:
    try:
        message = decode(body, origin)
    except Refused as refused:
        assert refused.code in ("not_utf8", "not_json", "invalid", "unknown_type", "too_large")  # noqa: PT017 - both ends are allowed
        assert refused.detail  # noqa: PT017
        assert len(refused.detail) < 1000  # noqa: PT017
    else:
        assert message.id
        assert message.source


KEYS = st.sampled_from(
    (
        *("type", "id", "source", "time", "data", "service", "specversion", "booking", "version", "passengers"),
        *("flights", "price", "name", "email", "locale", "number", "from", "to", "departs_at", "amount", "currency"),
        *("subject", "text", "html", "send_at", "recepientEmail", "recipientEmail", "content", "notificationTime"),
    )
)
WORDS = st.sampled_from(
    (
        *("booking.confirmed", "booking.cancelled", "notification.requested", "notification.cancelled"),
        *("CREATE_TICKET", "a@example.com", "2026-12-01T09:30", "2026-12-01T09:30:00Z", "DEL", "1.0", "x"),
    )
)
JSON = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=8),
    max_leaves=30,
)
ORIGINS = st.builds(
    Origin, received_at=st.just(NOW), message_id=st.none() | st.text(), timestamp=st.none() | st.just(NOW)
)


@given(st.binary() | st.text().map(str.encode), ORIGINS)
def test_any_bytes_are_read_or_refused(body: bytes, origin: Origin) -> None:
    """Any bytes are either a message or refused with one of five codes."""
    returns_or_refuses(body, origin)


@given(JSON, ORIGINS)
def test_any_json_is_read_or_refused(found: Any, origin: Origin) -> None:
    """Any JSON in the known fields is either a message or refused."""
    returns_or_refuses(json.dumps(found).encode(), origin)


@given(
    st.sampled_from(
        [booking_event(), request_event(), legacy_mail(), {"service": "CREATE_TICKET", "data": legacy_mail()}]
    ),
    st.data(),
)
def test_a_good_message_with_any_one_field_replaced_is_read_or_refused(
    event: dict[str, Any], data: st.DataObject
) -> None:
    """Any value anywhere in a valid message has it read or refused, and never causes another error."""

    def wild(part: Any) -> Any:
        if isinstance(part, dict) and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(part)))
            return {**part, name: wild(part[name])}
        if isinstance(part, list) and data.draw(st.booleans()):
            return [wild(part[0]), *part[1:]]
        return data.draw(JSON)

    returns_or_refuses(json.dumps(wild(event)).encode())


@pytest.mark.parametrize(("to", "field"), [("nobody", "data.to"), (["nobody", "no one"], "data.to[0]")])
def test_an_invalid_address_of_a_request_is_named_with_its_place(to: Any, field: str) -> None:
    """In a list of which no address is valid, the detail names the first one."""
    assert refusal(json.dumps(request_event(to=to)).encode())[1].startswith(f"{field}: ")
