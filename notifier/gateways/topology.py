"""Exchanges, queues and bindings: what the service needs on a broker, and what it finds there."""

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
"""Deliveries after which RabbitMQ moves a message of our queue to the dead letters.

No fault of ours reaches it. RabbitMQ 4 would take 20 by default, and every lost connection counts; -1, which
means no limit there, means 0 to RabbitMQ 3: the first redelivery would be a dead letter.
"""


class State(StrEnum):
    """How an exchange or queue is on the broker."""

    AS_WANTED = "as wanted"
    MISSING = "missing"
    OTHER = "exists with other arguments and is used as it is"
    NO_LIMIT = "exists without a delivery limit of its own and is used as it is"
    FORBIDDEN = "exists, may not be declared by this user, and is used as it is"
    UNBOUND = "may not be bound by this user, and is used as it is"


_Step = Callable[[AbstractChannel], Coroutine[Any, Any, Any]]


class _Part(NamedTuple):
    """An exchange or a queue; `look` fails where it is missing, `declare` where it is another.

    `earlier` declares it as versions before this one did.
    """

    name: str
    look: _Step
    declare: _Step
    earlier: _Step | None = None


def _exchange(name: str, kind: str) -> _Part:
    return _Part(
        name,
        lambda channel: channel.exchange_declare(name, passive=True),
        lambda channel: channel.exchange_declare(name, exchange_type=kind, durable=True),
    )


def _queue(name: str, arguments: dict[str, Any], *, limited: bool = False) -> _Part:
    def declaring(arguments: dict[str, Any]) -> _Step:
        return lambda channel: channel.queue_declare(name, durable=True, arguments=arguments)

    look: _Step = lambda channel: channel.queue_declare(name, passive=True)  # noqa: E731 - one of three alike
    if not limited:
        return _Part(name, look, declaring(arguments))
    return _Part(name, look, declaring({**arguments, "x-delivery-limit": DELIVERY_LIMIT}), declaring(arguments))


def _binding(queue: str, exchange: str, key: str) -> _Step:
    return lambda channel: channel.queue_bind(queue, exchange, routing_key=key)


def _without_dead_letters(queue: str) -> _Step:
    """Remove the bindings that earlier versions made if `notifier.dead` was set as the publishers' exchange."""

    async def unbind(channel: AbstractChannel) -> None:
        for key in BINDINGS:
            await channel.queue_unbind(queue, DEAD, routing_key=key)

    return unbind


def _parts(settings: AmqpSettings) -> list[_Part]:
    return [
        _exchange(settings.exchange, "topic"),
        _exchange(DEAD, "fanout"),
        _exchange(EVENTS, "topic"),
        _queue(settings.queue, {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}, limited=True),
        _queue(DEAD, {}),
    ]


async def declare(connection: AbstractConnection, settings: AmqpSettings) -> list[tuple[str, State]]:
    """Declare our exchanges, queues and bindings; what exists with other arguments is used as it is, and returned."""
    others: list[tuple[str, State]] = []
    for part in _parts(settings):
        state = await _declared(connection, part)
        if state is not State.AS_WANTED:
            others.append((part.name, state))
    # With such a binding each dead letter would come back as a message, for ever. Who may not remove one has made none.
    await _refused(connection, settings.queue, _without_dead_letters(settings.queue))
    bindings = [(DEAD, DEAD, ""), *((settings.queue, settings.exchange, key) for key in BINDINGS)]
    for queue, exchange, key in bindings:
        if await _refused(connection, queue, _binding(queue, exchange, key)) is ChannelAccessRefused:
            others.append((queue, State.UNBOUND))
    return list(dict.fromkeys(others))


def remedy(name: str, state: State) -> str:
    """Say what to do about an exchange or queue that is not as wanted."""
    if state in (State.FORBIDDEN, State.UNBOUND):
        return "declare the topology once as a user who may configure it: docs/operations.md has the permissions"
    if state is State.NO_LIMIT:
        policy = (
            f"""rabbitmqctl set_policy notifier '^{name}$' '{{"delivery-limit":{DELIVERY_LIMIT}}}' --apply-to queues"""
        )
        return f"RabbitMQ 4 moves its messages to {DEAD} after 20 deliveries; raise that with `{policy}`"
    return "to have it as documented, delete it while it is empty, and the service declares it anew"


async def check(connection: AbstractConnection, settings: AmqpSettings) -> list[tuple[str, State]]:
    """Look, without making anything, whether our exchanges and queues are there and as we want them."""
    found = []
    for part in _parts(settings):
        missing = await _refused(connection, part.name, part.look) is not None
        found.append((part.name, State.MISSING if missing else await _declared(connection, part)))
    return found


async def _declared(connection: AbstractConnection, part: _Part) -> State:
    refusal = await _refused(connection, part.name, part.declare)
    if refusal is None:
        return State.AS_WANTED
    if refusal is ChannelAccessRefused:
        # A user with few permissions may use what another one has declared.
        if await _refused(connection, part.name, part.look):
            raise Unreachable(f"{part.name} does not exist, and this user may not declare it")
        return State.FORBIDDEN
    if part.earlier and not await _refused(connection, part.name, part.earlier):
        return State.NO_LIMIT
    return State.OTHER


_Refusal = type[ChannelPreconditionFailed | ChannelNotFoundEntity | ChannelAccessRefused]


async def _refused(connection: AbstractConnection, name: str, step: _Step) -> _Refusal | None:
    """Take a step on a channel of its own; return how the broker refused it, which closes that channel, or None."""
    channel = await open_channel(connection, confirms=False)
    try:
        await answered(step(channel))
        await answered(channel.close())
    except Unreachable as error:
        for refusal in (ChannelPreconditionFailed, ChannelNotFoundEntity, ChannelAccessRefused):
            if isinstance(error.__cause__, refusal):
                return refusal
        raise Unreachable(f"{name} cannot be declared: {error}") from error
    return None
