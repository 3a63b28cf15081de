"""Every command in the documentation is run as written, or at least checked; no command is unknown."""

import asyncio
import json
import os
import re
import shlex
import sqlite3
import uuid
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import manual
from support.parts import PATIENCE, changed, request, serving, submit, wait_event
from support.places import ROOT
from support.provided import provided
from support.rabbit import Rabbit
from support.shell import Shell

from notifier import clock
from notifier.cli.app import app
from notifier.demo.inbox import Inbox
from notifier.demo.process import serving as serving_process
from notifier.feed.client import FeedClient
from notifier.settings import load
from notifier.storage.sqlite.store import SqliteStore

LATER = "2126-01-01T00:00:00Z"

README_COMMANDS = (
    ".venv/bin/notifier doctor",
    ".venv/bin/notifier send --to you@gmail.com --subject 'Hello' --text 'It works.' --wait",
    ".venv/bin/notifier mails list",
    "notifier preview booking.confirmation --locale de --out preview",
    "notifier pause",
    "notifier resume",
)
PUBLISH = ("notifier topology declare", "python docs/examples/publish.py 3")
LIST_FAILED = "notifier mails list --status failed"
SHOW = "notifier mails show ID"
RETRY = "notifier mails retry ID"
CANCEL = "notifier mails cancel ID"
RETRY_ALL = (
    "notifier mails list --status failed --limit 500 --json | python3 -c 'import json, sys; "
    'print(*(mail["id"] for mail in json.load(sys.stdin)["mails"]), sep="\\n")\' | xargs -r -n 1 notifier mails retry'
)
LIST_UNCERTAIN = "notifier mails list --status uncertain"
RESOLVE_AS_SENT = "notifier mails resolve ID --as sent"
RESOLVE_AS_RESEND = "notifier mails resolve ID --as resend"
LOOK = ".venv/bin/python docs/examples/dead_letters.py look"
TAKE = ".venv/bin/python docs/examples/dead_letters.py take letters.jsonl"
PUBLISH_AGAIN = ".venv/bin/python docs/examples/dead_letters.py publish letters.jsonl"
MASK = "umask 077"
BACKUP = "sqlite3 -readonly notifier.db \"VACUUM INTO 'backup.db'\""
BACKUP_WITH_PYTHON = (
    "python3 -c \"import sqlite3; sqlite3.connect('file:notifier.db?mode=ro', uri=True)"
    '.execute(\\"VACUUM INTO \'backup.db\'\\")"'
)
NEW_IDENTITY = (
    "sqlite3 notifier.db \"DELETE FROM meta WHERE name = 'store'; INSERT OR REPLACE INTO meta VALUES ('paused', '1');\""
)
RESTORE = ("mkdir damaged", "mv notifier.db* damaged/", "cp backup.db notifier.db", NEW_IDENTITY)
DOCKER_RUN = (
    "docker run --name notifier -p 127.0.0.1:8025:8025 -v notifier-data:/data"
    " -e NOTIFIER_SMTP_URL='smtp://you%40gmail.com:app-password@smtp.gmail.com:587'"
    " -e NOTIFIER_MAIL_FROM='Example Air <you@gmail.com>' notifier"
)
DOCKER_EXEC = "docker exec notifier notifier send --to you@gmail.com --subject 'Hello' --text 'It works.' --wait"
LIST_PENDING = "notifier mails list --status pending"

