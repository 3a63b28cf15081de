"""What `notifier doctor` prints: a line for each finding, with its remedy below it."""

import json
from collections.abc import Iterator

import typer

from notifier import clock
from notifier.doctor import peers
from notifier.doctor.examination import examine
from notifier.doctor.finding import Finding, Level
from notifier.domain.addresses import normalised
from notifier.errors import Misconfigured, Problem
from notifier.gateways.smtp_pool import smtp_pools
from notifier.settings import Settings

_SIGNS = {Level.OK: "✓", Level.NOTE: "·", Level.WARNING: "!", Level.FAULT: "✗"}


async def doctor(settings: Settings, send_to: str | None, *, as_json: bool) -> None:
    """Print every finding; with `send_to`, send a test mail there and print the SMTP dialogue.

    Exits 1 if there is a fault, or the test mail is not accepted. Raises Misconfigured if `send_to` is not an address.
    """
    to = _address(send_to) if send_to is not None else None
    faults = 0
    async for finding in examine(settings):
        faults += finding.level is Level.FAULT
        typer.echo(json.dumps(finding._asdict()) if as_json else "\n".join(_lines(finding)))
    if to is not None:
        faults += not await _send(settings, to)
    if faults:
        raise typer.Exit(1)


async def _send(settings: Settings, to: str) -> bool:
    pool, *others = smtp_pools(settings.smtp, settings.mail.sender.domain)
    try:
        typer.echo(f"sending a test mail to {to} through {pool.name}", err=True)
        result = await peers.send_test(pool, settings.mail, to, clock.now())
        for line in peers.dialogue(result):
            typer.echo(f"    {line}", err=True)
    finally:
        for each in (pool, *others):
            await each.close()
    return result.accepted


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{_SIGNS[finding.level]} {finding.topic}: {finding.says}"
    if finding.remedy:
        yield f"    → {finding.remedy}"


def _address(text: str) -> str:
    try:
        return normalised(text)
    except ValueError as error:
        raise Misconfigured(
            [
                Problem(
                    "--send-to",
                    f"{text!r} is not an address: {str(error).rstrip('.')}",
                    "use one such as you@example.org",
                )
            ]
        ) from None
