"""The publishers in `docs/examples`, run with a broker and a service: every message in the outbox is mailed."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import pytest
from support.faults.equation import stored
from support.faults.proxy import Proxy
from support.pages import scrape
from support.parts import PATIENCE, changed, next_frame, serving
from support.places import DOCS
from support.provided import missing, provided
from support.rabbit import Rabbit
from yarl import URL

from notifier.feed.client import FeedClient

EXAMPLES = DOCS / "examples"
JARS = [Path("/usr/share/java", f"{name}.jar") for name in ("amqp-client", "slf4j-api", "slf4j-nop", "sqlite-jdbc")]
"""The paths of the jars in the Debian packages librabbitmq-client-java and libxerial-sqlite-jdbc-java."""


class Outbox(NamedTuple):
    """The ids of the messages in an outbox, and of those that are marked as published."""

    held: set[str]
    marked: set[str]


class Example(NamedTuple):
    """How to run an example, where its outbox is, and how to read it."""

    command: list[str]
    outbox: str
    read: Callable[[], Outbox]


def in_tables(path: Path) -> Outbox:
    """Read the outbox of the Python or the Java example."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT id, published_at FROM outbox").fetchall()
        (bookings,) = db.execute("SELECT count(*) FROM bookings").fetchone()
    assert bookings == len(rows)
    return Outbox({id_ for id_, _ in rows}, {id_ for id_, at in rows if at})


def in_journal(path: Path) -> Outbox:
    """Read the outbox of the Node example."""
    entries = [json.loads(line) for line in path.read_text().splitlines() if line]
    held = {entry["message"]["id"] for entry in entries if "booking" in entry}
    return Outbox(held, {id_ for entry in entries for id_ in entry.get("published", ())})


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of the Node example, installed with amqplib in a separate folder."""
    folder = tmp_path_factory.mktemp("node")
    node, npm = provided("node", "nodejs"), provided("npm", "npm")
    shutil.copy(EXAMPLES / "publish.mjs", folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "amqplib@2.3.1"]
    done = subprocess.run(install, cwd=folder, capture_output=True, check=False)  # noqa: S603 - fixed words
    if done.returncode:
        missing(f"amqplib could not be installed with npm: {done.stderr.decode()[-300:]}")
    return [node, str(folder / "publish.mjs")]


@pytest.fixture(scope="session")
def java_example(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Compile the Java example and return its command; skip the test if there is no JDK or no jars."""
    javac, java = shutil.which("javac"), shutil.which("java")
    if not (javac and java and all(jar.exists() for jar in JARS)):
        pytest.skip("no JDK or no jars: apt-get install default-jdk librabbitmq-client-java libxerial-sqlite-jdbc-java")
    folder = tmp_path_factory.mktemp("java")
    classes = os.pathsep.join(map(str, (folder, *JARS)))
    compile_ = [javac, "-Xlint:all", "-Werror", "-cp", classes, "-d", str(folder), str(EXAMPLES / "Publish.java")]
    done = subprocess.run(compile_, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    assert done.returncode == 0, done.stderr
    return [java, "-cp", classes, "Publish"]


@pytest.fixture(params=["python", "node", "java"])
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    """Return each of the examples."""
    journal, tables = tmp_path / "outbox.jsonl", tmp_path / "outbox.db"
    match request.param:
        case "python":
            command = [sys.executable, str(EXAMPLES / "publish.py")]
            return Example(command, str(tables), lambda: in_tables(tables))
        case "node":
            return Example(request.getfixturevalue("node_example"), str(journal), lambda: in_journal(journal))
        case _:
            command = request.getfixturevalue("java_example")
            return Example(command, f"jdbc:sqlite:{tables}", lambda: in_tables(tables))


@asynccontextmanager
async def running(
    example: Example, rabbit: Rabbit, bookings: int, url: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an example; it is killed if it still runs when the block ends."""
    ours = {"NOTIFIER_AMQP_URL": url or rabbit.url, "NOTIFIER_AMQP_EXCHANGE": rabbit.exchange, "OUTBOX": example.outbox}
    process = await asyncio.create_subprocess_exec(
        *(*example.command, str(bookings)),
        env={**os.environ, **ours},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE * 2):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(example: Example, rabbit: Rabbit, bookings: int) -> tuple[int, str]:
    """Run an example until it ends; return its exit code and stderr."""
    async with running(example, rabbit, bookings) as process:
        _, said = await process.communicate()
        return process.returncode or 0, said.decode()


async def confirmed(client: FeedClient, ids: set[str]) -> None:
    """Wait until a confirmation for each of these messages was sent."""
    sent: set[str] = set()
    async with asyncio.timeout(PATIENCE):
        while not sent >= ids:
            for event in (await next_frame(client)).get("events", ()):
                if event["type"] == "mail.sent":
                    sent.add(event["data"]["mail"]["event"])


def check(example: Example, tmp_path: Path) -> None:
    """Assert that outbox and store agree: every message is marked and has the two mails of its booking."""
    outbox, rows = example.read(), stored(tmp_path / "notifier.db")
    assert outbox.held == outbox.marked
    for kind in ("booking.confirmation", "flight.reminder"):
        assert sorted(row.event for row in rows if row.kind == kind) == sorted(outbox.held)
    assert len(rows) == 2 * len(outbox.held)


async def test_an_unroutable_message_stays_in_the_outbox(
    example: Example, environ: dict[str, str], rabbit: Rabbit, tmp_path: Path
) -> None:
    """Without a queue the example fails and marks nothing; once there is a queue, everything is published."""
    await rabbit.declare()
    code, said = await run(example, rabbit, 3)
    assert (code, f"no queue is bound to {rabbit.exchange}" in said) == (1, True), said
    outbox = example.read()
    assert (len(outbox.held), outbox.marked) == (3, set())
    await rabbit.prepare()
    async with serving(changed({**environ, **rabbit.environ})) as feed, FeedClient.connect(feed) as client:
        assert await run(example, rabbit, 2) == (0, "")
        assert outbox.held < example.read().held
        await confirmed(client, example.read().held)
    check(example, tmp_path)


async def test_a_crash_between_publish_and_mark_loses_and_duplicates_nothing(
    example: Example, environ: dict[str, str], rabbit: Rabbit, tmp_path: Path
) -> None:
    """The example is killed before the confirm arrives; the next run publishes all again, which changes nothing."""
    await rabbit.prepare()
    url = URL(rabbit.url)
    async with serving(changed({**environ, **rabbit.environ})) as feed, FeedClient.connect(feed) as client:
        async with Proxy.to(url.port or 5672) as proxy:
            proxy.mute_after = publishing(rabbit.exchange)
            async with running(example, rabbit, 5, str(url.with_port(proxy.port))) as process:
                # Killed without waiting: once the service has the messages, the content of the outbox is known.
                await scrape(feed, lambda page: page.get("notifier_messages_total", result="stored") == 5)
                process.kill()
        outbox = example.read()
        assert (len(outbox.held), outbox.marked) == (5, set())
        assert await run(example, rabbit, 0) == (0, "")
        await scrape(feed, lambda page: page.get("notifier_messages_total", result="repeated") == 5)
        await confirmed(client, outbox.held)
    check(example, tmp_path)


def publishing(exchange: str) -> bytes:
    """Return the first bytes of a publish to an exchange (AMQP 0-9-1: basic.publish is method 40 of class 60)."""
    return bytes((0, 60, 0, 40, 0, 0, len(exchange))) + exchange.encode()
