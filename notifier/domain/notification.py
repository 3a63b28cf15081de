"""From a request for a plain notification, or its withdrawal, to mails. Pure."""

from collections.abc import Container, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from notifier.domain.addresses import identity
from notifier.domain.mail import Kind, Mail, PlainContent, Status, Withdrawn, mail_id
from notifier.domain.planning import HEAVY, AggregateState, Plan, PlanningPolicy, RequestState, amendments

WITHDRAWN = "the request was withdrawn"
UNNAMED = 10
"""Mails that a withdrawal may concern, as an estimate: it names the request alone."""


class Recipient(Struct, frozen=True):
    """One address of a request; `fault` says why nothing can be mailed to it."""

    email: str
    fault: str | None = None


class NotificationRequest(Struct, frozen=True, kw_only=True):
    """`notification.requested`: one mail to each recipient at `send_at` (None: now)."""

    id: str
    source: str
    correlation: str | None = None
    traceparent: str | None = None
    recipients: tuple[Recipient, ...]
    subject: str
    text: str
    html: str | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def aggregate(self) -> str:
        """What the message's mails belong to."""
        return _aggregate(self.source, self.id)

    @property
    def rows(self) -> int:
        """How much work it may be, in mails: a transaction is bounded by that, and each mail has the whole content."""
        size = len(self.text.encode()) + len((self.html or "").encode())
        return len(self.recipients) * (1 + size // HEAVY)

    def concerns_mails(self, known: AggregateState | None) -> bool:  # noqa: ARG002 - every message is asked alike
        """Return whether planning it needs the mails that exist."""
        return True

    def plan(
        self,
        known: AggregateState | None,
        existing: Sequence[Mail],
        rules: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),
    ) -> Plan:
        """Write the mails; if the withdrawal came first, they are cancelled at once.

        `existing` and `stored` are those of `BookingMessage.plan`. A request that arrives again after it was
        forgotten adds no mail to an address whose mail can still be sent.
        """
        present = {identity(each.to) for each in existing}
        mails = {identity(each.email): self._mail(each, rules, now) for each in self.recipients}
        new = tuple(mail for who, mail in mails.items() if who not in present and mail.id not in stored)
        if isinstance(known, RequestState) and known.withdrawn:
            changed, amended = amendments((mail, Withdrawn(WITHDRAWN)) for mail in new)
            return Plan(added=new, changed=changed, amended=amended)
        return Plan(added=new)

    def _mail(self, recipient: Recipient, rules: PlanningPolicy, now: datetime) -> Mail:
        # The time is part of it: the same request, sent again after everything was purged, must not use an id twice.
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
            message_id=f"<{id_}@{rules.domain}>",
            created_at=now,
            send_at=self.send_at or now,
            expires_at=self.expires_at,
        )
        if recipient.fault is None:
            return mail
        return replace(mail, status=Status.FAILED, error=f"{recipient.email!r} is no address: {recipient.fault}")


class NotificationCancelled(Struct, frozen=True, kw_only=True):
    """`notification.cancelled`: withdraws the request with this id from the same source."""

    id: str
    source: str
    correlation: str | None = None
    traceparent: str | None = None
    request: str

    @property
    def aggregate(self) -> str:
        """What the message's mails belong to."""
        return _aggregate(self.source, self.request)

    @property
    def rows(self) -> int:
        """How many mails it may change, as an estimate: a transaction is bounded by that."""
        return UNNAMED

    def concerns_mails(self, known: AggregateState | None) -> bool:  # noqa: ARG002 - every message is asked alike
        """Return whether planning it needs the mails that exist."""
        return True

    def plan(
        self,
        known: AggregateState | None,  # noqa: ARG002 - every message plans alike
        existing: Sequence[Mail],
        rules: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),  # noqa: ARG002 - every message plans alike
    ) -> Plan:
        """Cancel the unsent mails, and remember that the request must not make any when it arrives later."""
        changed, amended = amendments((mail, Withdrawn(WITHDRAWN)) for mail in existing)
        return Plan(
            changed=changed,
            amended=amended,
            known=RequestState(withdrawn=True),
            forget_at=now + rules.remember,
        )


def _aggregate(source: str, request: str) -> str:
    """Join source and id so that no other pair makes the same name."""
    unambiguous = source.replace("%", "%25").replace(" ", "%20")
    return f"request:{unambiguous} {request}"
