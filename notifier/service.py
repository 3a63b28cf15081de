"""The composition root: opens the store and the gateways, starts the actors, and stops them in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from pamqp.commands import Basic
from websockets.asyncio.server import Server

from notifier import __version__, clock
from notifier.actors.broadcaster import Hub, broadcast
from notifier.actors.consumer import MessageStore, consume
from notifier.actors.delivering import Account, Compose, Limits
from notifier.actors.purger import RetentionPolicy, purge
from notifier.actors.recording import LAST_RECORDS
from notifier.actors.reporter import READER, report
from notifier.actors.sender import Sender
from notifier.composing.message import compose
from notifier.composing.templates import MailTemplates
from notifier.domain import airports
from notifier.domain.claims import Quota
from notifier.domain.events import StoredEvent
from notifier.domain.mail import Mail, RetryPolicy
from notifier.domain.messages import Message
from notifier.domain.planning import PlanningPolicy
from notifier.errors import StoreUnusable
from notifier.feed.auth import Tokens
from notifier.feed.commands import commands
from notifier.feed.pages import Pages
from notifier.feed.server import serve_feed
from notifier.feed.session import Feed
from notifier.feed.share import Share
from notifier.gateways import rabbitmq
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.outgoing import Outgoing
from notifier.gateways.properties import MAX_SHORT_STRING, truncated
from notifier.gateways.publisher import Publisher
from notifier.gateways.smtp_pool import SmtpPool, smtp_pools
from notifier.gateways.topology import EVENTS
from notifier.observability import loop_lag
from notifier.observability.counters import Metrics
from notifier.observability.gauges import gauges
from notifier.observability.mail_log import MailLog
from notifier.observability.status import ServiceStatus
from notifier.sending.circuit_breaker import CircuitBreaker
from notifier.sending.dialogue import ComposedMail
from notifier.sending.pacing import BurstGuard
from notifier.sending.transport_health import TransportHealth
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.store import Added, Store
from notifier.supervisor import Actor, Supervisor

log = structlog.get_logger(__name__)

INTAKE_GRACE = 5.0
"""Seconds that a shutdown allows for the transaction and the dead letter under way."""
RECORD_GRACE = LAST_RECORDS + 10.0
"""Seconds that a shutdown allows for recording the last outcomes."""
REPORT_GRACE = 5.0
"""Seconds that a shutdown allows for the last events to reach the broker and the feed's clients."""
REPLIES = 7
"""The most replies of an SMTP server that a delivery can wait for, apart from the one after the message."""
SCRAPE_TIMEOUT = 3.0
"""Seconds that a scrape waits for a busy store; the other metrics are needed most when the store is slow."""


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Server]:
    """Run the service while the block lasts, and shut it down gracefully at the end.

    Raises StoreUnusable or Misconfigured if it cannot start. It also starts if the broker or the SMTP servers
    are unavailable.
    """
    wording = MailTemplates(settings.mail.templates)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stack.enter_context(loop_lag.measured(metrics.lagged))
        pools = smtp_pools(settings.smtp, settings.mail.sender.domain, metrics.answered)
        store = await SqliteStore.open(settings.store.path, metrics.transacted, metrics.took)
        stack.push_async_callback(store.close)
        for pool in pools:
            stack.push_async_callback(pool.close)
        accounts = [_account(pool, settings) for pool in pools]
        broker = BrokerStatus() if settings.amqp.url else None
        publisher = Publisher(settings.amqp)
        stack.push_async_callback(publisher.close)
        policy = PlanningPolicy(
            settings.mail.sender.domain, settings.mail.remind_before, settings.store.dedup_retention, wording.subject
        )

        async def take(messages: Sequence[Message]) -> list[Added]:
            return await store.add(messages, policy, clock.now())

        def write(mail: Mail) -> bytes:
            return compose(mail, wording, settings.mail.sender, settings.mail.reply_to)

        def write_for_smtp(mail: Mail) -> ComposedMail:
            return ComposedMail(settings.mail.sender.address, mail.to, write(mail))

        supervisor = Supervisor()
        figures = ServiceStatus(store, broker, [account.health for account in accounts], supervisor)
        hub = Hub(store.id, (await store.span()).head)
        scrape = partial(_scrape, metrics, figures, hub, settings.mail.rate)
        tokens = Tokens(settings.feed, metrics.refused_token)
        pages = Pages(settings.feed, tokens, figures.readiness, scrape)
        orders = commands(store, take, write, pages.offer)
        feed = Feed(store, hub, figures.stats, orders, f"notifier/{__version__}", metrics.dropped, tokens, Share())

        server = await stack.enter_async_context(serve_feed(settings.feed, feed, pages))

        stack.push_async_callback(_stop, supervisor, _longest_dialogue(settings))
        observers = (figures.observe, metrics.observe, MailLog(settings.log).observe)
        supervisor.start("broadcaster", partial(broadcast, store, hub, observers))
        supervisor.start("sender", _sending(store, accounts, settings, write_for_smtp))
        supervisor.start("purger", partial(_purge, store, settings))
        if broker:
            connect = partial(rabbitmq.consume, settings.amqp, publisher, broker)
            supervisor.start("reporter", partial(report, store, partial(_publish, publisher)))
            supervisor.start(
                "consumer", partial(consume, connect, MessageStore(store.check, take), metrics.dead_lettered)
            )
        else:
            log.info("no NOTIFIER_AMQP_URL: messages are taken from the feed's submit alone")
        # In a thread, because the service is ready without them.
        asyncio.get_running_loop().run_in_executor(None, _load, wording)
        yield server