RUN_HERE = {
    *(
        *README_COMMANDS,
        *PUBLISH,
        LIST_FAILED,
        SHOW,
        RETRY,
        CANCEL,
        RETRY_ALL,
        LIST_UNCERTAIN,
        RESOLVE_AS_SENT,
        RESOLVE_AS_RESEND,
    ),
    *(LOOK, TAKE, PUBLISH_AGAIN, MASK, BACKUP, BACKUP_WITH_PYTHON, *RESTORE, LIST_PENDING),
}
NOT_RUN_HERE = {
    "./scripts/demo": "runs until Ctrl-C; tests/unit/demo/test_command.py runs it to its end",
    "./scripts/test": "runs this test",
    "./scripts/setup": "was run by ./scripts/test",
    "./scripts/check": "takes long; CI runs it first",
    "./scripts/mutants": "takes minutes; tests/unit/support/test_mutants.py tries its parts",
    "./scripts/mutants --sample 300 --report survivors.md": "takes an hour; tests/unit/support/test_trial.py does",
    "./scripts/mutants --file notifier/domain/booking.py --own": "takes minutes; tests/unit/support/test_trial.py does",
    "./scripts/test tests/unit/domain/test_booking.py -k reminder": "is part of the whole run",
    "./scripts/test tests/faults --faults": "takes minutes",
    "./scripts/load --publish-rate 100 --send-rate 20 --seconds 60 --plot load.svg": (
        "takes minutes; tests/unit/demo/test_command.py runs a shorter one"
    ),
    """rabbitmqctl set_policy notifier '^notifier.requests$' '{"delivery-limit":1000000}' --apply-to queues""": (
        "would change the broker of all tests; tests/unit/gateways/test_topology.py compares it with the log"
    ),
    "./scripts/bench --quick": "takes minutes; tests/unit/support/test_bench_stages.py does less of each stage",
    "./scripts/bench --against e6565d2 --markdown": "takes an hour; tests/unit/support/test_bench_stages.py does less",
    "./scripts/bench --only intake --rounds 3": "takes minutes; tests/unit/support/test_bench_stages.py does others",
    "./scripts/bench --against main --only notifications --only intake": (
        "takes minutes; tests/unit/support/test_bench_versions.py checks out another version"
    ),
    "./scripts/crowd --watchers 1000 --stuck 10 --rate 100": "takes minutes; tests/unit/support/test_crowd.py does",
    "export NOTIFIER_SMTP_URL='smtp://you%40gmail.com:abcdefghijklmnop@smtp.gmail.com:587'": (
        "needs a Gmail account; tests/docs/test_docs.py loads it"
    ),
    "export NOTIFIER_MAIL_FROM='Your Name <you@gmail.com>'": "tests/docs/test_docs.py loads it",
    ".venv/bin/notifier serve": "runs until it is stopped; tests/unit/cli/test_serve.py does that",
    ".venv/bin/notifier watch": "runs until Ctrl-C; tests/unit/cli/test_terminal.py sends that",
    "docker compose -f docker/compose.yaml up": "needs a Docker engine; tests/packaging/test_compose.py checks it",
    "docker build -f docker/Dockerfile -t notifier .": "needs Docker; tests/packaging/test_image.py does without",
    DOCKER_RUN: "needs a Docker engine; tests/packaging/test_image.py runs the image without one",
    DOCKER_EXEC: "needs a Docker engine; the same command is run without one",
    "./scripts/test tests/packaging/test_image.py --image": "takes minutes; CI runs it",
    "git pull": "needs a remote repository",
    "pip install aio-pika": "was done by ./scripts/setup, since aio-pika is an extra of the tests",
    "npm install amqplib": "tests/docs/test_examples.py does it",
    "node publish.mjs 3": "tests/docs/test_examples.py runs it",
    "javac -cp amqp-client.jar -d . docs/examples/Publish.java": "tests/docs/test_examples.py does",
    "java -cp .:amqp-client.jar:slf4j-api.jar:slf4j-nop.jar:sqlite-jdbc.jar Publish 3": (
        "tests/docs/test_examples.py does"
    ),
}
"""The reason why a command is not run here, and the test that runs it, if any."""


def ids(listed: str) -> list[str]:
    """Return the ids in the output of `mails list`."""
    return [line.split()[0] for line in listed.splitlines()]


def test_every_command_is_run_here_or_has_a_reason() -> None:
    """A command that was added to a page, or that no page contains any more, fails this test."""
    assert RUN_HERE.isdisjoint(NOT_RUN_HERE)
    assert set(manual.commands()) == RUN_HERE | NOT_RUN_HERE.keys()


@pytest.mark.parametrize("command", NOT_RUN_HERE)
def test_a_command_that_is_not_run_here_is_valid(command: str) -> None:
    """Its script is executable, its files exist, and our command line accepts it; the test that runs it exists."""
    program, *words = shlex.split(command)
    if program.startswith("./scripts/"):
        assert os.access(ROOT / program, os.X_OK)
    if program.endswith("/notifier"):
        parse(words)
    if program == "docker" and "-f" in words:
        assert (ROOT / words[words.index("-f") + 1]).is_file()
    if words[:3] == ["exec", "notifier", "notifier"]:
        parse(words[3:])
    if words[:1] == ["run"]:
        load(dict(given.split("=", 1) for flag, given in pairwise(words) if flag == "-e"))
    if program == "pip":
        assert f'"{words[-1]}>=' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for file in re.findall(r"(?:tests|docs)/[\w/]+\.\w+", f"{command} {NOT_RUN_HERE[command]}"):
        assert (ROOT / file).exists(), file


