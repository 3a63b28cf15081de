"""From a request for a plain notification, or its withdrawal, to mails. Pure."""

from collections.abc import Container, Iterable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from notifier.domain.addresses import identity
from notifier.domain.mail import Kind, Mail, PlainContent, Status, Withdrawn, mail_id
from notifier.domain.planning import (
    BYTES_PER_MAIL,
    AggregateState,
    Plan,
    PlanningPolicy,
    RequestState,
    SubjectKey,
    amendments,
)

WITHDRAWN = "the request was withdrawn"
UNNAMED = 10
"""Estimate of the mails that a withdrawal concerns; it names the request alone."""


class Recipient(Struct, frozen=True):
    """One address of a request."""

    email: str
    """The normalised address; as it came in the message if there is a `fault`."""
    fault: str | None = None
    """Why no mail can be sent to `email`; None if it can."""


class NotificationRequest(Struct, frozen=True, kw_only=True):
    """`notification.requested`: one mail to each recipient. All times are UTC."""

    id: str
    """The message's id, unique within its source."""
    source: str
    """Who published the message."""
    correlation: str | None = None
    """The AMQP correlation id, which the events of its mails carry on."""
    traceparent: str | None = None
    """The W3C trace of the message, which the events of its mails carry on."""
    recipients: tuple[Recipient, ...]
    """Each gets a mail of its own."""
    subject: str
    """The mails' subject."""
    text: str
    """The mails' text."""
    html: str | None = None
    """The same as HTML."""
    send_at: datetime | None = None
    """When the mails are sent at the earliest; None: at once."""
    expires_at: datetime | None = None
    """When a mail that was not sent expires; None: never."""

    @property
    def aggregate(self) -> str:
        """The aggregate that its mails belong to."""
        return _aggregate(self.source, self.id)

    @property
    def rows(self) -> int:
        """An estimate of its cost in mails, by which transactions are bounded; each mail has the whole content."""
        size = len(self.text.encode()) + len((self.html or "").encode())
        return len(self.recipients) * (1 + size // BYTES_PER_MAIL)

    def subjects(self) -> Iterable[SubjectKey]:
        """List the subjects that must be rendered for it: none."""
        return ()

    def concerns_mails(self, state: AggregateState | None) -> bool:  # noqa: ARG002 - all messages have this method
        """Return whether planning it needs the mails that exist."""
        return True

    def plan(
        self,
        state: AggregateState | None,
        existing: Sequence[Mail],
        policy: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),
    ) -> Plan:
        """Write the mails; if the withdrawal arrived first, they are cancelled at once.

        The arguments are those of `BookingMessage.plan`. A request that arrives again after its id was deleted adds no
        mail to an address whose mail can still be sent.
        """
        present = {identity(each.to) for each in existing}
        mails = {identity(each.email): self._mail(each, policy, now) for each in self.recipients}
        new = tuple(mail for who, mail in mails.items() if who not in present and mail.id not in stored)
        if isinstance(state, RequestState) and state.withdrawn:
            changed, amended = amendments((mail, Withdrawn(WITHDRAWN)) for mail in new)
            return Plan(added=new, changed=changed, amended=amended)
        return Plan(added=new)

    def _mail(self, recipient: Recipient, policy: PlanningPolicy, now: datetime) -> Mail:
        # The time is part of it: if the same request arrives again after everything was purged, no id is used twice.
        id_ = mail_id("request", self.source, self.id, identity(recipient.email), now.isoformat())
        mail = Mail(
            id=id_,
            aggregate=self.aggregate,
            kind=Kind.NOTIFICATION,
            to=recipient.email,
            subject=self.subject,
            content=PlainContent(self.text, self.html),
            event=self.id,
            correlation=self.correlation,
            traceparent=self.traceparent,
            message_id=f"<{id_}@{policy.domain}>",
            created_at=now,
            send_at=self.send_at or now,
            expires_at=self.expires_at,
        )
        if recipient.fault is None:
            return mail
        return replace(
            mail, status=Status.FAILED, error=f"{recipient.email!r} is not a valid address: {recipient.fault}"
        )


class NotificationCancelled(Struct, frozen=True, kw_only=True):
    """`notification.cancelled`: withdraws a request of the same source."""

    id: str
    """The message's id, unique within its source."""
    source: str
    """Who published the message, and the request."""
    correlation: str | None = None
    """The AMQP correlation id."""
    traceparent: str | None = None
    """The W3C trace of the message."""
    request: str
    """The id of the request."""

    @property
    def aggregate(self) -> str:
        """The aggregate of the request."""
        return _aggregate(self.source, self.request)

    @property
    def rows(self) -> int:
        """An estimate of the mails that it changes, by which transactions are bounded."""
        return UNNAMED

    def subjects(self) -> Iterable[SubjectKey]:
        """List the subjects that must be rendered for it: none."""
        return ()

    def concerns_mails(self, state: AggregateState | None) -> bool:  # noqa: ARG002 - all messages have this method
        """Return whether planning it needs the mails that exist."""
        return True

    def plan(
        self,
        state: AggregateState | None,  # noqa: ARG002 - all messages have this method
        existing: Sequence[Mail],
        policy: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),  # noqa: ARG002 - all messages have this method
    ) -> Plan:
        """Cancel the unsent mails, and record the withdrawal in case the request arrives later."""
        changed, amended = amendments((mail, Withdrawn(WITHDRAWN)) for mail in existing)
        return Plan(
            changed=changed,
            amended=amended,
            state=RequestState(withdrawn=True),
            forget_at=now + policy.remember,
        )


def _aggregate(source: str, request: str) -> str:
    """Name the aggregate of a request; no other pair of source and id has the same name."""
    unambiguous = source.replace("%", "%25").replace(" ", "%20")
    return f"request:{unambiguous} {request}"
