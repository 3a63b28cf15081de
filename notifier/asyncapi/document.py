"""The whole AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0). Pure."""

from collections.abc import Iterable
from typing import Any

import yaml

from notifier import __version__
from notifier.asyncapi import amqp, feed
from notifier.asyncapi.schemas import EVENT, MAIL
from notifier.feed.protocol import PROTOCOL
from notifier.gateways.topology import BINDINGS, DEAD, EVENTS
from notifier.settings import AmqpSettings, FeedSettings


def document() -> dict[str, Any]:
    """Describe the feed and the broker's side, with the names that the default settings give them."""
    broker, here = AmqpSettings(), FeedSettings()
    messages = {**feed.describe(), **amqp.taken(), **amqp.given()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "notifier",
            "version": __version__,
            "description": "Takes bookings and requests from RabbitMQ, sends mail, tells what becomes of it.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "feed": {"host": f"{here.host}:{here.port}", "protocol": "ws", "description": "Feed and page"},
            "broker": {"host": "127.0.0.1:5672", "protocol": "amqp", "description": "RabbitMQ"},
        },
        "channels": {
            "feed": {
                "address": "/feed",
                "title": "Status, live",
                "description": _feed_description(),
                "servers": [{"$ref": "#/servers/feed"}],
                "messages": _all([*feed.CLIENT, *feed.SERVER]),
                "bindings": {"ws": {"method": "GET"}},
            },
            "bookings": _exchange(broker.exchange, "topic", f"Routing keys {' and '.join(BINDINGS)}", amqp.taken()),
            "events": _exchange(EVENTS, "topic", "Routing key: the type of the event", ["changed"]),
            "dead": _exchange(DEAD, "fanout", f"To the queue {DEAD}", ["letter"]),
        },
        "operations": {
            "hear": _operation("receive", "feed", feed.CLIENT),
            "tell": _operation("send", "feed", feed.SERVER),
            "take": _operation("receive", "bookings", amqp.taken()),
            "report": _operation("send", "events", ["changed"]),
            "putAside": _operation("send", "dead", ["letter"]),
        },
        "components": {
            "messages": {_key(name): message for name, message in messages.items()},
            "schemas": {"Mail": MAIL, "Event": EVENT, **amqp.shapes()},
        },
    }


def written() -> str:
    """Write the document as YAML."""
    return yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes what stands at several places each time anew."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the library's
        return True


def _feed_description() -> str:
    codes = "; ".join(f"{code}: {why}" for code, why in feed.CLOSE_CODES.items())
    return f"WebSocket, subprotocol {PROTOCOL}, one JSON object a text frame. Close codes: {codes}."


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
    """Name a message in the document, where not every sign is allowed."""
    return name.replace(".", "_")
