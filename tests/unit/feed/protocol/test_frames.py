"""Frames that clients write are read or refused; frames of the server are written."""

import json
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from support.any_json import FIELDS, JSON
from support.client_frames import frame, read
from support.frames import AT, events, shown
from support.readings import STATS
from support.samples import NOW, mail
from support.structs import structs_of, takes_positions, undescribed

from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Kind, Status
from notifier.domain.public_mail import public_mail
from notifier.feed.protocol import (
    HEARTBEAT,
    MAX_MAILS,
    PROTOCOL,
    BadFrame,
    ByeFrame,
    CloseCode,
    CommandFrame,
    Failure,
    FilterFrame,
    HelloFrame,
    ResultFrame,
    SnapshotFrame,
    Totals,
    WelcomeFrame,
    frames,
    read_frame,
    read_server_frame,
    write,
    write_bodies,
    write_events,
    write_result,
    write_snapshot,
)
from notifier.feed.protocol.commands import Pausing
from notifier.feed.protocol.frames import ErrorFrame


def test_a_bare_hello_asks_for_the_usual() -> None:
    """Without any field, or with nulls, a client gets no stats, two hundred mails, and all events."""
    for nulls in ({}, dict.fromkeys(["token", "resume", "filter", "snapshot", "stats"])):
        found = read(HelloFrame, type="hello", **nulls)
        assert (found.token, found.resume, found.wanted(), found.mails) == (None, None, MailFilter(), 200)
        assert not found.stats


def test_a_hello_says_all_that_a_client_wants() -> None:
    """Token, cursor, filter, snapshot and stats are read; unknown fields are ignored."""
    found = read(
        HelloFrame, type="hello", token="t", resume="c", filter={"status": "sent"}, snapshot=0, stats=2, new=[1]
    )
    assert (found.token, found.resume, found.mails, found.stats) == ("t", "c", 0, 2.0)
    assert found.wanted() == MailFilter(status=frozenset({Status.SENT}))


def test_a_filter_frame_is_read() -> None:
    """A client may ask for other mails at any time."""
    found = read(FilterFrame, type="filter", id=5, filter={"kind": ["notification"]}, snapshot=MAX_MAILS)
    assert (found.id, found.wanted(), found.mails) == (5, MailFilter(kind=frozenset({Kind.NOTIFICATION})), 500)


def test_a_command_is_read() -> None:
    """A command has an id, a name and arguments, which are decoded later."""
    found = read(CommandFrame, type="command", id="a", name="mail.show", args={"id": "m"})
    assert isinstance(found.args, Raw)
    assert (found.id, found.name, json.loads(bytes(found.args))) == ("a", "mail.show", {"id": "m"})
    bare = read(CommandFrame, type="command")
    assert (bare.id, bare.name, bare.args) == (None, None, UNSET)


NESTED = ",".join(["[" * 900 + "]" * 900] * 35)
"""Arrays of which a decoder makes 31,500 lists."""


@pytest.mark.parametrize(
    "text",
    [
        f'{{"type":"other","x":[{NESTED}]}}',
        f'{{"type":"hello","x":[{NESTED}],"filter":[{NESTED}]}}',
        f'{{"type":"command","name":"mail.list","args":{{"x":[{NESTED}]}}}}',
    ],
)
def test_nothing_is_built_of_what_is_not_asked_for(text: str) -> None:
    """Before a client's token or role is known, its frame takes hardly more memory than its text, however nested."""
    tracemalloc.start()
    try:
        found = read_frame(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text)
    assert found is None or isinstance(found, HelloFrame | CommandFrame)


