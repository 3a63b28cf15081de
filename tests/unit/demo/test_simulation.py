"""A run of the demo on real parts: every booking is accounted for, and nothing is left behind."""

import signal
import time

import aiormq
import pytest

from notifier.demo import simulation
from notifier.demo.broker import PrivateNode
from notifier.demo.command import print_ledger
from notifier.demo.simulation import Load, Run, play, running
from notifier.errors import NotifierError


@pytest.fixture(autouse=True)
def any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the default port to the demo that another test runs as a process."""
    monkeypatch.setattr(simulation, "_port", lambda: 0)


async def test_without_a_broker_bookings_are_submitted_to_the_feed() -> None:
    """The ledger balances, the service has ended gracefully, and the display was called once more after that."""
    shown: list[int | None] = []
    async with running(None, own_broker=True, send_rate=0) as run:
        await play(run, Load(5, 0, 0), lambda run: shown.append(run.exit_code))
    assert run.ledger().balances
    assert run.ledger().lines()[0] == "published 5 = delivered 5 + dead-lettered 0 + pending 0, duplicates 0"
    assert (shown[0], shown[-1], shown.count(0)) == (None, 0, 1)


async def test_a_run_on_a_shared_broker_leaves_nothing_there(
    demo_node: PrivateNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead letter is an outcome like a mail, and the exchange and the queue of the demo are deleted at the end."""
    monkeypatch.setattr(simulation, "PROGRESS_TIMEOUT", 5.0)
    connection = await aiormq.connect(demo_node.url)
    channel = await connection.channel()
    async with running(demo_node.url, own_broker=False, send_rate=0) as run:
        run.published["bad"] = time.time()
        properties = aiormq.spec.Basic.Properties(message_id="bad")
        await channel.basic_publish(b"{", exchange=run.exchange, routing_key="booking.raw", properties=properties)
        await play(run, Load(5, 0, 0), lambda _: None)
    assert run.ledger().lines()[0] == "published 6 = delivered 5 + dead-lettered 1 + pending 0, duplicates 0"
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await channel.queue_declare("notifier.demo.requests", passive=True)
    channel = await connection.channel()
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await channel.exchange_declare(run.exchange, passive=True)
    await connection.close()


async def test_a_service_that_is_killed_ends_the_run(demo_node: PrivateNode) -> None:
    """Nobody waits for mails that are never sent, and the exit code shows that the service has failed."""

    def kill(run: Run) -> None:
        if run.published and run.service.process.returncode is None:
            run.service.process.kill()

    async with running(demo_node.url, own_broker=True, send_rate=1) as run:
        await play(run, Load(None, 5, 1), kill)
    assert run.exit_code == -signal.SIGKILL
    with pytest.raises(NotifierError, match=r"^the service ended with exit code -9:\n"):
        print_ledger(run)
