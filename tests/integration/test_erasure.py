"""Erasing an address as an operator does it: by command, on the feed and on disk."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli import run_async, service
from support.parts import PATIENCE, changed, request, result, serving, submit, wait_event, wait_frame
from support.samples import booking_event

from notifier.demo.inbox import Inbox
from notifier.domain.mail import ERASED
from notifier.feed import commands
from notifier.feed.client import FeedClient
from notifier.settings import FeedSettings, Settings

FAR = "2126-01-01T00:00:00Z"


def on_disk(environ: dict[str, str], *words: str) -> set[str]:
    """Return the words that are in the files of the service's database."""
    database = Path(environ["NOTIFIER_DATABASE_URL"].removeprefix("sqlite:///"))
    content = b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))
    return {word for word in words if word.encode() in content}


@asynccontextmanager
async def both(feed: FeedSettings) -> AsyncIterator[tuple[FeedClient, FeedClient]]:
    """Connect an operator, who reads results, and a watcher, who reads events; their order is not guaranteed."""
    async with FeedClient.connect(feed, snapshot=0) as operator, FeedClient.connect(feed, snapshot=0) as watcher:
        # From its snapshot on it gets every event.
        await wait_frame(watcher, lambda frame: frame["type"] == "snapshot")
        yield operator, watcher


async def test_watchers_see_that_unsent_mail_is_cancelled_and_what_it_was_no_longer(settings: Settings) -> None:
    """The event names neither recipient nor subject; the mail can be shown, and cannot be sent any more."""
    async with serving(settings) as feed, both(feed) as (client, watcher):
        await submit(client, request(1, send_at=FAR))
        erased = await result(client, await client.command("address.erase", {"email": " P1@example.com "}))
        assert erased == {"mails": 1, "cancelled": 1, "bookings": 0, "remaining": 0}
        gone = await wait_event(watcher, "mail.cancelled")
        assert (gone["to"], gone["subject"], gone["error"]) == ("•••", "", ERASED)
        mail = await result(client, await client.command("mail.show", {"id": gone["id"]}))
        assert (mail["to"], mail["headers"], mail["text"], len(mail["timeline"])) == ("", [], None, 2)


async def test_an_erased_mail_cannot_be_retried(environ: dict[str, str]) -> None:
    """The result is a conflict that says why."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url)
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await client.command("submit", {"message": request(1)})
            failed = await wait_event(client, "mail.failed")
            await result(client, await client.command("address.erase", {"email": "p1@example.com"}))
            id_ = await client.command("mail.retry", {"id": failed["id"]})
            frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
            assert frame["error"] == {"code": "conflict", "message": "its address was erased, so it cannot be sent"}


@pytest.mark.parametrize("args", [{}, {"email": 5}, {"email": " "}, {"email": ["a@example.com"]}])
async def test_without_an_address_nothing_is_erased(settings: Settings, args: dict[str, Any]) -> None:
    """The error says what is expected."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        id_ = await client.command("address.erase", args)
        frame = await wait_frame(client, lambda frame: frame.get("id") == id_)
        assert frame["error"]["code"] == "invalid"