def parse(words: list[str]) -> None:
    """Parse a command line of notifier without running it."""
    command: Any = app
    context = command.context_class(command, info_name="notifier")
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
        command = context.command


async def test_the_commands_of_the_readme_work(environ: dict[str, str], inbox: Inbox, tmp_path: Path) -> None:
    """These are doctor, sending a mail, the list, a preview, and a pause."""
    async with serving_process(environ) as service:
        shell = Shell(tmp_path, {**environ, "NOTIFIER_PORT": str(service.port)})
        for command in README_COMMANDS:
            await shell.run(command)
        assert await service.stop() == 0
    assert [mail.to for mail in inbox.received] == ["you@gmail.com"]
    assert list((tmp_path / "preview").glob("*.html"))


async def test_messages_published_before_the_first_start_wait(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit, tmp_path: Path
) -> None:
    """Once the topology is declared, bookings wait in the queue, and are confirmed when the service starts."""
    await Shell(tmp_path, rabbit.environ).run(*PUBLISH)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        published = [id_ for (id_,) in db.execute("SELECT id FROM outbox WHERE published_at IS NOT NULL")]
    async with serving(changed({**environ, **rabbit.environ})):
        await inbox.wait_for(3, PATIENCE)
    assert sorted(mail.event for mail in inbox.received) == sorted(published)


async def test_failed_mails_are_shown_retried_and_cancelled(environ: dict[str, str], tmp_path: Path) -> None:
    """Mails are retried one by one, and all remaining ones together; each is then sent once."""
    refusing = True
    async with Inbox(
        reply=lambda phase, _: "550 5.1.1 no such user" if refusing and phase == "RCPT" else None
    ) as inbox:
        async with serving(changed(environ, SMTP_URL=inbox.url)) as feed, FeedClient.connect(feed) as client:
            shell = Shell(tmp_path, {"NOTIFIER_PORT": str(feed.port)})
            for number in (1, 2, 3):
                await submit(client, request(number))
                await wait_event(client, "mail.failed", event=f"r{number}")
            (later,) = (await submit(client, request(4, send_at=LATER)))["mails"]
            failed = ids(await shell.run(LIST_FAILED))
            assert "550 5.1.1 no such user" in await shell.run(SHOW, mail=failed[0])
            refusing = False
            await shell.run(RETRY, mail=failed[0])
            await shell.run(CANCEL, mail=later)
            await inbox.wait_for(1, PATIENCE)
            await wait_event(client, "mail.cancelled", id=later)
            await shell.run(RETRY_ALL)
            await inbox.wait_for(3, PATIENCE)
    assert sorted(mail.mail_id for mail in inbox.received) == sorted(failed)


async def test_uncertain_mails_are_resolved(environ: dict[str, str], inbox: Inbox, tmp_path: Path) -> None:
    """A mail resolved as sent is closed; a mail resolved as resend is sent once more."""
    async with serving(changed(environ, SMTP_URL="smtp+plain://127.0.0.1:1")) as feed:
        async with FeedClient.connect(feed, snapshot=0) as client:
            for number in (1, 2):
                await submit(client, request(number))
    store = await SqliteStore.open(tmp_path / "notifier.db")
    for start in (await store.claim(2, 0, clock.now())).starts:
        await store.mark(start.mail)
    await store.close()
    async with serving(changed(environ, ON_UNCERTAIN="hold")) as feed, FeedClient.connect(feed) as client:
        shell = Shell(tmp_path, {"NOTIFIER_PORT": str(feed.port)})
        while len(uncertain := ids(await shell.run(LIST_UNCERTAIN))) < 2:
            await wait_event(client, "mail.uncertain")
        closed, again = uncertain
        assert "Message-ID: " in await shell.run(SHOW, mail=closed)
        await shell.run(RESOLVE_AS_SENT, mail=closed)
        await shell.run(RESOLVE_AS_RESEND, mail=again)
        await inbox.wait_for(1, PATIENCE)
    assert [mail.mail_id for mail in inbox.received] == [again]


