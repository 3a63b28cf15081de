"""What `notifier topology` prints: each exchange and queue of ours, and how it is on the broker."""

import typer

from notifier.errors import Misconfigured
from notifier.gateways.connection import connected
from notifier.gateways.topology import State, check, declare
from notifier.settings import AmqpSettings


async def topology(settings: AmqpSettings, *, make: bool) -> None:
    """Print a line for each, after making what is missing where that is wanted; exits 1 where one is not as wanted.

    Raises Unreachable where the broker does not answer.
    """
    if settings.url is None:
        raise Misconfigured(["NOTIFIER_AMQP_URL: is required"])
    async with connected(settings.url) as connection:
        if make:
            await declare(connection, settings)
        found = await check(connection, settings)
    for name, state in found:
        typer.echo(f"{name}: {state}")
    if any(state is not State.AS_WANTED for _, state in found):
        raise typer.Exit(1)
