"""`notifier topology`: the state of each exchange and queue of ours on the broker."""

import os
from typing import Annotated, Literal

import typer
import uvloop

from notifier.errors import Misconfigured, Problem, Unreachable
from notifier.gateways.connection import connected
from notifier.gateways.topology import TopologyState, check, declare
from notifier.observability import logs
from notifier.settings import AmqpSettings, LogSettings, load_group


def topology(
    action: Annotated[
        Literal["declare", "check"], typer.Argument(help="Create what is missing, or only check what exists.")
    ],
) -> None:
    """Show the exchanges and queues on the broker; exit 1 if one is missing or has other arguments."""
    settings = load_group(AmqpSettings, os.environ)
    logs.configure(load_group(LogSettings, os.environ))
    uvloop.run(show_topology(settings, create=action == "declare"))


async def show_topology(settings: AmqpSettings, *, create: bool) -> None:
    """Print a line for each exchange and queue, after creating the missing ones with `create`.

    Exits 1 if one is missing or has other arguments. Raises Misconfigured without a broker's URL, and Unreachable
    if the broker does not answer.
    """
    if settings.url is None:
        raise Misconfigured(
            [Problem("NOTIFIER_AMQP_URL", "is required", "set it to amqp://user:password@host:5672/vhost")]
        )
    try:
        async with connected(settings.url) as connection:
            if create:
                await declare(connection, settings)
            found = await check(connection, settings)
    except Unreachable as error:
        # RabbitMQ ends its reason with a full stop.
        reason = str(error).rstrip(".")
        raise Unreachable(f"{reason}; check NOTIFIER_AMQP_URL, and that RabbitMQ is running") from error
    for name, state in found:
        typer.echo(f"{name}: {state}")
    if any(state is not TopologyState.AS_WANTED for _, state in found):
        raise typer.Exit(1)
