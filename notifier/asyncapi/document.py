"""The whole AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0). Pure."""

from collections.abc import Iterable
from typing import Any

import yaml

from notifier import __version__
from notifier.asyncapi import amqp, feed
from notifier.feed.protocol import PROTOCOL
from notifier.gateways.topology import BINDINGS, DEAD, EVENTS
from notifier.settings import AmqpSettings, FeedSettings


def document() -> dict[str, Any]:
    """Describe the feed and the broker's side, with the names of the default settings."""
    broker, here = AmqpSettings(), FeedSettings()
    messages = {**feed.messages(), **amqp.incoming(), **amqp.outgoing()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "notifier",
            "version": __version__,
            "description": "Takes bookings and requests from RabbitMQ, sends mail, and publishes what becomes of it.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "feed": {"host": f"{here.host}:{here.port}", "protocol": "ws", "description": "Feed and dashboard"},
            "broker": {"host": "127.0.0.1:5672", "protocol": "amqp", "description": "RabbitMQ"},
        },
        "channels": {
            "feed": {
                "address": "/feed",
                "title": "Live status of every mail",
                "description": _feed_description(),
                "servers": [{"$ref": "#/servers/feed"}],
                "messages": _all([*feed.CLIENT, *feed.SERVER]),
                "bindings": {"ws": {"method": "GET"}},
            },
            "bookings": _exchange(broker.exchange, "topic", f"Routing keys {' and '.join(BINDINGS)}", amqp.incoming()),
            "events": _exchange(EVENTS, "topic", "Routing key: the type of the event", ["changed"]),
            "dead": _exchange(DEAD, "fanout", f"To the queue {DEAD}", ["dead_letter"]),
        },
        "operations": {
            "receiveFrames": _operation("receive", "feed", feed.CLIENT),
            "sendFrames": _operation("send", "feed", feed.SERVER),
            "consumeMessages": _operation("receive", "bookings", amqp.incoming()),
            "publishEvents": _operation("send", "events", ["changed"]),
            "deadLetter": _operation("send", "dead", ["dead_letter"]),
        },
        "components": {
            "messages": {_key(name): message for name, message in messages.items()},
            "schemas": _distinct(feed.schemas(), amqp.shapes()),
        },
    }


def written() -> str:
    """Return the document as YAML."""
    return yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes an object that is used in several places in full each time, without YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the library's
        return True


def _feed_description() -> str:
    return f"WebSocket, subprotocol {PROTOCOL}, one JSON object per text frame. Close codes: {feed.close_codes()}."


def _distinct(*groups: dict[str, Any]) -> dict[str, Any]:
    """Join groups of schemas. Two schemas of one name would hide each other."""
    joined = {name: schema for group in groups for name, schema in group.items()}
    assert len(joined) == sum(map(len, groups))  # noqa: S101 - a fault of the code, found by every test
    return joined


def _exchange(name: str, kind: str, description: str, messages: Iterable[str]) -> dict[str, Any]:
    exchange = {"name": name, "type": kind, "durable": True, "autoDelete": False}
    return {
        "address": name,
        "description": description,
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": _all(messages),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange}},
    }


def _operation(action: str, channel: str, messages: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{_key(name)}"} for name in messages],
    }


def _all(messages: Iterable[str]) -> dict[str, Any]:
    return {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in messages}


def _key(name: str) -> str:
    """Return the key of a message in the document, in which dots are not allowed."""
    return name.replace(".", "_")
