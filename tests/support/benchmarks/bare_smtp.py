"""aiosmtplib with ready bytes: `python -m support.benchmarks.bare_smtp PORT CONNECTIONS MAILS FILE`.

It opens the connections, then sends the same message over and over on all of them, and prints the seconds it took.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiosmtplib
import uvloop
from support.benchmarks.children import commands, say

SENDER = "fly@example.org"


async def main(port: int, connections: int, mails: int, message: bytes) -> None:
    """Send each time that a line is read."""
    clients = [
        aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="bench.example.org")
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.connect() for client in clients))
    say({})
    async for _ in commands():
        numbers = iter(range(mails))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_send(client, numbers, message) for client in clients))
        say({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu})


async def _send(client: aiosmtplib.SMTP, numbers: Iterator[int], message: bytes) -> None:
    for n in numbers:
        await client.sendmail(SENDER, [f"passenger.{n}@example.com"], message)


if __name__ == "__main__":
    port, connections, mails = map(int, sys.argv[1:4])
    uvloop.run(main(port, connections, mails, Path(sys.argv[4]).read_bytes()))
