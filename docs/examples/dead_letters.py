"""List dead letters, move them to a file where they can be corrected, and publish them again.

python dead_letters.py look            prints them, one JSON object per line, and leaves them in the queue
python dead_letters.py take FILE       appends them to FILE, in the same form, and removes them from the queue
python dead_letters.py publish FILE    publishes every line of FILE to NOTIFIER_AMQP_EXCHANGE (default bookings)

NOTIFIER_AMQP_URL is the broker, and DEAD_LETTERS (default notifier.dead) is the queue. The only requirement is aiormq,
which notifier itself uses. Correct `body` and `routing_key` of a line; `error` and `detail` say what is wrong.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

QUEUE = os.environ.get("DEAD_LETTERS", "notifier.dead")


def line(letter: DeliveredMessage) -> str:
    """Return one dead letter as a line of JSON. A body that is JSON is not quoted, so that an editor can correct it."""
    properties, text = letter.header.properties, letter.body.decode(errors="replace")
    headers = {name: value for name, value in (properties.headers or {}).items() if isinstance(value, str)}
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    if not isinstance(body, dict):
        body = text
    found: dict[str, Any] = {
        "error": headers.pop("x-notifier-error", None),
        "detail": headers.pop("x-notifier-detail", None),
        "routing_key": letter.routing_key,
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "timestamp": properties.timestamp.timestamp() if properties.timestamp else None,
        "headers": headers,
        "body": body,
    }
    return json.dumps(found, ensure_ascii=False)


async def letters(channel: AbstractChannel) -> list[DeliveredMessage]:
    """Return all dead letters of the queue. Unless acknowledged, they return to it when the connection closes."""
    found = []
    while (letter := await channel.basic_get(QUEUE)).delivery_tag:
        found.append(letter)
    return found


async def take(channel: AbstractChannel, file: Path) -> int:
    """Append all dead letters to a file, and acknowledge them once they are on disk. Return their number."""
    found = await letters(channel)
    with file.open("a", encoding="utf-8") as out:
        out.writelines(f"{line(letter)}\n" for letter in found)
        out.flush()
        os.fsync(out.fileno())
    if found:
        await channel.basic_ack(found[-1].delivery_tag or 0, multiple=True)
    return len(found)


async def publish(channel: AbstractChannel, file: Path) -> int:
    """Publish every line with a confirmation and return their number. Doing it twice does no harm.

    Raises PublishError if no queue is bound for a message.
    """
    exchange = os.environ.get("NOTIFIER_AMQP_EXCHANGE", "bookings")
    lines = [each for each in file.read_text(encoding="utf-8").splitlines() if each.strip()]  # noqa: ASYNC240 - nobody waits
    for each in map(json.loads, lines):
        body, at = each["body"], each["timestamp"]
        properties = Basic.Properties(
            message_id=each["message_id"],
            correlation_id=each["correlation_id"],
            timestamp=datetime.fromtimestamp(at, UTC) if at else None,
            headers=each["headers"],
            delivery_mode=2,
        )
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        await channel.basic_publish(
            data, exchange=exchange, routing_key=each["routing_key"], properties=properties, mandatory=True
        )
    return len(lines)


async def main() -> None:
    """Run the command that the arguments name."""
    connection = await aiormq.connect(os.environ["NOTIFIER_AMQP_URL"])
    channel = await connection.channel()
    match sys.argv[1:]:
        case ["look"]:
            for letter in await letters(channel):
                print(line(letter))
        case ["take", file]:
            print(f"took {await take(channel, Path(file))}", file=sys.stderr)
        case ["publish", file]:
            print(f"published {await publish(channel, Path(file))}", file=sys.stderr)
        case _:
            sys.exit(__doc__)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
