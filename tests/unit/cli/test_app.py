"""The command as its users run it: a process with settings in its environment, output, and an exit code."""

import asyncio
import json
import os
import re
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
from support.cli import run, run_async, service
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import booking_event, flight_data

from notifier import __version__
from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports


def test_the_version_is_printed() -> None:
    """On stdout, alone."""
    assert run("version") == (0, f"{__version__}\n", "")


def test_all_faults_of_the_settings_are_listed_at_once() -> None:
    """Exit 2, a line for each, nothing on stdout, no traceback."""
    environ = {"NOTIFIER_SMTP_URL": "gmail", "NOTIFIER_SEND_RATE": "fast", "NOTIFIER_HOST": "0.0.0.0"}  # noqa: S104 - refused
    code, out, err = run("serve", environ=environ)
    assert (code, out) == (2, "")
    for name in ("NOTIFIER_SMTP_URL", "NOTIFIER_SEND_RATE", "NOTIFIER_MAIL_FROM", "NOTIFIER_VIEWER_TOKEN"):
        assert name in err
    assert len(err.splitlines()) == 4
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [["send"], ["send", "x.json", "--example"], ["nonsense"], ["send", "--to", "a@b.cd"]])
def test_bad_usage_is_exit_2(args: list[str]) -> None:
    """What the command line does not understand is said on stderr."""
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err


def test_secrets_are_hidden_in_the_settings() -> None:
    """As lines and as JSON; passwords and tokens never appear."""
    environ = {
        "NOTIFIER_SMTP_URL": "smtp://me:s3cret@smtp.example.org",
        "NOTIFIER_MAIL_FROM": "Air <fly@example.org>",
        "NOTIFIER_AMQP_URL": "amqp://me:s3cret@localhost/",
        "NOTIFIER_OPERATOR_TOKEN": "s3cret-of-16-and-more",
    }
    code, out, _ = run("settings", environ=environ)
    assert code == 0
    assert "NOTIFIER_SMTP_URL=smtp://me:***@smtp.example.org:587" in out
    code, as_json, _ = run("settings", "--json", environ=environ)
    assert json.loads(as_json)["NOTIFIER_SEND_RATE"] == 20
    assert "s3cret" not in out + as_json


def test_a_service_that_is_not_there_is_exit_4() -> None:
    """send, watch and health each say where they looked."""
    (port,) = free_ports(1)
    for args in (["send", "--example"], ["watch"], ["health"]):
        code, out, err = run(*args, environ={"NOTIFIER_PORT": str(port)})
        assert (code, out) == (4, "")
        assert f"no notifier answers at 127.0.0.1:{port}" in err


async def test_a_database_that_cannot_be_used_is_exit_3(environ: dict[str, str], tmp_path: Path) -> None:
    """Garbage in the file, and a second instance on the same one: one line each."""
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    broken = {**environ, "NOTIFIER_DATABASE_URL": f"sqlite:///{tmp_path / 'garbage.db'}"}
    code, out, err = await run_async("serve", environ=broken)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    async with service(environ):
        code, out, err = await run_async("serve", environ=environ)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "another notifier is using this database" in err


async def test_send_submits_and_waits(environ: dict[str, str], inbox: Inbox) -> None:
    """From flags, from a file, from stdin and the example; --wait shows each mail to its end."""
    async with service(environ) as (_, client):
        flags = ["--to", "a@example.com", "--subject", "Hi", "--text", "Hello."]
        code, out, err = await run_async("send", *flags, "--wait", environ=client)
        assert (code, out.splitlines()[-1].split()[:2]) == (0, ["sent", "notification"])
        assert "stored: 1 mails" in err
        code, out, _ = await run_async("send", "--example", "--wait", "--json", environ=client)
        lines = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert len(lines[0]["mails"]) == 2
        assert lines[-1]["status"] == "sent"
        code, _, _ = await run_async("send", "-", "--wait", environ=client, stdin=json.dumps(request(1)).encode())
        assert code == 0
        code, _, err = await run_async("send", "-", environ=client, stdin=json.dumps(request(1)).encode())
        assert (code, "already handled" in err) == (0, True)
    assert len(inbox.received) == 3


