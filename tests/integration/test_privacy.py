"""No log of a service has a secret or an address; every other test checks its own logs by the same rule."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.faults.victim import Victim
from support.parts import changed, events_until, request, result, serving, submit, wait_event
from support.privacy import OPERATOR_TOKEN, PASSWORD, VIEWER_TOKEN, leaks
from support.rabbit import Rabbit

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.feed.client import FeedClient
from notifier.observability.status import ServiceStatus
from notifier.sending.circuit_breaker import CircuitBreaker
from notifier.sending.transport_health import TransportHealth
from notifier.storage.sqlite.store import SqliteStore
from notifier.supervisor import Condition, Supervisor

USER = "postmaster@example.net"


@pytest.mark.parametrize(
    "line",
    [
        {"event": "x", "reason": "550 <asha@example.com> is unknown"},
        b"2026-11-24T10:00:00Z [info] mail.sent to=o'brien@example.com",
        f"the token is {VIEWER_TOKEN}",
        {"trace": f"login with {PASSWORD} failed"},
        "no connection to amqp://guest:guest@localhost/",
    ],
)
def test_a_leak_is_found(line: Any) -> None:
    """Addresses, tokens, passwords and URLs with credentials are found in fields, bytes and text."""
    assert leaks([line]) == [line.decode() if isinstance(line, bytes) else str(line)]


def test_what_is_masked_is_no_leak() -> None:
    """They are masked in text and in JSON."""
    masked = "a•••@example.com"
    assert leaks([{"to": masked}, json.dumps({"to": masked}), "amqp://guest:***@localhost/", "smtp://host:587"]) == []


def answer(phase: str, address: str) -> str | None:
    """Reject a recipient with the address in the text, as servers do."""
    if phase == "RCPT" and address.startswith("p1"):
        return f"550 5.1.1 <{address}>: no such user {address}"
    if phase == "RCPT" and address.startswith("p2"):
        return f"450 4.2.1 {address.upper()} is over its quota"
    if phase == "DATA" and address.startswith("p3"):
        return f"421 4.3.2 {address} closes us down"
    return None


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_service_in_trouble_tells_no_secret(environ: dict[str, str], rabbit: Rabbit, form: str) -> None:
    """Wrong logins, rejections that repeat the address and invalid addresses are masked at every log level."""
    async with Inbox(credentials=(USER, PASSWORD), reply=answer) as inbox:
        here, user = f"127.0.0.1:{inbox.port}", USER.replace("@", "%40")
        environ |= {
            "NOTIFIER_SMTP_URL": f"smtp+plain://{user}:s3cret@{here},smtp+plain://{user}:{PASSWORD}@{here}",
            "NOTIFIER_AMQP_URL": re.sub("//.*@", f"//{user}:{PASSWORD}@", rabbit.url),
            "NOTIFIER_VIEWER_TOKEN": VIEWER_TOKEN,
            "NOTIFIER_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "NOTIFIER_LOG_LEVEL": "DEBUG",
            "NOTIFIER_LOG_FORMAT": form,
        }
        async with Victim.running(environ) as victim:
            feed = victim.feed.model_copy(update={"operator_token": OPERATOR_TOKEN})
            async with FeedClient.connect(feed) as client:
                await submit(client, request(1, to=["p1@example.com", "p9@exam ple.com"]))
                await wait_event(client, "mail.failed", attempt=1)
                await submit(client, request(2))
                await wait_event(client, "mail.retrying")
                await submit(client, request(3))
                await submit(client, request(4))
                await wait_event(client, "mail.sent", event="r4")
            for words in ("SMTP account paused", "cannot go on"):
                await victim.wait_line(lambda line, words=words: words in line["event"])  # type: ignore[misc]
            assert await victim.terminate() == 0
    text = b"".join(victim.raw).decode()
    assert not leaks(victim.raw)
    for found in (
        "535",
        "421",
        "no such user",
        "mail.retrying",
        "mail.sent",
        "•••" if form == "console" else "\\u2022",
    ):
        assert found in text


async def test_json_logs_are_one_object_a_line_with_the_ids(environ: dict[str, str]) -> None:
    """Each change of a mail is one line, with the mail and the message that caused it; nothing else is on stderr."""
    async with Victim.running({**environ, "NOTIFIER_LOG_FORMAT": "json"}) as victim:
        async with FeedClient.connect(victim.feed) as client:
            await submit(client, request(1))
            sent = await wait_event(client, "mail.sent")
        assert await victim.terminate() == 0
    lines = [json.loads(line) for line in victim.raw]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    about = [line for line in lines if line.get("mail") == sent["id"]]
    assert [line["event"] for line in about] == ["mail.pending", "mail.sending", "mail.sent"]
    assert {(line["message"], line["to"]) for line in about} == {("r1", "p•••@example.com")}
    assert about[-1]["code"] == 250


async def test_other_addresses_in_a_servers_words_are_masked(environ: dict[str, str]) -> None:
    """The recipients of an alias are shown to no watcher, in no list, and in no result."""
    words = "550 5.1.1 <real.name@example.net> (expanded from p1@example.com, for team@example.net) is unknown"
    async with Inbox(reply=lambda phase, _: words if phase == "RCPT" else None) as inbox:
        async with serving(changed(environ, SMTP_URL=inbox.url)) as feed, FeedClient.connect(feed) as client:
            await client.command("submit", {"message": request(1)})
            events = await events_until(client, "mail.failed")
            listed = await result(client, await client.command("mail.list", {}))
            shown = await result(client, await client.command("mail.show", {"id": listed["mails"][0]["id"]}))
    assert listed["mails"][0]["smtp"]["text"] == (
        "5.1.1 <r•••@example.net> (expanded from p•••@example.com, for t•••@example.net) is unknown"
    )
    found = json.dumps([events, listed, shown])
    assert "real.name" not in found
    assert "team" not in found


async def test_addresses_in_the_reason_of_a_pause_or_a_failure_are_masked(tmp_path: Path) -> None:
    """Servers name the account that cannot log in, and libraries quote whatever they were given."""
    breaker = CircuitBreaker([timedelta(minutes=1)])
    breaker.begin_probe()
    breaker.fault("AUTH: 535 5.7.8 bad password for our.account@example.org", 0, clock.now())
    health = TransportHealth("mail.example.org:587", breaker)
    supervisor = Supervisor()
    supervisor.conditions["sender"] = Condition("restarting", clock.now(), "no mailbox asha@example.com")
    store = await SqliteStore.open(tmp_path / "n.db")
    figures = ServiceStatus(store, None, [health], supervisor)
    readiness = figures.readiness()
    stats = await figures.stats()
    await store.close()
    assert readiness.smtp == stats.smtp
    assert readiness.smtp[0].reason == "AUTH: 535 5.7.8 bad password for o•••@example.org"
    assert readiness.actors["sender"].reason == "no mailbox a•••@example.com"