def _load(wording: MailTemplates) -> None:
    """Load what the first booking and the first mail would otherwise wait for."""
    airports.load()
    wording.load()


async def _scrape(metrics: Metrics, figures: ServiceStatus, hub: Hub, rate: float) -> bytes:
    """Return the page of metrics; those that come from the store are missing if it does not answer soon."""
    try:
        async with asyncio.timeout(SCRAPE_TIMEOUT):
            stats = await figures.stats()
    except (StoreUnusable, TimeoutError):
        stats = None
    return metrics.page(gauges(__version__, figures.readiness(), stats, rate, hub.subscribers))


def _account(pool: SmtpPool, settings: Settings) -> Account:
    quota = settings.mail.quota
    account_quota = Quota(pool.server.account, quota) if quota else None
    return Account(pool, TransportHealth(pool.name, CircuitBreaker(settings.smtp.pauses), account_quota))


def _longest_dialogue(settings: Settings) -> float:
    """Return the seconds that a delivery can take by the time limits for SMTP servers."""
    smtp = settings.smtp
    return REPLIES * smtp.timeout.total_seconds() + smtp.dot_timeout.total_seconds()


async def _stop(supervisor: Supervisor, longest_dialogue: float) -> None:
    """Take in and start nothing new, finish what is under way, and then report it.

    Each step has a time limit. Only dialogues with SMTP servers may take longer than some seconds, because one that
    is cut off after its final dot sends its mail twice.
    """
    await asyncio.gather(
        supervisor.stop("purger", grace=0),
        supervisor.stop("consumer", grace=INTAKE_GRACE),
        supervisor.stop("sender", grace=longest_dialogue + RECORD_GRACE),
    )
    await supervisor.stop("reporter", "broadcaster", grace=REPORT_GRACE)


def _sending(store: Store, accounts: Sequence[Account], settings: Settings, write: Compose) -> Actor:
    """Return the sending actor; all its runs share one burst guard."""
    mail = settings.mail
    retry = RetryPolicy(mail.retry_delays, mail.give_up_after, hold_uncertain=mail.on_uncertain == "hold")
    limits = Limits(settings.smtp.connections, mail.rate, retry)
    burst_guard = BurstGuard(mail.rate)

    async def send(running: Callable[[], None], stop: asyncio.Event) -> None:
        await Sender(store, accounts, limits, burst_guard, write).run(clock.ticks(mail.cron), running, stop)

    return send


async def _purge(store: Store, settings: Settings, running: Callable[[], None], stop: asyncio.Event) -> None:
    kept = settings.store
    retention = RetentionPolicy(kept.retention, kept.dedup_retention, READER if settings.amqp.url else None)
    await purge(store, retention, clock.ticks(kept.purge_cron), running, stop)


async def _publish(publisher: Publisher, events: Sequence[StoredEvent]) -> int:
    return await publisher.publish([_result(event) for event in events])


def _result(event: StoredEvent) -> Outgoing:
    """Return an event as a message for the exchange `notifier.events`."""
    properties = Basic.Properties(
        content_type="application/cloudevents+json",
        message_id=event.id,
        correlation_id=truncated(event.correlation or event.event, MAX_SHORT_STRING),
        headers={"traceparent": event.traceparent} if event.traceparent else None,
        delivery_mode=2,
    )
    return Outgoing(EVENTS, event.type, event.body, properties)
