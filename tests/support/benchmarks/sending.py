"""Stages that send mail which is already due: plain notifications and HTML confirmations, without and with latency."""

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
from support.benchmarks import workload
from support.benchmarks.children import child
from support.benchmarks.results import Figure, Goal, Values
from support.benchmarks.running import Subject, served
from support.benchmarks.stage import Place, Stage
from support.benchmarks.versions import Version

from notifier import clock
from notifier.composing.message import compose
from notifier.composing.templates import MailTemplates
from notifier.domain.mail import claimed
from notifier.domain.messages import Origin, decode
from notifier.domain.planning import PlanningPolicy
from notifier.settings import NamedAddress, SmtpSettings

CONNECTIONS = 8
"""Connections to the SMTP server, of notifier (its default) and of the bare client."""
ROUND_TRIP = 0.03
"""Seconds that a reply takes in the stages with latency."""
WARM_UP = 40
"""Mails that are sent first, so that all connections are open and every module is loaded."""
REQUEST_EVENTS, BOOKING_EVENTS = 1, 2
"""Events of a message before its mail is sent: one for each mail."""
SENT_EVENTS = 2
"""Events of a mail that is sent: `mail.sending` and `mail.sent`."""


async def notifications(place: Place, version: Version) -> Values:
    """Send notifications that are due."""
    async with served(version, place.broker, place.folder) as subject:
        return await _backlog(subject, workload.requests(place.sizes.mails, "n"), place.sizes.mails, REQUEST_EVENTS)


async def confirmations(place: Place, version: Version) -> Values:
    """Send confirmations that are due."""
    count = place.sizes.confirmations
    async with served(version, place.broker, place.folder) as subject:
        found = await _backlog(subject, workload.bookings(count, "c", clock.now()), count, BOOKING_EVENTS)
    return {**found, "same bytes": found["rate"]}


async def _backlog(subject: Subject, messages: Iterable[Any], count: int, events: int) -> Values:
    """Let mails become a backlog while sending is paused, then send it; it counts when the events are published too."""
    service, sink, results, _ = subject
    await warm_up(subject)
    await service.command("send.pause")
    await service.give(messages)
    await results.further(events * count)
    before, began = service.usage(), time.time()
    await service.command("send.resume")
    report = await sink.ask(str(count))
    ended = max(await results.further(SENT_EVENTS * count), report["times"][-1][1])
    used = service.usage().since(before)
    check(report, count)
    return {
        "rate": count / (ended - began),
        "cpu": 1e6 * used.cpu / count,
        "written": used.written / count / 1000,
    }


async def warm_up(subject: Subject) -> None:
    """Send some mails, so that the connections are open and every module is loaded."""
    service, sink, results, _ = subject
    await service.give(workload.requests(WARM_UP, "warm"))
    await sink.ask(str(WARM_UP))
    await results.further((REQUEST_EVENTS + SENT_EVENTS) * WARM_UP)


def check(report: Mapping[str, Any], count: int) -> None:
    """Raise RuntimeError unless exactly so many different mails were accepted."""
    if not report["accepted"] == report["distinct"] == count:
        raise RuntimeError(f"{report['accepted']} mails were accepted instead of {count} different ones")


async def bare_notifications(place: Place) -> Values:
    """Send ready bytes of a notification with aiosmtplib."""
    return await _bare(place, place.sizes.mails, _notification())


async def bare_confirmations(place: Place) -> Values:
    """Send ready bytes with aiosmtplib: those of a notification, and those of a confirmation."""
    same = await _bare(place, place.sizes.confirmations, _confirmation())
    return {**await _bare(place, place.sizes.mails, _notification()), "same bytes": same["rate"]}


async def _bare(place: Place, mails: int, message: bytes) -> Values:
    file = place.folder / "message.eml"
    file.write_bytes(message)
    async with child("sink") as sink:
        words = (str(sink.ready["port"]), str(CONNECTIONS), str(mails), str(file))
        async with child("bare_smtp", *words) as client:
            answer = await client.ask("go")
            await sink.ask(str(mails))
    return {"rate": mails / answer["seconds"], "cpu": 1e6 * answer["cpu"] / mails}


def _notification() -> bytes:
    return _composed(workload.request(1, "bare"))


def _confirmation() -> bytes:
    return _composed(next(workload.bookings(1, "bare", clock.now())))


def _composed(message: dict[str, Any]) -> bytes:
    """Return the bytes of the first mail of a message."""
    now, wording = clock.now(), MailTemplates()
    policy = PlanningPolicy("example.org", timedelta(hours=3), timedelta(days=7), wording.subject)
    plan = decode(msgspec.json.encode(message), Origin(now)).plan(None, (), policy, now)
    return compose(claimed(plan.added[0], now), wording, NamedAddress("Bench Air", "fly@example.org"))


async def far(place: Place, version: Version) -> Values:
    """Send notifications to a server that is 30 ms away, with and without pipelining."""
    found = {}
    for name, words in (("pipelined", ()), ("stepwise", ("--no-pipelining",))):
        folder = place.folder / name
        folder.mkdir()
        count = place.sizes.slow_mails
        async with served(version, place.broker, folder, str(ROUND_TRIP), *words) as subject:
            service, sink, _, _ = subject
            await service.give(workload.requests(count, "f"))
            report = await sink.ask(str(count))
        check(report, count)
        found[name] = _steady([at for _, at in report["times"]]) / CONNECTIONS
    return found


def _steady(times: list[float]) -> float:
    """Return the rate between the first and the last fifth: connections open one after the other, and end so."""
    first, last = len(times) // 5, len(times) * 4 // 5
    return (last - first) / (times[last] - times[first])


assert SmtpSettings.model_fields["connections"].default == CONNECTIONS

STAGES = (
    Stage(
        "notifications",
        "send plain notifications that are due; bare: aiosmtplib with ready bytes on as many connections",
        (
            Figure("rate", "notifications sent and reported", "mails/s", "more", Goal("bare", 0.45)),
            Figure("cpu", "processor time of the service", "µs/mail", "less", Goal("value", 450)),
            Figure("written", "written to disk", "kB/mail", "less", Goal("value", 12)),
        ),
        notifications,
        bare_notifications,
    ),
    Stage(
        "confirmations",
        "send HTML confirmations that are due; bare: aiosmtplib with the ready bytes of a notification",
        (
            Figure("rate", "confirmations sent and reported", "mails/s", "more", Goal("bare", 0.25)),
            Figure("same bytes", "the same, against ready bytes of a confirmation", "mails/s", "more"),
            Figure("cpu", "processor time of the service", "µs/mail", "less"),
            Figure("written", "written to disk", "kB/mail", "less"),
        ),
        confirmations,
        bare_confirmations,
    ),
    Stage(
        "far",
        "send to a server with 30 ms of round trip, in mails a second and connection",
        (
            Figure("pipelined", "with pipelining offered", "mails/s/conn.", "more", Goal("value", 28)),
            Figure("stepwise", "without", "mails/s/conn.", "more", Goal("value", 7.5)),
        ),
        far,
    ),
)