async def test_a_dead_letter_is_inspected_fixed_and_published_again(
    environ: dict[str, str], inbox: Inbox, rabbit: Rabbit, tmp_path: Path
) -> None:
    """Inspecting removes nothing; a fixed message is mailed under its own id, and a deleted one is gone."""
    letters = f"dead-{uuid.uuid4().hex[:8]}"
    await rabbit.prepare()
    await rabbit.channel.queue_declare(letters, durable=True)
    await rabbit.channel.queue_bind(letters, "notifier.dead")
    shell = Shell(tmp_path, {**rabbit.environ, "DEAD_LETTERS": letters})
    try:
        async with serving(changed({**environ, **rabbit.environ})):
            await rabbit.publish(request(1, subject=""))
            await rabbit.publish(b"{", message_id="rubbish")
            await filled(rabbit, letters, 2)
            looked = [json.loads(line) for line in (await shell.run(LOOK)).splitlines()]
            assert looked[0]["error"] == "invalid"
            assert looked[0]["detail"].startswith("data.subject:")
            assert (looked[1]["error"], looked[1]["message_id"], looked[1]["body"]) == ("not_json", "rubbish", "{")
            await shell.run(TAKE)
            taken = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
            assert taken == looked
            taken[0]["body"]["data"]["subject"] = "Fixed"
            (tmp_path / "letters.jsonl").write_text(json.dumps(taken[0]) + "\n")
            await shell.run(PUBLISH_AGAIN)
            await inbox.wait_for(1, PATIENCE)
        assert (await rabbit.channel.queue_declare(letters, passive=True)).message_count == 0
    finally:
        await rabbit.channel.queue_delete(letters)
    assert [(mail.event, mail.subject) for mail in inbox.received] == [("r1", "Fixed")]


async def filled(rabbit: Rabbit, queue: str, messages: int) -> None:
    """Wait until a queue contains at least `messages` messages."""
    async with asyncio.timeout(PATIENCE):
        while ((await rabbit.channel.queue_declare(queue, passive=True)).message_count or 0) < messages:
            pass


async def test_a_backup_made_while_the_service_runs_is_restored(
    environ: dict[str, str], inbox: Inbox, tmp_path: Path
) -> None:
    """Both ways of making a backup contain the same mails.

    After a restore the mails are as before, sending is paused, and clients of the feed cannot resume.
    """
    provided("sqlite3", "sqlite3")
    shell = Shell(tmp_path, {})
    async with (
        serving_process(environ) as service,
        FeedClient.connect(changed(environ, PORT=str(service.port)).feed) as client,
    ):
        await submit(client, request(1))
        await wait_event(client, "mail.sent", event="r1")
        await submit(client, request(2, send_at=LATER))
        await client.command("send.pause", {})
        await submit(client, request(3))
        await shell.run(MASK, BACKUP_WITH_PYTHON)
        before = kept(tmp_path / "backup.db")
        (tmp_path / "backup.db").unlink()
        await shell.run(MASK, BACKUP)
        assert kept(tmp_path / "backup.db") == before
        assert (tmp_path / "backup.db").stat().st_mode & 0o077 == 0
        await client.command("send.resume", {})
        await wait_event(client, "mail.sent", event="r3")
        await submit(client, request(4, send_at=LATER))
        assert await service.stop() == 0
    await shell.run(*RESTORE)
    async with serving_process(environ) as service:
        shell = Shell(tmp_path / "damaged", {"NOTIFIER_PORT": str(service.port)})
        pending = ids(await shell.run(LIST_PENDING))
        assert kept(tmp_path / "notifier.db") == before
        assert len(pending) == 2
        await shell.run(CANCEL, mail=next(id_ for id_ in pending if ("r3", id_) in before))
        await shell.run("notifier resume")
        assert await service.stop() == 0
    assert sorted(mail.event for mail in inbox.received) == ["r1", "r3"]
    assert identity(tmp_path / "notifier.db") != identity(tmp_path / "damaged" / "notifier.db")


def kept(database: Path) -> dict[tuple[str, str], str]:
    """Return the status of each mail in a database, by its message and its id."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return {(event, id_): status for event, id_, status in db.execute("SELECT event, id, status FROM mails")}


def identity(database: Path) -> str:
    """Return the identity of a store."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        (found,) = db.execute("SELECT value FROM meta WHERE name = 'store'").fetchone()
    return str(found)
