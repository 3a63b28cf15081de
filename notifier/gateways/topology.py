"""Exchanges, queues and bindings: what the service needs on a broker, and what it finds there."""

from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from notifier.errors import Unreachable
from notifier.gateways.connection import LOST, open_channel, words
from notifier.settings import AmqpSettings

log = structlog.get_logger(__name__)

DEAD = "notifier.dead"
EVENTS = "notifier.events"
BINDINGS = ("booking.#", "notification.#")


class State(StrEnum):
    """How an exchange or queue is on the broker."""

    AS_WANTED = "as wanted"
    MISSING = "missing"
    OTHER = "exists with other arguments and is used as it is"


_Step = Callable[[AbstractChannel], Awaitable[Any]]


class _Part(NamedTuple):
    """An exchange or a queue; `look` fails where it is missing, `declare` where it is another."""

    name: str
    look: _Step
    declare: _Step


def _exchange(name: str, kind: str) -> _Part:
    return _Part(
        name,
        lambda channel: channel.exchange_declare(name, passive=True),
        lambda channel: channel.exchange_declare(name, exchange_type=kind, durable=True),
    )


def _queue(name: str, arguments: dict[str, Any]) -> _Part:
    return _Part(
        name,
        lambda channel: channel.queue_declare(name, passive=True),
        lambda channel: channel.queue_declare(name, durable=True, arguments=arguments),
    )


def _binding(queue: str, exchange: str, key: str) -> _Step:
    return lambda channel: channel.queue_bind(queue, exchange, routing_key=key)


def _parts(settings: AmqpSettings) -> list[_Part]:
    return [
        _exchange(settings.exchange, "topic"),
        _exchange(DEAD, "fanout"),
        _exchange(EVENTS, "topic"),
        _queue(settings.queue, {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}),
        _queue(DEAD, {}),
    ]


async def declare(connection: AbstractConnection, settings: AmqpSettings) -> None:
    """Make sure that our exchanges, queues and bindings exist; what exists with other arguments is used as it is."""
    for part in _parts(settings):
        if await _tried(connection, part.name, part.declare) is ChannelPreconditionFailed:
            log.warning(str(State.OTHER), name=part.name)
    bindings = [(DEAD, DEAD, ""), *((settings.queue, settings.exchange, key) for key in BINDINGS)]
    for queue, exchange, key in bindings:
        await _tried(connection, queue, _binding(queue, exchange, key))


async def check(connection: AbstractConnection, settings: AmqpSettings) -> list[tuple[str, State]]:
    """Look, without making anything, whether our exchanges and queues are there and as we want them."""
    found = []
    for part in _parts(settings):
        if await _tried(connection, part.name, part.look):
            found.append((part.name, State.MISSING))
        else:
            other = await _tried(connection, part.name, part.declare)
            found.append((part.name, State.OTHER if other else State.AS_WANTED))
    return found


async def _tried(connection: AbstractConnection, name: str, step: _Step) -> type[Exception] | None:
    """Take a step on a channel of its own, which a refusal closes; gives what kind of refusal it was."""
    channel = await open_channel(connection, confirms=False)
    try:
        await step(channel)
        await channel.close()
    except (ChannelPreconditionFailed, ChannelNotFoundEntity) as error:
        return type(error)
    except LOST as error:
        raise Unreachable(f"{name} cannot be declared: {words(error)}") from error
    return None


async def existing(connection: AbstractConnection, queues: Iterable[str]) -> list[str]:
    """Leave out extra queues that do not exist (yet): they must not keep us from our own."""
    found = []
    for queue in queues:
        if await _tried(connection, queue, _queue(queue, {}).look):
            log.warning("queue does not exist and is not consumed", queue=queue)
        else:
            found.append(queue)
    return found
