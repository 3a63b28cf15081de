"""The commands, as clients of the feed use them."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.parts import changed, request, result, serving, submit, wait_event, wait_frame
from support.samples import NOW, RULES, upcoming_booking

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.domain.events import MailFilter
from notifier.domain.mail import expired, retried_now
from notifier.domain.messages import Origin, decode
from notifier.domain.timestamps import timestamp
from notifier.feed.client import FeedClient
from notifier.feed.commands import commands
from notifier.feed.protocol import CommandError, PublicMail
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore

FAR = "2126-01-01T00:00:00Z"


@pytest.mark.parametrize("rivals", range(4))
async def test_a_mail_that_others_rewrite_meanwhile_is_looked_at_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, rivals: int
) -> None:
    """The command changes the mail as it is by then, and fails only after three attempts."""
    get, left = SqliteStore.get, [rivals]

    async def overtaken(store: SqliteStore, *args: Any, **options: Any) -> Any:
        mail = await get(store, *args, **options)
        if mail and left[0]:
            left[0] -= 1
            await store.record([retried_now(mail)], clock.now())
        return mail

    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        (id_,) = (await submit(client, request(1, send_at=FAR)))["mails"]
        monkeypatch.setattr(SqliteStore, "get", overtaken)
        asked = await client.command("mail.cancel", {"id": id_})
        if rivals < 3:
            mail = await result(client, asked)
            assert (mail["status"], mail["rev"]) == ("cancelled", 2 + rivals)
        else:
            frame = await wait_frame(client, lambda frame: frame["type"] == "result" and frame["id"] == asked)
            assert frame["error"]["code"] == "conflict"


async def test_a_mail_that_has_ended_meanwhile_is_a_conflict(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the status in which the mail has ended, and the mail keeps it."""
    get, left = SqliteStore.get, [1]

    async def overtaken(store: SqliteStore, *args: Any, **options: Any) -> Any:
        mail = await get(store, *args, **options)
        if mail and left[0]:
            left[0] = 0
            await store.record([expired(mail)], clock.now())
        return mail

    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        (id_,) = (await submit(client, request(1, send_at=FAR)))["mails"]
        monkeypatch.setattr(SqliteStore, "get", overtaken)
        asked = await client.command("mail.cancel", {"id": id_})
        frame = await wait_frame(client, lambda frame: frame["type"] == "result" and frame["id"] == asked)
    assert frame["error"] == {"code": "conflict", "message": "the mail is expired; pending is expected"}


async def test_a_failed_mail_of_a_cancelled_booking_cannot_be_retried(environ: dict[str, str]) -> None:
    """A confirmation is useless once its booking is cancelled: the command fails with a conflict that says so."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url)
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": upcoming_booking(time=timestamp(clock.now()))})
            failed = await wait_event(client, "mail.failed", kind="booking.confirmation")
            await submit(client, upcoming_booking(id="end", type="booking.cancelled", version=2))
            id_ = await client.command("mail.retry", {"id": failed["id"]})
            frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
            assert frame["error"] == {
                "code": "conflict",
                "message": "the mail cannot be sent any more: the booking was cancelled",
            }
            shown = await result(client, await client.command("mail.show", {"id": failed["id"]}))
            assert [step["type"] for step in shown["timeline"]][-3:] == [
                "mail.failed",
                "mail.pending",
                "mail.cancelled",
            ]


class _Counting:
    """A store that notes which of its methods are called."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._store, name)


async def test_a_change_takes_two_trips_to_the_store(tmp_path: Path) -> None:
    """The mail is read and then changed; the events of the change show whether it took effect."""
    store = await SqliteStore.open(tmp_path / "n.db")
    try:
        event = json.dumps(request(1, send_at=FAR)).encode()
        ((id_,),) = [each.mails for each in await store.add([decode(event, Origin(NOW))], RULES, NOW)]
        nothing: Any = None
        counting: Any = _Counting(store)
        _, run = commands(counting, nothing, nothing, nothing)["mail.cancel"]
        shown = await run(msgspec.Raw(json.dumps({"id": id_}).encode()), "operator")
        assert isinstance(shown, PublicMail)
        assert (shown.status, counting.calls) == ("cancelled", ["get", "record"])
    finally:
        await store.close()


