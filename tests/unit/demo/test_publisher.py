import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiormq
import pytest
from aiormq.abc import DeliveredMessage, FieldValue
from hypothesis import given
from hypothesis import strategies as st
from support.benchmarks.measures import steady_rate

from notifier.demo.broker import PrivateNode
from notifier.demo.publisher import booking, publish, reference

NOW = datetime(2026, 11, 24, 10, 2, 30, tzinfo=UTC)


def test_the_same_number_is_the_same_booking() -> None:
    """A booking is a function of its number, the time and the run."""
    assert booking(7, NOW, "a") == booking(7, NOW, "a")
    assert booking(7, NOW, "a")["data"] != booking(7, NOW, "b")["data"]


def test_bookings_of_a_run_share_no_id_no_reference_and_no_address() -> None:
    """Ten thousand bookings have ten thousand different ids, references and addresses."""
    made = [booking(n, NOW) for n in range(10_000)]
    assert len({each["id"] for each in made}) == len(made)
    assert len({each["data"]["booking"] for each in made}) == len(made)
    assert len({each["data"]["passengers"][0]["email"] for each in made}) == len(made)


def test_a_booking_has_the_contract_s_shape() -> None:
    """It is one CloudEvent with one passenger whose address is ASCII, one flight and a price."""
    event = booking(3, NOW, "x")
    assert event["id"] == "demo-x-3"
    assert (event["specversion"], event["source"], event["type"]) == ("1.0", "/demo", "booking.confirmed")
    assert set(event["data"]) == {"booking", "version", "passengers", "flights", "price"}
    (passenger,), (flight,) = event["data"]["passengers"], event["data"]["flights"]
    assert passenger["email"].isascii()
    assert passenger["email"].endswith(".3@example.com")
    assert len(event["data"]["booking"]) == 6
    assert flight["from"] != flight["to"]


@given(st.integers(0, 10**6), st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_flights_leave_four_to_forty_eight_hours_from_now(n: int, now: datetime) -> None:
    """At any time of day, the departure has an offset, lies in the window, and comes before the arrival."""
    flight = booking(n, now)["data"]["flights"][0]
    departs, arrives = (datetime.fromisoformat(flight[key]) for key in ("departs_at", "arrives_at"))
    assert departs.utcoffset() is not None
    assert timedelta(hours=4) <= departs - now <= timedelta(hours=48)
    assert departs < arrives


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.text(max_size=8))
def test_references_are_unique_within_a_run(one: int, other: int, run: str) -> None:
    """Two numbers share a reference only if they are the same number."""
    assert (reference(one, run) == reference(other, run)) == (one == other)


async def drain(url: str, exchange: str, count: int, publishing: Any) -> list[DeliveredMessage]:
    """Bind a queue to the exchange, run the publishing, and return the first `count` messages that come."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        queue = str((await channel.queue_declare(exclusive=True)).queue)
        await channel.queue_bind(queue, exchange, "booking.#")
        came: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        await channel.basic_consume(queue, came.put, no_ack=True)
        await publishing
        async with asyncio.timeout(10):
            return [await came.get() for _ in range(count)]
    finally:
        await connection.close()


async def test_messages_arrive_whole_persistent_and_in_order(demo_node: PrivateNode) -> None:
    """Every message is routed by its type, carries its id, survives a restart of the broker, and keeps its place."""
    sent = [booking(n, NOW) for n in range(500)]
    published: dict[str, float] = {}
    before = time.time()
    came = await drain(demo_node.url, "whole", 500, publish(demo_node.url, "whole", sent, 0, published.__setitem__))
    assert [json.loads(message.body) for message in came] == sent
    assert [message.header.properties.message_id for message in came] == list(published) == [e["id"] for e in sent]
    assert {message.header.properties.delivery_mode for message in came} == {2}
    assert {message.routing_key for message in came} == {"booking.confirmed"}
    assert all(before <= at <= time.time() for at in published.values())


async def test_the_rate_is_kept_on_an_absolute_schedule(demo_node: PrivateNode) -> None:
    """No message goes before its time, and the whole takes as long as the rate says."""
    published: dict[str, float] = {}
    messages = (booking(n, NOW) for n in range(60))
    publishing = publish(demo_node.url, "paced", messages, 100, published.__setitem__)
    await drain(demo_node.url, "paced", 60, publishing)
    times = list(published.values())
    assert len(times) == 60
    # The wall clock and the loop's clock may disagree by a little.
    assert all(at - times[0] >= n / 100 - 0.02 for n, at in enumerate(times))
    assert 50 < steady_rate(times) < 104


async def test_a_message_without_a_queue_raises(demo_node: PrivateNode) -> None:
    """Where nothing is bound yet a booking would be confirmed and gone; that is an error."""
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await publish(demo_node.url, "nobody-listens", [booking(1, NOW)], 0, lambda *_: None)


async def test_a_refused_message_raises_the_refusal(demo_node: PrivateNode) -> None:
    """A message that the broker does not take is an error of its own kind, not a group and not silence."""
    connection = await aiormq.connect(demo_node.url)
    channel = await connection.channel()
    await channel.exchange_declare("full", exchange_type="topic", durable=True)
    arguments: dict[str, FieldValue] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = str((await channel.queue_declare(exclusive=True, arguments=arguments)).queue)
    await channel.queue_bind(queue, "full", "#")
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await publish(demo_node.url, "full", (booking(n, NOW) for n in range(50)), 0, lambda *_: None)
    await connection.close()
