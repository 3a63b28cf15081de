"""One log line for each change of a mail, with the ids that lead to everything else."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from notifier.domain.events import StoredEvent, ids
from notifier.domain.mail import Reply, Status

log = structlog.get_logger(__name__)

_WARNINGS = (Status.FAILED, Status.UNCERTAIN)


class _Mail(Struct):
    to: str
    attempt: int
    smtp: Reply | None
    error: str | None


class _Data(Struct):
    mail: _Mail


class _Body(Struct):
    data: _Data


_body = msgspec.json.Decoder(_Body)


def log_changes(events: Iterable[StoredEvent]) -> None:
    """Log each event; a mail that failed or is uncertain as a warning."""
    for event in events:
        write = log.warning if event.status in _WARNINGS else log.info
        write(event.type, **dict(_fields(event)))


def _fields(event: StoredEvent) -> Iterator[tuple[str, Any]]:
    yield from ids(event.mail, event.event, event.booking, event.traceparent).items()
    mail = _body.decode(event.body).data.mail
    yield "kind", event.kind
    yield "to", mail.to
    if mail.attempt:
        yield "attempt", mail.attempt
    if mail.smtp and event.prev is Status.SENDING:
        yield "code", mail.smtp.code
        if event.status is not Status.SENT:
            yield "reply", mail.smtp.text
    if mail.error:
        yield "error", mail.error
