"""How a broker's URL and the names of exchanges and queues are read and checked. Pure."""

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from notifier.settings.values import NOT_IN_A_HEADER, BadValue, shown_as, words

DEAD_LETTERS = "notifier.dead"
"""Exchange and queue for messages that can never be used."""
RESULTS = "notifier.events"
"""Exchange that notifier's own results are published to."""
_NAME = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]+")
"""The name of an exchange or a queue as the AMQP library can write it; RabbitMQ accepts more characters."""
_MAX_EXCHANGE = 127
_MAX_QUEUE = 255


def _url(text: str) -> str:
    remedy = "use amqp://user:password@host:5672/vhost, or amqps:// for TLS"
    if NOT_IN_A_HEADER.search(text):  # `urlsplit` removes some of these, also from a password
        raise BadValue("contains a control character", remedy)
    try:
        url = urlsplit(text)
        usable = url.scheme in ("amqp", "amqps") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadValue("is not the URL of an AMQP broker", remedy)
    return text


def _hide_secrets(url: str | None) -> str | None:
    """Hide the password, and leave out the query, which can contain a password too."""
    return re.sub(r"(://[^:]*:).*@", r"\1***@", url, flags=re.DOTALL).partition("?")[0] if url else url


def _name(max_length: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not _NAME.fullmatch(text) or len(text) > max_length:
            raise BadValue(
                f"{text!r} is not a name that can be used",
                f"use 1 to {max_length} ASCII letters, digits, spaces and -_.:@#,/+",
            )
        return text

    return check


def _not_dead_letters(queue: str) -> str:
    if queue == DEAD_LETTERS:
        raise BadValue(
            f"{DEAD_LETTERS} cannot be consumed: each of its messages would become a dead letter again",
            "name another queue",
        )
    return queue


def _not_ours(exchange: str) -> str:
    if exchange in (DEAD_LETTERS, RESULTS):
        raise BadValue(
            f"{exchange} is an exchange that notifier itself publishes to: it would receive its own messages",
            "name the exchange of the publishers",
        )
    return exchange


AmqpUrl = Annotated[str, BeforeValidator(_url), shown_as(_hide_secrets)]
Exchange = Annotated[str, AfterValidator(_name(_MAX_EXCHANGE)), AfterValidator(_not_ours)]
Queue = Annotated[str, AfterValidator(_name(_MAX_QUEUE)), AfterValidator(_not_dead_letters)]
Queues = Annotated[tuple[Queue, ...], BeforeValidator(words), shown_as(",".join)]