@pytest.mark.parametrize("type_", ["", "HELLO", "welcome", "later"])
def test_an_unknown_type_is_ignored(type_: str) -> None:
    """A frame of an unknown type is skipped."""
    assert read_frame(frame(type=type_, filter=5)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{}", "text frames only"),
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("{", "not JSON"),
        ('{"type":"hello"}x', "not JSON"),
        ('{"type":"x","x":' + "[" * 100_000, "not JSON"),
        ("\ud800", "not JSON"),
        ('{"type":"\\ud800"}', "not JSON"),
        ("[]", "^frame: must be an object$"),
        ("null", "^frame: must be an object$"),
        ("{}", "^frame.type: missing$"),
        (frame(type=5), "^frame.type: must be a string$"),
        (frame(type="hello", token=5), "^hello.token: must be a string or null$"),
        (frame(type="hello", resume=[]), "resume"),
        (frame(type="hello", stats="1"), "^hello.stats: must be a number from 0 to 3600 or null$"),
        (frame(type="hello", stats=True), "stats"),
        (frame(type="hello", snapshot=-1), "snapshot"),
        (frame(type="hello", snapshot=501), "^hello.snapshot: must be an integer from 0 to 500 or null$"),
        (frame(type="hello", snapshot=1.5), "snapshot"),
        (frame(type="hello", snapshot=True), "snapshot"),
        (frame(type="filter", snapshot=10**300), "snapshot"),
        (frame(type="command", name=5), "^command.name: must be a string or null$"),
        (frame(type="filter", id=True), "^filter.id: must be a string or a number or null$"),
    ],
)
def test_a_frame_that_breaks_the_protocol_is_bad(text: str | bytes, says: str) -> None:
    """Each fault closes the connection with a reason that names what is wrong."""
    with pytest.raises(BadFrame, match=says):
        read_frame(text)


def test_a_huge_number_is_a_bad_frame() -> None:
    """A number that fits into no float is refused like any other wrong value."""
    with pytest.raises(BadFrame, match="stats"):
        read_frame('{"type":"hello","stats":' + "9" * 400 + "}")


@given(st.text() | st.binary())
def test_no_text_does_more_than_be_bad(text: str | bytes) -> None:
    """Whatever a client sends, reading it returns or raises BadFrame."""
    raises_only_bad_frame(lambda: read_frame(text))


