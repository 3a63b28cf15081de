"""What `notifier send --wait` and `notifier watch` print while mails change."""

import asyncio
import json
import os
import signal
import sys

from support.cli import run_async, service
from support.parts import PATIENCE
from support.samples import booking_event, flight_data

from notifier.demo.inbox import Inbox


async def test_send_waits_for_more_mails_than_one_list_has(environ: dict[str, str], inbox: Inbox) -> None:
    """For 100 passengers on 5 flights, all 600 mails are shown, and the 100 that are due now are followed."""
    passengers = [{"name": "Asha Rao", "email": f"p{number}@example.com"} for number in range(100)]
    flights = [
        flight_data(number=f"AI{number}", departs_at="2126-12-01T09:30:00+05:30", arrives_at="") for number in range(5)
    ]
    message = json.dumps(booking_event(passengers=passengers, flights=flights)).encode()
    async with service({**environ, "NOTIFIER_SEND_RATE": "0"}) as (_, client):
        code, out, err = await run_async("send", "-", "--wait", "--json", environ=client, stdin=message)
    assert (code, err) == (0, "")
    (stored, *shown) = [json.loads(line) for line in out.splitlines()]
    assert len(stored["mails"]) == 600
    assert {mail["id"] for mail in shown} == set(stored["mails"])
    assert len([mail for mail in shown if mail["status"] == "sent"]) == len(inbox.received) == 100


async def test_watch_shows_what_happens(environ: dict[str, str]) -> None:
    """With --json, every change is one line of JSON, until Ctrl-C."""
    async with service(environ) as (_, client):
        watching = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "watch", "--json"),
            env={**os.environ, **client},
            stdout=asyncio.subprocess.PIPE,
        )
        assert watching.stdout
        await run_async("send", "--example", "--wait", environ=client)
        async with asyncio.timeout(PATIENCE):
            while json.loads(await watching.stdout.readline())["status"] != "sent":
                pass
        watching.send_signal(signal.SIGINT)
        await watching.wait()
