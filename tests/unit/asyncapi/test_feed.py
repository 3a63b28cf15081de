"""The feed's side of the AsyncAPI document: every frame, command, value and close code, as the service writes them."""

import json
from typing import Any, get_args

import msgspec
from msgspec.structs import asdict
from support.described import WHOLE, referenced, validator
from support.readings import STATS
from support.samples import NOW, mail

from notifier.asyncapi.feed import CLIENT, SERVER, schemas
from notifier.domain.events import encode_event
from notifier.domain.public_mail import SmtpReply
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
from notifier.feed.protocol.mails import CalendarFile, MailList, TimelineStep, WholeMail


def test_every_command_is_described_and_no_other() -> None:
    """The document's commands are those of the service, in the frame that asks for them."""
    nothing: Any = None
    described = [
        each["properties"]["name"]["const"] for each in referenced("#/components/messages/command/payload")["anyOf"]
    ]
    assert sorted(described) == sorted(COMMANDS) == sorted(commands(nothing, nothing, nothing, nothing))


SHOWN = public_mail(mail())
EVENT = encode_event("mail.sent", mail().status, mail(), NOW)
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
