"""Dead letters are published in a separate task and held while the broker rejects them: they delay no valid message."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pamqp.commands import Basic
from support.intake import Given, Script, bad, consuming, given, run
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, TRACE

from notifier.actors import dead_letters
from notifier.demo.node import free_ports
from notifier.domain.messages import Origin
from notifier.gateways import watchdog
from notifier.gateways.consumer_session import ConsumerSession
from notifier.gateways.topology import DEAD
from notifier.storage.sqlite.store import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Yield an empty store."""
    store = await SqliteStore.open(tmp_path / "n.db")
    yield store
    await store.close()


async def test_rejected_dead_letters_delay_no_valid_message() -> None:
    """While the broker rejects letters, valid messages beside and after them are stored and acknowledged."""
    bad = Given(b"{", Origin(NOW, message_id="bad"))
    script = Script([bad, given(1)], [given(2)], letters_after="m2")
    assert [each[:2] for each in await run(script)] == [
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        ("not_json", "bad"),
        ("acknowledged", ["bad"]),
    ]


async def test_a_dead_lettered_message_is_one_line_in_the_log(logged_lines: list[Any]) -> None:
    """The line has the code, the detail, the id and the trace context."""
    await run(Script([Given(b"{", Origin(NOW, message_id="bad", traceparent=TRACE)), given(1)]))
    (line,) = logged_lines
    assert (line["event"], line["code"], line["message"]) == ("message dead-lettered", "not_json", "bad")
    assert line["traceparent"] == TRACE


async def test_held_dead_letters_are_delivered_again_after_a_stop(
    rabbit: Rabbit, store: SqliteStore, logged_lines: list[Any]
) -> None:
    """Dead letters that are still held when the service stops are delivered first in the next session."""
    await rabbit.prepare()
    dead = await rabbit.listen(DEAD, "fanout")
    await rabbit.publish(b"{", message_id="first")
    (unused,) = free_ports(1)
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/") as task:
        async with asyncio.timeout(PATIENCE):
            while not logged_lines:  # noqa: ASYNC110 - a log sends no signal
                await asyncio.sleep(0.01)
        assert not task.done()
    await rabbit.publish(b"{", message_id="second")
    async with consuming(rabbit, store), asyncio.timeout(PATIENCE):
        letter = await dead.get()
    assert letter.header.properties.message_id == "first"


async def test_a_rejected_letter_is_held_and_published_later(logged_lines: list[Any]) -> None:
    """The letter is tried again with back-off in the same session, and each change is logged once."""
    script = Script([bad(1), given(1)], [given(2)])
    tries = iter(["full", "full", "full"])
    script.refuses = lambda _: next(tries, None)
    done = await run(script)
    assert [each[:2] for each in done] == [
        ("stored", ["r1"]),
        ("acknowledged", ["m1"]),
        ("stored", ["r2"]),
        ("acknowledged", ["m2"]),
        *[("waited", delay) for delay in dead_letters.RETRY_DELAYS[:3]],
        ("not_json", "bad1"),
        ("acknowledged", ["bad1"]),
    ]
    assert (1, "full", True) in script.held
    assert script.held[-1] == (0, None, True)
    assert [line["event"] for line in logged_lines] == [
        "dead letters are held because the broker rejects them",
        "message dead-lettered",
        "the broker accepts dead letters again",
    ]


async def test_a_letter_that_is_always_rejected_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected letter no longer shares a confirmation, so all others are published although it comes first."""
    script = Script([bad(number) for number in range(200)])
    script.closes = "bad0"

    def published() -> list[str]:
        return [each[1] for each in script.done if each[0] == "not_json"]

    async def wait(_: float) -> None:
        await asyncio.sleep(0)
        if len(published()) == 199:
            script.stop.set()

    monkeypatch.setattr(script, "wait", wait)
    async with asyncio.timeout(PATIENCE):
        await run(script)
    assert sorted(published()) == sorted(f"bad{number}" for number in range(1, 200))


async def test_letters_share_a_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred letters are published in batches within the limits of count and bytes."""
    script = Script([bad(number) for number in range(200)])
    await run(script)
    assert max(script.batches_of_letters) == dead_letters.BATCH_SIZE
    monkeypatch.setattr(dead_letters, "BATCH_BYTES", 2 * len(bad(1).body))
    script = Script([bad(number) for number in range(5)])
    await run(script)
    assert script.batches_of_letters == [2, 2, 1]


