"""Exchanges, queues and bindings: what the service needs on a broker, and what it finds there."""

from collections.abc import Iterable
from typing import Any

import structlog
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from notifier.errors import Unreachable
from notifier.gateways.connection import LOST, open_channel, words
from notifier.settings import AmqpSettings

log = structlog.get_logger(__name__)

DEAD = "notifier.dead"
EVENTS = "notifier.events"
BINDINGS = ("booking.#", "notification.#")


async def declare(connection: AbstractConnection, settings: AmqpSettings) -> None:
    """Make sure that our exchanges, queues and bindings exist; what exists with other arguments is used as it is."""
    channel = await open_channel(connection, confirms=False)
    steps: list[tuple[str, Any]] = [
        (name, lambda ch, name=name, kind=kind: ch.exchange_declare(name, exchange_type=kind, durable=True))
        for name, kind in ((settings.exchange, "topic"), (DEAD, "fanout"), (EVENTS, "topic"))
    ]
    arguments = {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}
    steps.append((settings.queue, lambda ch: ch.queue_declare(settings.queue, durable=True, arguments=arguments)))
    steps.append((DEAD, lambda ch: ch.queue_declare(DEAD, durable=True)))
    steps.append((DEAD, lambda ch: ch.queue_bind(DEAD, DEAD)))
    steps.extend(
        (settings.queue, lambda ch, key=key: ch.queue_bind(settings.queue, settings.exchange, routing_key=key))
        for key in BINDINGS
    )
    for name, step in steps:
        try:
            await step(channel)
        except ChannelPreconditionFailed as error:
            log.warning("exists with other arguments and is used as it is", name=name, broker=words(error))
            channel = await open_channel(connection, confirms=False)
        except LOST as error:
            raise Unreachable(f"{name} cannot be declared: {words(error)}") from error
    await channel.close()


async def existing(connection: AbstractConnection, queues: Iterable[str]) -> list[str]:
    """Leave out extra queues that do not exist (yet): they must not keep us from our own."""
    found = []
    for queue in queues:
        channel = await open_channel(connection, confirms=False)
        try:
            await channel.queue_declare(queue, passive=True)
            found.append(queue)
            await channel.close()
        except ChannelNotFoundEntity:
            log.warning("queue does not exist and is not consumed", queue=queue)
        except LOST as error:
            raise Unreachable(f"{queue}: {words(error)}") from error
    return found
