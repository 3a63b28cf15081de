"""The AsyncAPI document: as the specification wants it, and as the service is."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from support.cli import run
from support.described import validator
from support.places import DOCS
from support.readings import STATS
from support.samples import NOW, booking_event, flight_data, mail

from notifier.asyncapi.document import document, written
from notifier.asyncapi.feed import CLIENT, SERVER, schemas
from notifier.domain.events import encode_event
from notifier.domain.messages import Origin, decode
from notifier.errors import Refused
from notifier.feed.commands import commands
from notifier.feed.protocol import (
    COMMANDS,
    ByeFrame,
    CloseCode,
    CommandFrame,
    EventsFrame,
    Failure,
    FilterFrame,
    HelloFrame,
    PublicEvent,
    ResultFrame,
    ServerFrame,
    SnapshotFrame,
    WelcomeFrame,
    public_mail,
    read_frame,
    read_server_frame,
    write,
    write_result,
)
from notifier.feed.protocol.commands import ErasedAddress, Pausing, Submitted
from notifier.feed.protocol.frames import ErrorFrame
from notifier.feed.protocol.mails import CalendarFile, MailList, SmtpReply, TimelineStep, WholeMail

WHOLE = document()
DOCUMENT = DOCS / "asyncapi.yaml"


def references(part: Any) -> Iterator[str]:
    """Find all references."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def found(reference: str) -> Any:
    """Follow a reference."""
    part: Any = WHOLE
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def test_the_document_in_docs_is_the_one_of_this_version() -> None:
    """Write it anew with `notifier contract > docs/asyncapi.yaml`."""
    assert DOCUMENT.read_text(encoding="utf-8") == written()
    assert yaml.safe_load(written()) == WHOLE


def test_the_command_prints_it(capfd: pytest.CaptureFixture[str]) -> None:
    """As YAML, and as JSON."""
    assert run("contract")[:2] == (0, written())
    assert json.loads(run("contract", "--json")[1]) == WHOLE
    del capfd


def test_every_reference_leads_somewhere() -> None:
    """To a part of the document itself."""
    assert all(found(reference) for reference in references(WHOLE))


