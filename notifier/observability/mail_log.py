"""One log line for each change of a mail, with the ids that lead to everything else."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from notifier.domain.addresses import all_masked
from notifier.domain.events import StoredEvent, ids
from notifier.domain.mail import Reply, Status
from notifier.observability.logs import Line, Lines
from notifier.settings import LogSettings

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


class MailLog:
    """Logs each change of a mail; a mail that failed or is uncertain as a warning."""

    def __init__(self, settings: LogSettings) -> None:
        self._lines = Lines(settings)

    def observe(self, events: Iterable[StoredEvent]) -> None:
        """Log events."""
        if self._lines.writes("info"):
            self._lines.write([_line(event) for event in events])
        else:
            self._lines.write([_line(event) for event in events if event.status in _WARNINGS])


def _line(event: StoredEvent) -> Line:
    # The body has no address that is not masked; publishers choose their own ids and references.
    fields: dict[str, str | int] = {**ids(event.mail, _masked(event.event), _masked(event.booking), event.traceparent)}
    mail = _body.decode(event.body).data.mail
    fields["kind"] = event.kind
    fields["to"] = mail.to
    if mail.attempt:
        fields["attempt"] = mail.attempt
    if mail.smtp and event.prev is Status.SENDING:
        fields["code"] = mail.smtp.code
        if event.status is not Status.SENT:
            fields["reply"] = mail.smtp.text
    if mail.error:
        fields["error"] = mail.error
    return Line("warning" if event.status in _WARNINGS else "info", event.type, fields)


def _masked(text: str | None) -> str:
    return all_masked(text or "")