class _Lists:
    """A store that lists nothing."""

    async def listing(self, _: MailFilter, before: int | None, limit: int, *, urgent: bool) -> bytes:
        return json.dumps([before, limit, urgent]).encode()


async def test_nothing_is_built_of_arguments_that_a_list_does_not_have() -> None:
    """A viewer's list costs hardly more memory than its text, however nested; a null is nothing."""
    nothing: Any = None
    lists: Any = _Lists()
    role, run = commands(lists, nothing, nothing, nothing)["mail.list"]
    nested = ",".join(["[" * 900 + "]" * 900] * 35).encode()
    tracemalloc.start()
    try:
        found = await run(msgspec.Raw(b'{"limit":7,"x":[%s]}' % nested), "viewer")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, msgspec.Raw)
    assert (role, json.loads(bytes(found))) == ("viewer", [None, 7, False])
    assert peak < 4 * len(nested)
    for args in (b"null", b"{}", b'{"filter":null,"before":null}'):
        found = await run(msgspec.Raw(args), "operator")
        assert isinstance(found, msgspec.Raw)
        assert json.loads(bytes(found)) == [None, 100, True]


@pytest.mark.parametrize("name", ["mail.list", "mail.show"])
@pytest.mark.parametrize("args", [b"[]", b"5", b"[" * 2000 + b"]" * 2000, b'{"filter":[]}', b'{"limit":"x"}'])
async def test_arguments_of_a_wrong_kind_are_invalid(name: str, args: bytes) -> None:
    """Invalid arguments are answered with `invalid`, and the connection stays open."""
    nothing: Any = None
    _, run = commands(nothing, nothing, nothing, nothing)[name]
    with pytest.raises(CommandError, match="args") as refused:
        await run(msgspec.Raw(args), "operator")
    assert refused.value.code == "invalid"


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("mail.show", '{"id": 5}', "args.id: must be a string"),
        ("mail.show", '{"id": "m", "preview": 1}', "args.preview: must be true or false or null"),
        ("mail.retry", "null", "args.id: missing"),
        ("mail.cancel", "[]", "args: must be an object"),
        ("mail.resolve", '{"id": "m"}', "args.as: missing"),
        ("mail.resolve", '{"id": "m", "as": "lost"}', "args.as: must be one of resend, sent"),
        ("mail.list", '{"limit": 0}', "args.limit: must be an integer from 1 to 500"),
        ("mail.list", '{"filter": {"booking": {}}}', "args.filter.booking: must be a string or a list of at most 500"),
        ("mail.list", '{"filter": {"since": "now"}}', "args.filter.since: 'now' is not a time such as"),
        ("mail.list", '{"x": ' + "[" * 100_000, "args: nested too deeply"),
        ("mail.list", "{", "args: Input data was truncated"),
        ("address.erase", '{"email": null}', "args.email: must be a string"),
        ("address.erase", '{"email": " "}', "args.email: an address is expected"),
        ("submit", "{}", "args.message: missing"),
        ("submit", '{"message": []}', "args.message: must be an object"),
    ],
)
async def test_the_error_names_the_argument_and_what_is_expected(name: str, args: str, says: str) -> None:
    """An operator can understand the error without knowing how the service decodes arguments."""
    nothing: Any = None
    _, run = commands(nothing, nothing, nothing, nothing)[name]
    with pytest.raises(CommandError) as refused:
        await run(msgspec.Raw(args.encode()), "operator")
    assert refused.value.code == "invalid"
    assert str(refused.value).startswith(says)
