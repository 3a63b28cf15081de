"""Stages from the broker: intake of bookings, end to end, and the latency of a steady load."""

import time
from collections.abc import Iterable
from typing import Any

from support.benchmarks import workload
from support.benchmarks.children import child
from support.benchmarks.measures import percentile
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import Names, counted, served
from support.benchmarks.sending import BOOKING_EVENTS, REQUEST_EVENTS, SENT_EVENTS, check, warm_up
from support.benchmarks.stage import Place, Stage
from support.benchmarks.versions import Version

from notifier import clock
from notifier.demo.publisher import publish
from notifier.settings import AmqpSettings

PREFETCH = int(AmqpSettings.model_fields["prefetch"].default)
BARE_FACTOR = 3
RATES = (100, 20)
"""Mails per second of the steady loads."""


async def bookings(place: Place, version: Version) -> Values:
    """Take in bookings that wait in the queue, without sending; it counts when their events are published too."""
    count = place.sizes.bookings
    async with served(version, place.broker, place.folder) as subject:
        service, _, results, _ = subject
        await warm_up(subject)
        await service.command("send.pause")
        with service.frozen():
            await service.give(workload.bookings(count, "b", clock.now()))
            before = service.usage()
            began = time.time()
        ended = await results.further(BOOKING_EVENTS * count)
        used = service.usage().since(before)
    return {
        "rate": count / (ended - began),
        "cpu": 1e6 * used.cpu / count,
        "written": used.written / count / 1000,
    }


async def bare_bookings(place: Place) -> Values:
    """Consume and acknowledge messages of the same kind with aiormq; so many more of them that it takes long enough."""
    assert place.broker
    count, names = BARE_FACTOR * place.sizes.bookings, Names.new()
    async with counted(place.broker, names):
        messages = workload.bookings(count, "b", clock.now())
        await publish(place.broker, names.exchange, messages, 0, lambda _id, _at: None)
        async with child("bare_amqp", place.broker, names.queue, str(count), str(PREFETCH)) as consumer:
            answer = await consumer.ask("go")
    return {"rate": count / answer["seconds"], "cpu": 1e6 * answer["cpu"] / count}


async def end_to_end(place: Place, version: Version) -> Values:
    """Publish, send and report: notifications, and then bookings, whose confirmations are HTML."""
    return {
        **await _through(place, version, "n", workload.requests(place.sizes.mails, "n"), REQUEST_EVENTS),
        **await _through(
            place, version, "b", workload.bookings(place.sizes.confirmations, "b", clock.now()), BOOKING_EVENTS
        ),
    }


async def _through(
    place: Place, version: Version, name: str, messages: Iterable[dict[str, Any]], events: int
) -> Values:
    folder = place.folder / name
    folder.mkdir()
    async with served(version, place.broker, folder) as subject:
        service, sink, results, _ = subject
        await warm_up(subject)
        with service.frozen():
            count = len(await service.give(messages))
            before, began = service.usage(), time.time()
        report = await sink.ask(str(count))
        ended = await results.further((events + SENT_EVENTS) * count)
        used = service.usage().since(before)
    check(report, count)
    return {f"rate {name}": count / (ended - began), f"cpu {name}": 1e6 * used.cpu / count}


async def steady(place: Place, version: Version) -> Values:
    """Send notifications that arrive at a steady rate."""
    found: dict[str, float] = {}
    for rate in RATES:
        folder = place.folder / str(rate)
        folder.mkdir()
        async with served(version, place.broker, folder) as subject:
            service, sink, results, _ = subject
            await warm_up(subject)
            count = round(rate * place.sizes.seconds)
            before = service.usage()
            published = await service.give(workload.requests(count, "s"), rate)
            report = await sink.ask(str(count))
            await results.further((REQUEST_EVENTS + SENT_EVENTS) * count)
            used = service.usage().since(before)
        late = [1000 * (at - published[event]) for event, at in report["times"]]
        found |= {
            f"p50 {rate}": percentile(late, 50),
            f"p99 {rate}": percentile(late, 99),
            f"cpu {rate}": 1000 * used.cpu / count,
            f"written {rate}": used.written / count / 1000,
        }
    return found


STAGES = (
    Stage(
        "intake",
        "take in bookings of 2 mails and 2 events each, durably; bare: aiormq consumes the same messages",
        (
            Figure("rate", "bookings stored and reported", "messages/s", "more", Goal("bare", 0.17)),
            Figure("cpu", "processor time of the service", "µs/message", "less"),
            Figure("written", "written to disk", "kB/message", "less"),
        ),
        bookings,
        bare_bookings,
        needs_broker=True,
    ),
    Stage(
        "through",
        "from a full queue of the broker to accepted mails and published events",
        (
            Figure("rate n", "notifications end to end", "mails/s", "more", Goal("against", 2.5)),
            Figure("cpu n", "processor time of the service", "µs/mail", "less"),
            Figure("rate b", "bookings end to end, HTML", "mails/s", "more"),
            Figure("cpu b", "processor time of the service", "µs/mail", "less"),
        ),
        end_to_end,
        needs_broker=True,
    ),
    Stage(
        "steady",
        "notifications at 100 and at 20 a second, from publish to accepted",
        (
            Figure("p50 100", "latency at 100/s, p50", "ms", "less", Goal("value", 6)),
            Figure("p99 100", "latency at 100/s, p99", "ms", "less", Goal("value", 15)),
            Figure("cpu 100", "processor time at 100/s", "ms/mail", "less", Goal("value", 1.2)),
            Figure("written 100", "written to disk at 100/s", "kB/mail", "less"),
            Figure("p50 20", "latency at 20/s, p50", "ms", "less"),
            Figure("p99 20", "latency at 20/s, p99", "ms", "less"),
            Figure("cpu 20", "processor time at 20/s", "ms/mail", "less"),
            Figure("written 20", "written to disk at 20/s", "kB/mail", "less"),
        ),
        steady,
    ),
)
