"""The topology: exchanges, queues and bindings that the service needs on a broker, and what it finds there."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, NamedTuple

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from notifier.errors import Unreachable
from notifier.gateways.connection import answered, open_channel
from notifier.settings import DEAD_LETTERS, RESULTS, AmqpSettings

DEAD = DEAD_LETTERS
EVENTS = RESULTS
BINDINGS = ("booking.#", "notification.#")
DELIVERY_LIMIT = 1_000_000
"""Deliveries after which RabbitMQ moves a message of our queue to the dead letters; practically no limit.

The default of RabbitMQ 4 is 20, and every lost connection counts. -1 means no limit in RabbitMQ 4, but 0 in
RabbitMQ 3: the first redelivery would make the message a dead letter.
"""


class TopologyState(StrEnum):
    """How an exchange or queue exists on the broker."""

    AS_WANTED = "as wanted"
    MISSING = "missing"
    OTHER = "exists with other arguments and is used as it is"
    NO_LIMIT = "exists without a delivery limit of its own and is used as it is"
    FORBIDDEN = "exists, may not be declared by this user, and is used as it is"
    UNBOUND = "may not be bound by this user, and is used as it is"


_Call = Callable[[AbstractChannel], Coroutine[Any, Any, Any]]


class _Entity(NamedTuple):
    """An exchange or a queue.

    `look` fails if it does not exist, and `declare` if it exists with other arguments. `earlier` declares
    it as versions before this one did.
    """

    name: str
    look: _Call
    declare: _Call
    earlier: _Call | None = None


def _exchange(name: str, kind: str) -> _Entity:
    return _Entity(
        name,
        lambda channel: channel.exchange_declare(name, passive=True),
        lambda channel: channel.exchange_declare(name, exchange_type=kind, durable=True),
    )


def _queue(name: str, arguments: dict[str, Any], *, limited: bool = False) -> _Entity:
    def declaring(arguments: dict[str, Any]) -> _Call:
        return lambda channel: channel.queue_declare(name, durable=True, arguments=arguments)

    look: _Call = lambda channel: channel.queue_declare(name, passive=True)  # noqa: E731 - one of three alike
    if not limited:
        return _Entity(name, look, declaring(arguments))
    return _Entity(name, look, declaring({**arguments, "x-delivery-limit": DELIVERY_LIMIT}), declaring(arguments))


def _binding(queue: str, exchange: str, key: str) -> _Call:
    return lambda channel: channel.queue_bind(queue, exchange, routing_key=key)


def _without_dead_letters(queue: str) -> _Call:
    """Return a call that removes the bindings that earlier versions made for NOTIFIER_AMQP_EXCHANGE=notifier.dead."""

    async def unbind(channel: AbstractChannel) -> None:
        for key in BINDINGS:
            await channel.queue_unbind(queue, DEAD, routing_key=key)

    return unbind


def _entities(settings: AmqpSettings) -> list[_Entity]:
    return [
        _exchange(settings.exchange, "topic"),
        _exchange(DEAD, "fanout"),
        _exchange(EVENTS, "topic"),
        _queue(settings.queue, {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}, limited=True),
        _queue(DEAD, {}),
    ]


async def declare(connection: AbstractConnection, settings: AmqpSettings) -> list[tuple[str, TopologyState]]:
    """Declare our exchanges, queues and bindings; return those that exist otherwise and are used as they are.

    Raises Unreachable if something is missing and this user may not declare it.
    """
    others: list[tuple[str, TopologyState]] = []
    for entity in _entities(settings):
        state = await _declared(connection, entity)
        if state is not TopologyState.AS_WANTED:
            others.append((entity.name, state))
    # With such a binding each dead letter would come back as a message, for ever. A user who may not remove
    # bindings cannot have made one either.
    await _refused(connection, settings.queue, _without_dead_letters(settings.queue))
    bindings = [(DEAD, DEAD, ""), *((settings.queue, settings.exchange, key) for key in BINDINGS)]
    for queue, exchange, key in bindings:
        if await _refused(connection, queue, _binding(queue, exchange, key)) is ChannelAccessRefused:
            others.append((queue, TopologyState.UNBOUND))
    return list(dict.fromkeys(others))


def remedy(name: str, state: TopologyState) -> str:
    """Return what an operator can do about an exchange or queue that is not as wanted."""
    if state in (TopologyState.FORBIDDEN, TopologyState.UNBOUND):
        return "declare the topology once as a user who may configure it: docs/operations.md has the permissions"
    if state is TopologyState.NO_LIMIT:
        policy = (
            f"""rabbitmqctl set_policy notifier '^{name}$' '{{"delivery-limit":{DELIVERY_LIMIT}}}' --apply-to queues"""
        )
        return f"RabbitMQ 4 moves its messages to {DEAD} after 20 deliveries; raise that limit with `{policy}`"
    return "to get it as documented, delete it while it is empty: the service then declares it again"


async def check(connection: AbstractConnection, settings: AmqpSettings) -> list[tuple[str, TopologyState]]:
    """Return the state of each of our exchanges and queues.

    What is missing is not declared.
    """
    found = []
    for entity in _entities(settings):
        missing = await _refused(connection, entity.name, entity.look) is not None
        found.append((entity.name, TopologyState.MISSING if missing else await _declared(connection, entity)))
    return found


async def _declared(connection: AbstractConnection, entity: _Entity) -> TopologyState:
    refusal = await _refused(connection, entity.name, entity.declare)
    if refusal is None:
        return TopologyState.AS_WANTED
    if refusal is ChannelAccessRefused:
        # A user with few permissions may use what another user has declared.
        if await _refused(connection, entity.name, entity.look):
            raise Unreachable(f"{entity.name} does not exist, and this user may not declare it")
        return TopologyState.FORBIDDEN
    if entity.earlier and not await _refused(connection, entity.name, entity.earlier):
        return TopologyState.NO_LIMIT
    return TopologyState.OTHER


_Refusal = type[ChannelPreconditionFailed | ChannelNotFoundEntity | ChannelAccessRefused]


async def _refused(connection: AbstractConnection, name: str, call: _Call) -> _Refusal | None:
    """Make a call on a channel of its own, which a refusal closes; return how the broker refused it, or None."""
    channel = await open_channel(connection, confirms=False)
    try:
        await answered(call(channel))
        await answered(channel.close())
    except Unreachable as error:
        for refusal in (ChannelPreconditionFailed, ChannelNotFoundEntity, ChannelAccessRefused):
            if isinstance(error.__cause__, refusal):
                return refusal
        raise Unreachable(f"{name} cannot be declared: {error}") from error
    return None
