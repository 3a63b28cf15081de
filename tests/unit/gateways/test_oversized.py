"""Bodies over the size limit on a real broker: only their beginning is kept, within a budget of memory."""

import asyncio
from hashlib import sha256

import pytest
from support.parts import PATIENCE
from support.rabbit import Rabbit, headers
from support.sessions import channel_of, consuming, delivered

from notifier.domain.messages import MAX_BYTES, decode
from notifier.errors import Refused
from notifier.gateways import consumer_session, oversized
from notifier.gateways.consumer_session import Delivery
from notifier.gateways.topology import DEAD


async def test_the_beginning_of_a_body_over_the_limit_is_kept(rabbit: Rabbit) -> None:
    """The letter can then be published over a slow connection; it has the size and the digest of the whole body."""
    body = bytes(range(256)) * (MAX_BYTES // 256) + b"x"
    dead = await rabbit.listen(DEAD, "fanout")
    async with consuming(rabbit) as session:
        await rabbit.publish(body)
        await rabbit.publish(body[:-1])
        deliveries = sorted(await delivered(session, 2), key=lambda delivery: delivery.tag)
        assert [len(delivery.body) for delivery in deliveries] == [MAX_BYTES, MAX_BYTES]
        assert not session._budget.in_use
        reasons = []
        for delivery in deliveries:
            with pytest.raises(Refused) as refused:
                decode(delivery.body, delivery.origin)
            reasons.append((delivery, refused.value))
        assert [reason.code for _, reason in reasons] == ["too_large", "not_utf8"]
        assert str(len(body)) in reasons[0][1].detail
        assert await session.dead_letter(reasons) == [None, None]
        await session.acknowledge(deliveries)
        async with asyncio.timeout(PATIENCE):
            letters = [await dead.get(), await dead.get()]
    assert [letter.body for letter in letters] == [body[:MAX_BYTES], body[:-1]]
    found = headers(letters[0])
    assert (found["x-notifier-size"], found["x-notifier-sha256"]) == (str(len(body)), sha256(body).hexdigest())
    assert "x-notifier-size" not in headers(letters[1])


async def test_bodies_over_the_limit_are_read_as_fast_as_they_are_truncated(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While two bodies exhaust the memory budget, the third one is not read, whatever the prefetch is."""
    monkeypatch.setattr(oversized, "MAX_OVERSIZED_BYTES", 1_000_000)
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    cuts = asyncio.Semaphore(0)
    truncate = oversized.truncate

    async def cut(body: bytes) -> tuple[bytes, str]:
        await cuts.acquire()
        return await truncate(body)

    monkeypatch.setattr(consumer_session, "truncate", cut)
    async with consuming(rabbit) as session, asyncio.timeout(PATIENCE):
        for n in range(6):
            await rabbit.publish(str(n).encode() * 600_000)
        taken: list[Delivery] = []
        for n in range(5):
            while not session._budget.exhausted:  # noqa: ASYNC110 - a reader that waits sends no signal
                await asyncio.sleep(0.01)
            assert len(session._budget._sizes[channel_of(session, rabbit.queue).number]) == 2, n
            cuts.release()
            taken += await delivered(session, 1)
        cuts.release()
        taken += await delivered(session, 1)
        assert [delivery.body[:1] for delivery in taken] == [b"0", b"1", b"2", b"3", b"4", b"5"]
        assert not session._budget.in_use


async def test_unacknowledged_bodies_do_not_delay_others(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters can be held for hours; large bodies still arrive meanwhile."""
    monkeypatch.setattr(oversized, "MAX_OVERSIZED_BYTES", 1_000_000)
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    async with consuming(rabbit) as session, asyncio.timeout(PATIENCE):
        for size in (MAX_BYTES + 1, 3_000_000, 3_000_000):
            await rabbit.publish(bytes(size))
        await rabbit.publish(b"good")
        assert sorted(len(delivery.body) for delivery in await delivered(session, 4)) == [4, *[MAX_BYTES] * 3]


async def test_a_body_on_a_closed_channel_releases_its_memory(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a channel is closed while a large body arrives on it, the memory of that body is released."""
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        channel = channel_of(session, extra)
        session._budget.reserve(channel.number, 2 * oversized.MAX_OVERSIZED_BYTES)
        await channel.close()
        await rabbit.publish(bytes(MAX_BYTES + 1))
        await rabbit.publish(b"good")
        assert len(await delivered(session, 2)) == 2
        assert not session._budget.in_use
    await rabbit.channel.queue_delete(extra)