async def test_too_many_held_letters_make_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_HELD deliveries, held letters count against the prefetch again."""
    for limit, fits in (("MAX_HELD", 3), ("MAX_HELD_BYTES", 3)):
        monkeypatch.setattr(dead_letters, limit, fits)
        script = Script([bad(1), bad(2), bad(3)], [bad(4)], stop_after=1)
        script.refuses = lambda _: "full"
        await run(script)
        assert {make_room for count, _, make_room in script.held if count <= 3} == {True}
        assert {make_room for count, _, make_room in script.held if count == 4} == {False}
        monkeypatch.undo()


async def test_headers_count_as_bodies_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of bytes include headers, which can be far larger than the body."""
    headed = [bad(number)._replace(wire=b"h" * 1000) for number in range(4)]
    monkeypatch.setattr(dead_letters, "MAX_HELD_BYTES", 3500)
    script = Script(headed[:3], headed[3:], stop_after=1)
    script.refuses = lambda _: "full"
    await run(script)
    assert {(count, make_room) for count, _, make_room in script.held} == {(3, True), (4, False)}
    monkeypatch.setattr(dead_letters, "BATCH_BYTES", 2500)
    script = Script(headed, [bad(5)])
    await run(script)
    assert script.batches_of_letters[:2] == [2, 2]
    assert script.held[-1] == (0, None, True)


async def test_a_held_message_that_is_delivered_again_is_one_letter(logged_lines: list[Any]) -> None:
    """When the broker closes a channel it requeues its deliveries; only the later delivery makes a letter."""
    first, again = bad(1), bad(1)._replace(origin=Origin(NOW, message_id="again"))
    script = Script([first, bad(2)], [again])
    script.refuses = lambda _: None if script.returned else "full"

    async def wait(seconds: float) -> None:
        script.done.append(("waited", seconds))
        script.returned.add("bad1")

    script.wait = wait  # type: ignore[method-assign]
    published = [each[1] for each in await run(script) if each[0] == "not_json"]
    assert sorted(published) == ["again", "bad2"]
    assert script.held[-1] == (0, None, True)
    assert [line["event"] for line in logged_lines if "dead letters" in line["event"]] == [
        "dead letters are held because the broker rejects them",
        "the broker accepts dead letters again",
    ]


async def test_letters_of_a_closed_channel_are_not_held(
    rabbit: Rabbit, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extra queue that is consumed anew repeatedly while letters are held makes one letter per message."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    monkeypatch.setattr(dead_letters, "RETRY_DELAYS", (0.05,))
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    ids = {f"bad{number}" for number in range(3)}
    for id_ in sorted(ids):
        await rabbit.channel.basic_publish(b"{", routing_key=extra, properties=Basic.Properties(message_id=id_))
    (unused,) = free_ports(1)
    sessions: list[ConsumerSession] = []
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/", extra=extra, sessions=sessions) as task:
        (session,) = sessions
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                while session._broker.held.waiting < len(ids):  # noqa: ASYNC110 - a session sends no signal
                    await asyncio.sleep(0.01)
                while session.not_consumed:  # noqa: ASYNC110 - deliveries can come before the call that asks for them ends
                    await asyncio.sleep(0.01)
                (lost,) = [consumer for consumer in session.consumers if consumer.queue == extra]
                await lost.channel.close()
                while session._broker.held.waiting:  # noqa: ASYNC110 - a session sends no signal
                    await asyncio.sleep(0.01)
        assert not task.done()
    left = [await rabbit.channel.basic_get(extra, no_ack=True) for _ in ids]
    assert {message.header.properties.message_id for message in left} == ids
    await rabbit.channel.queue_delete(extra)


async def test_valid_messages_pass_many_held_dead_letters(rabbit: Rabbit, store: SqliteStore) -> None:
    """A valid message behind twice as many invalid ones as the prefetch is stored in the same session."""
    await rabbit.prepare()
    (unused,) = free_ports(1)
    for number in range(20):
        await rabbit.publish(b"{", message_id=f"bad{number}")
    await rabbit.publish(request(1))
    async with consuming(rabbit, store, f"amqp://127.0.0.1:{unused}/", prefetch=10) as task, asyncio.timeout(PATIENCE):
        while not await store.events(0, 10):
            await store.beyond(0)
        assert not task.done()
    assert await rabbit.ready() == 20