async def test_send_waits_for_more_mails_than_one_list_has(environ: dict[str, str], inbox: Inbox) -> None:
    """Of 100 passengers on 5 flights all 600 mails are shown, and the 100 that are due now followed to their end."""
    passengers = [{"name": "Asha Rao", "email": f"p{number}@example.com"} for number in range(100)]
    flights = [
        flight_data(number=f"AI{number}", departs_at="2126-12-01T09:30:00+05:30", arrives_at="") for number in range(5)
    ]
    message = json.dumps(booking_event(passengers=passengers, flights=flights)).encode()
    async with service({**environ, "NOTIFIER_SEND_RATE": "0"}) as (_, client):
        code, out, err = await run_async("send", "-", "--wait", "--json", environ=client, stdin=message)
    assert (code, err) == (0, "")
    (stored, *shown) = [json.loads(line) for line in out.splitlines()]
    assert len(stored["mails"]) == 600
    assert {mail["id"] for mail in shown} == set(stored["mails"])
    assert len([mail for mail in shown if mail["status"] == "sent"]) == len(inbox.received) == 100


async def test_send_fails_where_its_message_or_mail_does(environ: dict[str, str]) -> None:
    """A refused message and a refused mail are exit 1, with the reason."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as refusing:
        async with service({**environ, "NOTIFIER_SMTP_URL": refusing.url}) as (_, client):
            flags = ["--subject", "Hi", "--text", "Hello."]
            code, out, err = await run_async("send", "--to", "nobody", *flags, environ=client)
            assert (code, out) == (1, "")
            assert "invalid: data.to" in err
            code, out, _ = await run_async("send", "--to", "a@example.com", *flags, "--wait", environ=client)
            assert (code, "no such user" in out) == (1, True)


async def test_health_is_exit_0_where_the_service_is_ready(environ: dict[str, str]) -> None:
    """With the state of each part."""
    async with service(environ) as (_, client):
        code, out, _ = await run_async("health", environ=client)
        assert (code, "store ok" in out) == (0, True)
        code, out, _ = await run_async("health", "--json", environ=client)
        assert json.loads(out)["status"] == "ok"


@pytest.mark.parametrize(
    "body", [b'{"error":"not found"}', b"[]", b"[" * 100_000, b"<html>", b'{"store":1,"actors":{}}']
)
async def test_health_takes_no_other_service_for_notifier(body: bytes) -> None:
    """Exit 4 and one line, whatever another service answers on that port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, out, err = await run_async("health", environ={"NOTIFIER_PORT": str(port)})
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert f"no notifier answers at 127.0.0.1:{port}" in err


async def test_a_message_that_is_too_large_is_exit_1(environ: dict[str, str]) -> None:
    """Whether it is the message or the frame that is larger than the service takes, the reason is one line."""
    async with service(environ) as (_, client):
        for size in (300_000, 600_000):
            message = json.dumps(request(1, html="x" * size)).encode()
            code, out, err = await run_async("send", "-", environ=client, stdin=message)
            assert (code, out, len(err.splitlines())) == (1, "", 1)
            assert re.search("too.large", err)


async def test_an_address_that_is_not_utf8_is_exit_2() -> None:
    """Also if it is read from stdin."""
    code, out, err = await run_async("mails", "erase", "-", "--yes", environ={"LC_ALL": "C.UTF-8"}, stdin=b"\xff\n")
    assert (code, out) == (2, "")
    assert "Traceback" not in err