def test_operations_use_the_messages_of_their_channel() -> None:
    """As AsyncAPI 3.0 demands (Operation Object), and each channel's messages are all used."""
    used = [reference for each in WHOLE["operations"].values() for reference in references(each["messages"])]
    for operation in WHOLE["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["action"] in ("send", "receive")
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
    there = [
        f"#/channels/{name}/messages/{key}" for name, each in WHOLE["channels"].items() for key in each["messages"]
    ]
    assert sorted(used) == sorted(there)


def test_every_payload_is_a_json_schema() -> None:
    """Of draft 7, of which AsyncAPI's schema object is a superset."""
    for name in WHOLE["components"]["messages"]:
        jsonschema_rs.Draft7Validator(
            {**found(f"#/components/messages/{name}/payload"), "components": WHOLE["components"]}
        )
    for schema in WHOLE["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})


def test_every_command_is_described_and_no_other() -> None:
    """The document's commands are those of the service, in the frame that asks for them."""
    nothing: Any = None
    described = [
        each["properties"]["name"]["const"] for each in found("#/components/messages/command/payload")["anyOf"]
    ]
    assert sorted(described) == sorted(COMMANDS) == sorted(commands(nothing, nothing, nothing, nothing))


SHOWN = public_mail(mail())
EVENT = encode_event("mail.sent", SHOWN.status, mail(), NOW)
WHOLE_MAIL = WholeMail(
    **asdict(SHOWN),
    timeline=[
        TimelineStep(
            at="2026-11-24T10:00:00.000Z",
            type="mail.pending",
            status=SHOWN.status,
            attempt=0,
            next_attempt_at=None,
            smtp=SmtpReply(code=250, text="ok"),
            error=None,
        )
    ],
    headers=[["To", "a@example.com"]],
    text="t",
    html=None,
    calendars=[CalendarFile(name="flights.ics", text="BEGIN:VCALENDAR")],
    preview="/preview/x",
)
FRAMES: dict[str, ServerFrame] = {
    "welcome": WelcomeFrame(
        protocol=1,
        server="notifier/1",
        role="viewer",
        resumed=False,
        replay=0,
        reason="none",
        heartbeat=20,
        now="2026-11-24T10:00:00.000Z",
    ),
    "snapshot": SnapshotFrame(id="f", cursor="c", totals=STATS.totals, mails=[SHOWN], more=False),
    "events": EventsFrame(cursor="c", events=[msgspec.json.decode(EVENT, type=PublicEvent)]),
    "stats": STATS,
    "result": ResultFrame(id=1, ok=False, error=Failure(code="not_found", message="there is no mail 'x'")),
    "error": ErrorFrame(id=1, code="invalid", message="what is wrong"),
    "bye": ByeFrame(code=CloseCode.RESTARTING, reconnect=True, after_ms=1000),
}
VALUES: dict[str, tuple[object, msgspec.Struct]] = {
    "submit": ({"message": {}}, Submitted(mails=["m"], repeated=False)),
    "mail.list": (
        {"filter": {"status": ["sent"], "kind": "notification"}, "limit": 1},
        MailList(mails=[SHOWN], next=1),
    ),
    "mail.show": ({"id": "m", "preview": True}, WHOLE_MAIL),
    "mail.retry": ({"id": "m"}, SHOWN),
    "mail.cancel": ({"id": "m"}, SHOWN),
    "mail.resolve": ({"id": "m", "as": "sent"}, SHOWN),
    "address.erase": ({"email": "a@example.com"}, ErasedAddress(mails=1, cancelled=0, bookings=1, remaining=0)),
    "send.pause": ({}, Pausing(paused=True)),
    "send.resume": ({}, Pausing(paused=False)),
}
"""Arguments and a value of each command."""


def test_every_frame_of_the_server_is_described() -> None:
    """Each frame that the server writes is valid by the document, and reads back as what was written."""
    assert list(FRAMES) == list(SERVER) == [type_.__struct_config__.tag for type_ in get_args(ServerFrame)]
    for type_, frame in FRAMES.items():
        text = write(frame)
        validator(type_).validate(json.loads(text))
        assert read_server_frame(text) == frame


def test_every_frame_of_a_client_is_described() -> None:
    """Whatever a client writes is valid by the document, with the fewest fields and with all of them."""
    wanted = msgspec.Raw(b'{"booking":"R","mail":["m"],"since":"2026-11-24T10:00:00Z"}')
    hello = HelloFrame(token="t", resume="c", filter=wanted, snapshot=0, stats=2)
    for frame in (HelloFrame(), hello, FilterFrame(filter=wanted), FilterFrame(id="f", filter=wanted, snapshot=5)):
        described = json.loads(write(frame))
        validator(described["type"]).validate(described)
        assert read_frame(write(frame).decode()) is not None
    assert list(CLIENT) == ["hello", "filter", "command"]


def test_every_command_and_value_is_described() -> None:
    """The arguments and the value of each command are valid by the document, and a command without its name is not."""
    assert set(VALUES) == set(COMMANDS)
    for name, (args, value) in VALUES.items():
        assert type(value) is COMMANDS[name].value
        command = write(CommandFrame(id=1, name=name, args=msgspec.Raw(msgspec.json.encode(args))))
        validator("command").validate(json.loads(command))
        assert msgspec.json.decode(msgspec.json.encode(args), type=COMMANDS[name].args)
        validator("result").validate(json.loads(b"".join(write_result(1, value))))
    assert not validator("command").is_valid({"type": "command", "args": {}})
    assert not validator("command").is_valid({"type": "command", "name": "mail.retry"})


def test_every_close_code_is_described() -> None:
    """The channel's description names each code with its meaning."""
    description = WHOLE["channels"]["feed"]["description"]
    assert all(f"{code.value}: {code.meaning}" in description for code in CloseCode)
    assert all(code.__doc__ == code.meaning for code in CloseCode)


def test_every_field_of_the_feed_has_a_description() -> None:
    """Every struct of the protocol and every field of it is described."""
    for name, schema in schemas().items():
        if name in ("Kind", "Status"):
            continue
        assert schema["description"], name
        missing = [
            field for field, each in schema["properties"].items() if field != "type" and "description" not in each
        ]
        assert not missing, (name, missing)


def test_a_field_that_is_not_described_is_noticed() -> None:
    """The tests' reading of the document is strict, or new fields would never be missed."""
    assert validator("bye").is_valid({"type": "bye", "code": 1012, "reconnect": True, "after_ms": 1})
    assert not validator("bye").is_valid({"type": "bye", "code": 1012, "reconnect": True, "after_ms": 1, "new": 1})


def event(type_: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "7f0c",
        "source": "/b",
        "type": type_,
        "time": "2026-11-24T10:00:00Z",
        "data": data,
    }


BOOKING = {
    "booking": "RXJ34P",
    "version": 1,
    "passengers": [{"name": "Asha", "email": "asha@example.com", "locale": "en"}],
    "flights": [flight_data(arrives_at="2026-12-01T12:20:00+05:30")],
    "price": {"amount": "1", "currency": "INR"},
}
REQUEST = {
    "to": ["a@example.com"],
    "subject": "s",
    "text": "t",
    "html": "<p>",
    "send_at": "2026-12-01T09:30:00Z",
    "expires_at": "2026-12-02T09:30:00Z",
}
OLDER = {"subject": "s", "content": "c", "recepientEmail": "a@example.com", "notificationTime": "2026-12-01T09:30:00Z"}
TAKEN = {
    "booking_confirmed": event("booking.confirmed", **BOOKING),
    "booking_changed": event("booking.changed", **BOOKING),
    "booking_cancelled": event("booking.cancelled", **BOOKING),
    "notification_requested": event("notification.requested", **REQUEST),
    "notification_cancelled": event("notification.cancelled", id="x"),
    "older": {"service": "CREATE_TICKET", "data": OLDER},
}
ODD: tuple[Any, ...] = (
    None,
    "",
    0,
    1,
    -1,
    1.5,
    True,
    [],
    {},
    "x" * 200,
    "x" * 201,
    ["a@example.com"],
    2**60,
    "1",
    "a\0",
    "a\n",
    "\u2028",
)
# What JSON Schema does not say of a text: whether it is a time or an address.
NOT_IN_A_SCHEMA = re.compile(r"is no(t a)? time|needs an offset|email address")


def changed(part: Any) -> Iterator[Any]:
    """Change one value of a message, or leave it out, in every way and place."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield {other: each for other, each in part.items() if other != name}
            yield from ({**part, name: each} for each in (*ODD, *changed(value)))
    elif isinstance(part, list):
        yield from ([each] for value in part for each in (*ODD, *changed(value)))


@pytest.mark.parametrize("name", TAKEN)
def test_the_document_takes_what_the_decoder_takes(name: str) -> None:
    """Each single change of a message is valid by the document if it can be decoded, and only then."""
    payload = {**found(f"#/components/messages/{name}/payload"), "components": WHOLE["components"]}
    document_takes = jsonschema_rs.Draft7Validator(payload).is_valid
    assert document_takes(TAKEN[name])
    differing = []
    for message in changed(TAKEN[name]):
        reason = ""
        try:
            decode(msgspec.json.encode(message), Origin(received_at=NOW, message_id="m"))
        except Refused as refused:
            reason = str(refused)
        if document_takes(message) is bool(reason) and not NOT_IN_A_SCHEMA.search(reason):
            differing.append((message, reason))
    assert differing == []


@given(
    flights=st.lists(
        st.sampled_from([flight_data(), flight_data(seat=None), {**flight_data(), "number": 7}]), max_size=22
    ),
    version=st.one_of(st.none(), st.integers(-2, 5), st.just("1")),
    email=st.sampled_from(["asha@example.com", 5, None]),
    price=st.sampled_from(
        [None, {"amount": "1", "currency": "EUR"}, {"amount": 1.5, "currency": "EUR"}, {"amount": []}]
    ),
)
def test_what_a_reader_takes_the_document_takes(flights: Any, version: Any, email: Any, price: Any) -> None:
    """Whatever decodes is valid by the document; what the document refuses does not decode."""
    event = booking_event(flights=flights, passengers=[{"name": "A", "email": email}])
    event["data"] |= {"version": version, "price": price}
    try:
        decode(msgspec.json.encode(event), Origin(received_at=NOW))
    except Refused:
        return
    assert validator("booking_confirmed").is_valid(json.loads(json.dumps(event)))
