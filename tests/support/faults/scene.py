"""A service with its peers, to which a fault happens, and the checks that must pass afterwards."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiormq.abc import DeliveredMessage
from support.faults.equation import Row, check_mails, check_messages, past_the_dot, stored
from support.faults.load import Load
from support.faults.sink import Sink
from support.faults.victim import Victim
from support.parts import result, wait_frame
from support.rabbit import Rabbit

from notifier.feed.client import FeedClient

PAGE = 500
PATIENCE = 60.0

DOT_DELAY = 0.03
"""Seconds until the ledger answers a mail, so that faults find some mails past their final dot."""


class Scene:
    """The peers of a service, its settings, and the mails that faults have struck so far."""

    def __init__(self, folder: Path, sink: Sink, rabbit: Rabbit) -> None:
        self.folder = folder
        self.sink = sink
        self.rabbit = rabbit
        self.load = Load(rabbit.url, rabbit.exchange, lambda: len(sink.accepted))
        self.struck = Counter[str]()
        self.dead: set[str] = set()
        self.letters: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self.environ = {
            **rabbit.environ,
            "NOTIFIER_SMTP_URL": f"smtp+plain://127.0.0.1:{sink.port}",
            "NOTIFIER_SMTP_PAUSES": "200ms",
            "NOTIFIER_RETRY_DELAYS": "200ms",
            "NOTIFIER_MAIL_FROM": "Example Air <fly@example.org>",
            "NOTIFIER_SEND_RATE": "60",
            "NOTIFIER_PORT": "0",
        }
        self.move(folder / "notifier.db")

    def move(self, database: Path) -> None:
        """Use another file as the service's database."""
        self.database = database
        self.environ["NOTIFIER_DATABASE_URL"] = f"sqlite:///{database}"

    @asynccontextmanager
    async def service(self, *tool: str, **changes: str) -> AsyncIterator[Victim]:
        """Run a service while the block lasts; `changes` are settings without their prefix."""
        changed = {f"NOTIFIER_{name}": value for name, value in changes.items()}
        async with Victim.running({**self.environ, **changed}, *tool) as victim:
            yield victim

    async def kill(self, victim: Victim) -> None:
        """Kill the service, and note which mails were past the final dot."""
        await victim.kill()
        await self.note_struck()

    async def note_struck(self) -> None:
        """Note which mails were past the final dot when the service was killed."""
        await self.sink.wait_idle()
        self.struck += past_the_dot(stored(self.database), self.sink.read())

    async def settle(self, victim: Victim, patience: float = PATIENCE) -> list[Row]:
        """Wait until every accepted message is stored or dead-lettered, and every due mail is finished.

        The time limit starts again with each progress, because a backlog can be large on a slow machine.
        """
        open_ends: list[Any] = ["the service sent no stats"]
        fewest = sys.maxsize
        try:
            async with (
                asyncio.timeout(patience) as limit,
                FeedClient.connect(victim.feed, snapshot=0, stats=0.3) as client,
            ):
                while True:
                    await wait_frame(client, lambda frame: frame["type"] == "stats")
                    rows = await _listed(client)
                    open_ends = self._open_ends(rows)
                    if not open_ends:
                        return rows
                    if len(open_ends) < fewest:
                        fewest = len(open_ends)
                        limit.reschedule(asyncio.get_running_loop().time() + patience)
        except TimeoutError:
            raise AssertionError(f"not settled: {open_ends[:5]}, log: {victim.lines[-5:]}") from None

    async def end(self, victim: Victim, patience: float = PATIENCE) -> None:
        """Let the service finish its work, stop it, and check the equation."""
        rows = await self.settle(victim, patience)
        assert await victim.terminate() == 0, victim.lines[-10:]
        await self.sink.wait_idle()
        assert sorted(stored(self.database)) == sorted(rows)
        self.check()

    def check(self) -> None:
        """Check the equation on the files of a stopped service."""
        self._read_letters()
        rows, entries = stored(self.database), self.sink.read()
        check_messages(self.load.published, self.load.accepted, self.dead, rows)
        check_mails(rows, entries, self.struck + self.sink.unanswered)

    def _open_ends(self, rows: list[Row]) -> list[Any]:
        self._read_letters()
        due = [row for row in rows if row.status == "pending" and row.kind != "flight.reminder"]
        sending = [row for row in rows if row.status == "sending"]
        return [*due, *sending, *sorted(self.load.accepted - {row.event for row in rows} - self.dead)]

    def _read_letters(self) -> None:
        while not self.letters.empty():
            self.dead.add(str(self.letters.get_nowait().header.properties.message_id))


async def _listed(client: FeedClient) -> list[Row]:
    rows: list[Row] = []
    before: dict[str, Any] = {}
    while True:
        value = await result(client, await client.command("mail.list", {"filter": {}, "limit": PAGE, **before}))
        rows += [Row(mail["id"], mail["event"], mail["kind"], mail["status"]) for mail in value["mails"]]
        if not value["next"]:
            return rows
        before = {"before": value["next"]}


async def prepared(folder: Path, sink: Sink, rabbit: Rabbit) -> Scene:
    """Build a scene: the queue is declared, and dead letters are collected."""
    await rabbit.prepare()
    scene = Scene(folder, sink, rabbit)
    scene.letters = await rabbit.listen("notifier.dead", "fanout")
    return scene
