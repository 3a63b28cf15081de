"""Book flights and publish each booking for notifier: a transactional outbox, with aio-pika.

python publish.py [HOW_MANY]     books that many flights (default 1), then publishes the outbox

NOTIFIER_AMQP_URL is the broker, NOTIFIER_AMQP_EXCHANGE (default bookings) the exchange. OUTBOX (default outbox.db) is
an SQLite file that takes the place of the booking service's own database.
"""

import asyncio
import json
import os
import sqlite3
import sys
import uuid
from datetime import UTC, datetime, timedelta

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import PublishError

SCHEMA = """
CREATE TABLE IF NOT EXISTS bookings (reference TEXT PRIMARY KEY, email TEXT NOT NULL, departs_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
                                   body BLOB NOT NULL, published_at TEXT);
"""
JSON = "application/cloudevents+json"
PENDING = "SELECT n, id, type, body FROM outbox WHERE published_at IS NULL ORDER BY n LIMIT 100"


def book(db: sqlite3.Connection, email: str, departs_at: str) -> None:
    """Store a booking and the message about it in one transaction, so that neither exists without the other."""
    reference, id_ = uuid.uuid4().hex[:6].upper(), str(uuid.uuid4())
    event = {
        "specversion": "1.0",
        "id": id_,  # created once, so that every repetition is the same message
        "source": "/booking-service",
        "type": "booking.confirmed",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "booking": reference,
            "version": 1,
            "passengers": [{"name": "Asha Rao", "email": email}],
            "flights": [{"number": "AI101", "from": "DEL", "to": "BLR", "departs_at": departs_at}],
        },
    }
    with db:
        db.execute("INSERT INTO bookings VALUES (?, ?, ?)", (reference, email, departs_at))
        row = (id_, event["type"], json.dumps(event).encode())
        db.execute("INSERT INTO outbox (id, type, body) VALUES (?, ?, ?)", row)


async def publish_pending(db: sqlite3.Connection, exchange: AbstractExchange) -> None:
    """Publish the messages that are not marked as published, and mark them once the broker has confirmed them.

    If the process is killed in between, the next run publishes them again, which changes nothing. If the broker
    rejects a message (DeliveryError) or no queue is bound (mandatory), no message of the batch is marked.
    """
    while rows := db.execute(PENDING).fetchall():
        try:
            async with asyncio.TaskGroup() as batch:
                for _, id_, type_, body in rows:
                    message = Message(body, message_id=id_, content_type=JSON, delivery_mode=DeliveryMode.PERSISTENT)
                    batch.create_task(exchange.publish(message, routing_key=type_, mandatory=True, timeout=30))
        except* PublishError:
            sys.exit(f"no queue is bound to {exchange.name}: start notifier, or run notifier topology declare")
        now = datetime.now(UTC).isoformat()
        with db:
            db.executemany("UPDATE outbox SET published_at = ? WHERE n = ?", [(now, n) for n, *_ in rows])
        print(f"published {len(rows)}")


async def main() -> None:
    """Book, then publish. A real service publishes in a separate loop, which reconnects whenever it must."""
    db = sqlite3.connect(os.environ.get("OUTBOX", "outbox.db"))
    db.executescript(SCHEMA)
    departs_at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        book(db, "asha@example.com", departs_at)
    async with await connect(os.environ["NOTIFIER_AMQP_URL"], timeout=30) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(os.environ.get("NOTIFIER_AMQP_EXCHANGE", "bookings"))
        await publish_pending(db, exchange)
    db.close()


if __name__ == "__main__":
    asyncio.run(main())
