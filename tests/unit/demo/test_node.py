"""A private node of RabbitMQ: how it starts, restarts and fails, and when an address counts as a broker."""

import socket
from collections.abc import Iterator
from pathlib import Path

import aiormq
import pytest

from notifier.demo.broker import BrokerUnavailable, PrivateNode, amqp_answers


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_restarted_node_has_the_same_url_and_its_durable_messages(demo_node: PrivateNode) -> None:
    """A message that was confirmed before a graceful shutdown exists after the next start, on the same port."""
    connection = await aiormq.connect(demo_node.url)
    channel = await connection.channel()
    await channel.queue_declare("kept", durable=True)
    await channel.basic_publish(
        b"still here", routing_key="kept", properties=aiormq.spec.Basic.Properties(delivery_mode=2)
    )
    await connection.close()

    demo_node.stop()
    assert not amqp_answers(demo_node.url)
    demo_node.start()

    connection = await aiormq.connect(demo_node.url)
    channel = await connection.channel()
    message = await channel.basic_get("kept", no_ack=True)
    await connection.close()
    assert message.body == b"still here"


def test_a_paused_node_is_silent_until_it_is_unpaused(demo_node: PrivateNode) -> None:
    """A paused broker keeps its port open and does not answer; unpausing continues it."""
    demo_node.pause()
    try:
        assert not amqp_answers(demo_node.url, timeout=0.3)
    finally:
        demo_node.unpause()
    assert amqp_answers(demo_node.url)


def test_a_node_that_ends_early_raises_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error of a node that ends before it answers quotes the end of its log, and its folder is removed."""
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\necho no room for mnesia\nexit 1\n")
    server.chmod(0o755)
    monkeypatch.setattr("notifier.demo.node.SERVER", server)
    node = PrivateNode()
    with pytest.raises(BrokerUnavailable, match="no room for mnesia"), node:
        pytest.fail("a node that ended was entered")
    assert not node.folder.exists()


@pytest.mark.parametrize("url", ["amqp://127.0.0.1:1/", "amqp://127.0.0.1:port/", "amqp://nowhere.invalid/"])
def test_an_address_without_a_broker_does_not_answer(url: str) -> None:
    """For a closed port, a malformed URL and an unknown host the result is False."""
    assert not amqp_answers(url, timeout=1)


def test_a_port_that_says_nothing_does_not_answer(silent_port: int) -> None:
    """Accepting a connection is not enough, because proxies and frozen brokers do that too."""
    assert not amqp_answers(f"amqp://127.0.0.1:{silent_port}/", timeout=0.2)
