"""aiormq alone: `python -m support.benchmarks.bare_amqp URL QUEUE MESSAGES PREFETCH`.

When a line is read, it consumes that many messages, acknowledges them in batches, and prints the seconds it took.
"""

import asyncio
import sys
import time

import aiormq
import uvloop
from aiormq.abc import DeliveredMessage
from support.benchmarks.children import commands, say

ACK_EVERY = 100
"""Messages that one acknowledgement covers."""


async def main(url: str, queue: str, messages: int, prefetch: int) -> None:
    """Consume once a line is read."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=prefetch)
    count, all_received = 0, asyncio.Event()

    async def receive(message: DeliveredMessage) -> None:
        nonlocal count
        count += 1
        if count % ACK_EVERY == 0 or count == messages:
            await channel.basic_ack(message.delivery_tag or 0, multiple=True, wait=False)
        if count == messages:
            all_received.set()

    say({})
    async for _ in commands():
        began, cpu = time.perf_counter(), time.process_time()
        await channel.basic_consume(queue, receive)
        await all_received.wait()
        say({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "received": count})
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