async def test_the_service_allows_itself_enough_open_files(environ: dict[str, str]) -> None:
    """A thousand clients are more than the usual limit of a shell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with service(environ) as (running, _):
            now, _ = psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert now == min(8192, hard if hard > 0 else 8192)


async def test_watch_shows_what_happens(environ: dict[str, str]) -> None:
    """Every change is one line of JSON; Ctrl-C ends it."""
    async with service(environ) as (_, client):
        watching = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "watch", "--json"),
            env={**os.environ, **client},
            stdout=asyncio.subprocess.PIPE,
        )
        assert watching.stdout
        await run_async("send", "--example", "--wait", environ=client)
        async with asyncio.timeout(PATIENCE):
            while json.loads(await watching.stdout.readline())["status"] != "sent":
                pass
        watching.send_signal(signal.SIGINT)
        await watching.wait()


async def test_sigterm_ends_the_service_in_order(environ: dict[str, str], inbox: Inbox) -> None:
    """In the middle of sending: exit 0, and the next run sends the rest; every id once."""
    slow = {**environ, "NOTIFIER_SEND_RATE": "50"}
    async with service(slow) as (process, client):
        addresses = [f"p{n}@example.com" for n in range(60)]
        message = json.dumps(request(1, to=addresses)).encode()
        await run_async("send", "-", environ=client, stdin=message)
        await inbox.wait_for(10, PATIENCE)
        assert await process.stop() == 0
    first = len(inbox.received)
    async with service(slow):
        await inbox.wait_for(60, PATIENCE)
    assert 10 <= first < 60
    assert sorted(mail.to for mail in inbox.received) == sorted(addresses)


async def test_doctor_sends_a_test_mail_and_shows_the_dialogue() -> None:
    """Findings on stdout, as lines or JSON, the dialogue on stderr; exit 0 without a fault."""
    async with Inbox(keep_bodies=True) as inbox:
        environ = {"NOTIFIER_SMTP_URL": inbox.url, "NOTIFIER_MAIL_FROM": "fly@example.org"}
        code, out, err = await run_async("doctor", "--json", "--send-to", "me@example.com", environ=environ)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0, out
    assert {"clock", "SMTP", "broker"} <= {each["topic"] for each in found}
    assert [mail.to for mail in inbox.received] == ["me@example.com"]
    assert [line.split()[:2] for line in err.splitlines()[1:]] == [
        ["MAIL", "250"],
        ["RCPT", "250"],
        ["DATA", "354"],
        ["DOT", "250"],
    ]


async def test_doctor_fails_where_there_is_a_fault() -> None:
    """Exit 1, the fault marked and followed by its remedy; a wrong address of --send-to is bad usage."""
    environ = {"NOTIFIER_SMTP_URL": "smtp+plain://127.0.0.1:9", "NOTIFIER_MAIL_FROM": "fly@example.org"}
    code, out, _ = await run_async("doctor", environ=environ)
    lines = out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("✗ SMTP")]
    assert code == 1
    assert "NOTIFIER_SMTP_URL" in lines[at + 1]
    assert (await run_async("doctor", "--send-to", "nobody", environ=environ))[0] == 2


async def test_the_topology_is_looked_at_and_made(rabbit: Rabbit) -> None:
    """`check` makes nothing and exits 1 while something is missing, `declare` makes it; exit 4 without a broker."""
    code, out, _ = await run_async("topology", "check", environ=rabbit.environ)
    assert (code, f"{rabbit.queue}: missing" in out.splitlines()) == (1, True)
    code, out, _ = await run_async("topology", "declare", environ=rabbit.environ)
    assert code == 0
    assert {line.partition(": ")[2] for line in out.splitlines()} == {"as wanted"}
    assert (await run_async("topology", "check", environ=rabbit.environ))[:2] == (0, out)
    away = {**rabbit.environ, "NOTIFIER_AMQP_URL": "amqp://127.0.0.1:9/"}
    assert (await run_async("topology", "check", environ=away))[0] == 4
    assert (await run_async("topology", "check", environ={}))[0] == 2


async def test_mails_are_listed_shown_and_decided_about(environ: dict[str, str]) -> None:
    """A line each with its id; one with its history and text; what cannot be done is said, with exit 1."""
    async with Inbox(reply=lambda phase, _: "550 5.1.1 no such user" if phase == "RCPT" else None) as inbox:
        async with service({**environ, "NOTIFIER_SMTP_URL": inbox.url}) as (_, client):
            order = partial(run_async, environ=client)
            message = json.dumps(request(1, send_at="2126-01-01T00:00:00Z"))
            assert (await order("send", "-", stdin=message.encode()))[0] == 0
            assert (await order("send", "-", "--wait", stdin=json.dumps(request(2)).encode()))[0] == 1
            code, out, _ = await order("mails", "list", "--status", "failed", "--json")
            (failed,) = json.loads(out)["mails"]
            code, out, _ = await order("mails", "list")
            ids = [line.split()[0] for line in out.splitlines()]
            assert (code, ids[0], len(ids)) == (0, failed["id"], 2)
            code, out, _ = await order("mails", "show", failed["id"])
            assert "550 5.1.1 no such user" in out
            assert "Subject: Number 2" in out
            assert (await order("mails", "cancel", ids[1]))[0] == 0
            code, _, err = await order("mails", "retry", ids[1])
            assert (code, "conflict: the mail is cancelled" in err) == (1, True)
            assert (await order("mails", "retry", failed["id"]))[0] == 0
            assert (await order("mails", "resolve", failed["id"], "--as", "lost"))[0] == 2


async def test_sending_is_paused_and_resumed(environ: dict[str, str]) -> None:
    """What holds now is said on stderr, and is data with --json."""
    async with service(environ) as (_, client):
        assert (await run_async("pause", environ=client))[::2] == (0, "sending is paused\n")
        assert json.loads((await run_async("resume", "--json", environ=client))[1]) == {"paused": False}