class _Slow:
    """An SMTP server that answers RCPT once `answer` is set."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 slow\r\n")
        in_data = False
        while line := await reader.readline():
            if in_data and line != b".\r\n":
                continue
            command = line[:4].upper()
            if command == b"RCPT":
                self.asked.set()
                await self.answer.wait()
            in_data = command == b"DATA"
            writer.write(b"354 go on\r\n" if in_data else b"221 bye\r\n" if command == b"QUIT" else b"250 OK\r\n")
        writer.close()


@pytest.mark.parametrize(("timeout", "remaining"), [(PATIENCE, 0), (0.01, 1)])
async def test_a_mail_that_is_being_handed_over_is_waited_for(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, timeout: float, remaining: int
) -> None:
    """If its dialogue ends in time, it is erased with the others; otherwise it is counted, and erased the next time."""
    monkeypatch.setattr(commands, "ERASE_TIMEOUT", timeout)
    slow = _Slow()
    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = changed(environ, SMTP_URL=f"smtp+plain://127.0.0.1:{port}")
        async with serving(settings) as feed, both(feed) as (client, watcher):
            await submit(client, request(1, to=["p1@example.com", "p2@example.com"], send_at=FAR))
            await submit(client, request(2, to="p1@example.com"))
            async with asyncio.timeout(PATIENCE):
                await slow.asked.wait()
            id_ = await client.command("address.erase", {"email": "p1@example.com"})
            await wait_event(watcher, "mail.cancelled")
            if remaining:
                erased = await result(client, id_)
                assert erased == {"mails": 1, "cancelled": 1, "bookings": 0, "remaining": 1}
                slow.answer.set()
                await wait_event(watcher, "mail.sent")
                id_ = await client.command("address.erase", {"email": "p1@example.com"})
            else:
                slow.answer.set()
            erased = await result(client, id_)
            assert erased == {"mails": 1 if remaining else 2, "cancelled": 1 - remaining, "bookings": 0, "remaining": 0}


async def test_the_files_of_the_service_forget_whom_they_knew(environ: dict[str, str], inbox: Inbox) -> None:
    """Mails are sent, scheduled and rejected; after the command no file has the address, its name or its subject.

    A repeat mails nothing; a new message about the booking is mailed again, and not as a confirmation.
    """
    booking = booking_event(flights=[{"number": "AI7", "from": "DEL", "to": "BLR", "departs_at": FAR}])
    letter = request(1, to="asha@example.com", subject="Upgrade for Asha", send_at=FAR)
    personal = ("asha@", "Asha Rao", "Upgrade for", "for Asha")
    inbox.reply = lambda phase, to: (
        f"450 4.2.2 box of {to} is full" if phase == "RCPT" and to == "asha@example.com" else None
    )
    async with service(environ) as (_, client):
        for message in (booking, letter, request(2, to="ben@example.com")):
            assert (await run_async("send", "-", environ=client, stdin=json.dumps(message).encode()))[0] == 0
        await inbox.wait_for(1, PATIENCE)
        assert on_disk(environ, *personal, "ben@") == {*personal, "ben@"}
        for address, stdin in (("asha@example.com", b""), ("-", b" asha@example.com \n")):
            code, _, err = await run_async("mails", "erase", address, environ=client, stdin=stdin)
            assert (code, "Erase asha@example.com?" in err) == (1, True)
        assert on_disk(environ, *personal) == set(personal)
        erase = ("mails", "erase", "-", "--yes", "--json")
        code, out, _ = await run_async(*erase, environ=client, stdin=b"asha@example.com\n")
        assert (code, json.loads(out)) == (0, {"mails": 3, "cancelled": 3, "bookings": 1, "remaining": 0})
        assert on_disk(environ, *personal, "ben@") == {"ben@"}
        code, _, err = await run_async("mails", "erase", "-", environ=client, stdin=b"nobody@example.com\ny\n")
        assert (code, "erased: 0 mails (0 of them cancelled), 0 bookings" in err) == (0, True)
    assert on_disk(environ, *personal, "ben@") == {"ben@"}
    inbox.reply = None
    async with service(environ) as (_, client):
        code, _, err = await run_async("send", "-", environ=client, stdin=json.dumps(booking).encode())
        assert "already handled" in err
        change = {**booking, "id": "new", "type": "booking.changed", "data": {**booking["data"], "version": 2}}
        assert (await run_async("send", "-", "--wait", environ=client, stdin=json.dumps(change).encode()))[0] == 0
    assert [(mail.to, mail.subject.split(":")[0]) for mail in inbox.received] == [
        ("ben@example.com", "Number 2"),
        ("asha@example.com", "Booking RXJ34P has changed"),
    ]