@given(st.sampled_from(["hello", "filter", "command", "other"]), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_json_does_more_than_be_bad(type_: str, fields: dict[str, Any]) -> None:
    """Whatever JSON stands in the known fields, reading it returns a frame or raises BadFrame."""
    raises_only_bad_frame(lambda: read_frame(json.dumps({**fields, "type": type_})))
    raises_only_bad_frame(lambda: read_frame(json.dumps(fields)))


def raises_only_bad_frame(reading: Callable[[], HelloFrame | FilterFrame | CommandFrame | None]) -> None:
    try:
        found = reading()
        if isinstance(found, HelloFrame | FilterFrame):
            found.wanted()
    except BadFrame as bad:
        assert str(bad)  # noqa: PT017 - both ends are allowed
    else:
        assert found is None or isinstance(found, HelloFrame | FilterFrame | CommandFrame)


@pytest.mark.parametrize("id_", [None, "", "a", 0, -5, 2.5, 2**70])
def test_an_id_comes_back_as_it_was_given(id_: str | float | None) -> None:
    """A string or a number is returned unchanged in the answer; a missing id is null."""
    for type_ in ("command", "filter"):
        found = read_frame(frame(type=type_, id=id_))
        assert isinstance(found, CommandFrame | FilterFrame)
        assert json.loads(write(ResultFrame(id=found.id, ok=True)))["id"] == id_


@pytest.mark.parametrize("id_", ["true", "{}", "[]", *("[" * depth + "]" * depth for depth in (500, 985, 5000))])
def test_an_id_of_any_other_type_is_bad(id_: str) -> None:
    """A frame whose id is neither a string nor a number is refused, however deeply its id is nested."""
    for type_ in ("command", "filter"):
        with pytest.raises(BadFrame):
            read_frame(f'{{"type":"{type_}","id":{id_}}}')


def test_a_server_s_frame_has_its_type_first() -> None:
    """A frame is one JSON object that begins with its type."""
    bye = ByeFrame(code=CloseCode.RESTARTING, reconnect=True, after_ms=5)
    assert write(bye) == b'{"type":"bye","code":1012,"reconnect":true,"after_ms":5}'


@pytest.mark.parametrize(("id_", "ids"), [(None, {}), (5, {"id": 5}), (0, {"id": 0}), ("", {"id": ""})])
def test_a_snapshot_shows_public_mails(id_: Any, ids: dict[str, Any]) -> None:
    """A snapshot has cursor, totals, masked mails and `more`; it has an id only if the filter had one."""
    found = json.loads(
        b"".join(
            write_snapshot(
                id_, "c", Totals.of(dict.fromkeys(Status, 3)), msgspec.json.encode([public_mail(mail())]), more=True
            )
        )
    )
    shown = msgspec.to_builtins(public_mail(mail()))
    assert found == {
        "type": "snapshot",
        **ids,
        "cursor": "c",
        "totals": dict.fromkeys(Status, 3),
        "mails": [shown],
        "more": True,
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_events_carry_the_encoded_bodies(count: int) -> None:
    """The encoded bodies are put into the frame unchanged, even if there are none."""
    event = StoredEvent(
        1, b'{"a":1}', "mail.sent", "m.1", "m", None, Status.SENT, Kind.CHANGE, None, NOW - timedelta(1), "e", None
    )
    assert json.loads(write_events("c", [event] * count)) == {
        "type": "events",
        "cursor": "c",
        "events": [{"a": 1}] * count,
    }


def test_a_result_carries_its_value() -> None:
    """The value is encoded, or is JSON already and put into the frame unchanged."""
    for id_ in (5, "a", None):
        for value in (Pausing(paused=True), Raw(b'{"paused": true}')):
            found = b"".join(write_result(id_, value))
            assert json.loads(found) == {"type": "result", "id": id_, "ok": True, "value": {"paused": True}}
            assert isinstance(read_server_frame(found), ResultFrame)


SHOWN = shown("m", 1, "pending")
SERVER_FRAMES: list[Any] = [
    WelcomeFrame(
        protocol=1, server="s", role="viewer", resumed=False, replay=0, reason="expired", heartbeat=20, now=AT
    ),
    SnapshotFrame(id=5, cursor="c", totals=STATS.totals, mails=[SHOWN], more=False),
    events(SHOWN),
    STATS,
    ResultFrame(id="a", ok=False, error=Failure(code="not_found", message="there is no such mail")),
    ErrorFrame(id=1, code="c", message="m"),
    ByeFrame(code=1012, reconnect=True, after_ms=0),
]
"""A frame of each type that a service sends."""


@pytest.mark.parametrize("sent", SERVER_FRAMES)
def test_a_frame_of_the_service_is_read_as_it_was_written(sent: Any) -> None:
    """Of every type, as text and as bytes, with every field under its name."""
    written = write(sent)
    assert read_server_frame(written) == read_server_frame(written.decode()) == sent
    assert json.loads(written)["type"] == type(sent).__name__.removesuffix("Frame").lower()


def test_a_client_ignores_a_type_of_frame_that_it_does_not_know() -> None:
    """A newer service may send it, with any fields."""
    assert read_server_frame(frame(type="later", cursor=5)) is None
    assert read_server_frame(frame(type="hello")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"type":5}', '{"type":"events"}', "[" * 100_000, "\ud800"])
def test_a_frame_that_a_client_cannot_read_is_bad(text: str) -> None:
    """The client says so and does not stop with another error."""
    with pytest.raises(BadFrame, match=r"^the service sent a frame that this version cannot read: \S"):
        read_server_frame(text)


def test_the_parts_of_a_frame_are_not_copied() -> None:
    """Encoded mails and events can be large and are sent to many clients, so the frame only refers to them."""
    totals, body = Totals.of(dict.fromkeys(Status, 0)), b'{"a":1}'
    assert any(part is body for part in write_snapshot(None, "c", totals, body, more=False))
    assert any(part is body for part in write_bodies("c", body))
    assert json.loads(b"".join(write_bodies("c", body))) == {"type": "events", "cursor": "c", "events": [{"a": 1}]}


@pytest.mark.parametrize(
    "asked",
    [
        HelloFrame(token="t", resume="c", filter=Raw(b'{"status":"sent"}'), snapshot=5, stats=1.5),
        HelloFrame(),
        FilterFrame(id=5, filter=Raw(b"null"), snapshot=0),
        CommandFrame(id="a", name="mail.list", args=Raw(b"{}")),
    ],
)
def test_a_frame_of_a_client_is_read_as_it_was_written(asked: Any) -> None:
    """The client and the server use the same structs."""
    assert read_frame(write(asked).decode()) == asked


def test_a_client_does_not_send_what_it_does_not_want() -> None:
    """A field with its default is left out, so an older service can read the frame."""
    assert write(HelloFrame()) == b'{"type":"hello"}'
    assert write(FilterFrame()) == b'{"type":"filter"}'


@pytest.mark.parametrize(("stats", "valid"), [(0, True), (3600, True), (-0.1, False), (3600.1, False)])
def test_stats_are_sent_once_an_hour_at_least(stats: float, valid: bool) -> None:  # noqa: FBT001 - a column of the table
    """No and an hour are the limits of the time between two of them."""
    if valid:
        assert read(HelloFrame, type="hello", stats=stats).stats == stats
    else:
        with pytest.raises(BadFrame, match=r"^hello\.stats: must be a number from 0 to 3600 or null$"):
            read_frame(frame(type="hello", stats=stats))


def test_a_frame_carries_a_limited_number_of_mails_and_events() -> None:
    """A client may rely on 500 mails in a snapshot and 100 events in a frame at most."""
    mails = [msgspec.to_builtins(SHOWN)]
    for count, valid in ((500, True), (501, False)):
        written = frame(
            type="snapshot", cursor="c", totals=msgspec.to_builtins(STATS.totals), mails=mails * count, more=False
        )
        assert is_read(written) is valid
    bodies = json.loads(write(events(SHOWN)))["events"]
    for count, valid in ((100, True), (101, False)):
        assert is_read(frame(type="events", cursor="c", events=bodies * count)) is valid


def is_read(text: str) -> bool:
    try:
        return read_server_frame(text) is not None
    except BadFrame:
        return False


def test_the_protocol_has_a_name_and_a_heartbeat() -> None:
    """Both are promised: the WebSocket subprotocol, and a frame every 20 seconds."""
    assert (PROTOCOL, HEARTBEAT) == ("notifier.feed.v1", 20)


def test_the_words_that_a_service_sends_are_in_the_document() -> None:
    """Clients read them as texts, because a newer service can have more; the schema lists those of this version."""
    schema = msgspec.json.schema(WelcomeFrame)["$defs"]["WelcomeFrame"]["properties"]
    assert schema["role"]["enum"] == ["viewer", "operator"]
    assert schema["reason"]["enum"] == ["none", "expired", "restarted", "filter_changed", "invalid"]
    for shape in (HelloFrame, FilterFrame):
        fields = msgspec.json.schema(shape)["$defs"][shape.__name__]["properties"]
        assert fields["filter"]["anyOf"] == [{"$ref": "#/components/schemas/FilterFields"}, {"type": "null"}]


@pytest.mark.parametrize("shape", structs_of(frames))
def test_every_field_is_given_by_name_and_described(shape: type[msgspec.Struct]) -> None:
    """Two fields of one type cannot be mixed up, and the document says what each one is."""
    assert shape.__name__ == "_Frame" or not takes_positions(shape)
    assert undescribed(shape) == []
