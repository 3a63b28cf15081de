"""The state of the service, as `stats` frames and `/readyz` show it. Pure."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from notifier.domain.public_mail import Count, Time
from notifier.feed.protocol.fields import Rate

# Texts, because clients must be able to read the words of a newer service.
_BrokerWord = Annotated[str, Meta(extra_json_schema={"enum": ["connected", "connecting", "off"]})]
_TransportWord = Annotated[str, Meta(extra_json_schema={"enum": ["ready", "paused"]})]


class PendingMails(Struct, frozen=True, kw_only=True):
    """The pending mails, by what they wait for; together they are `totals.pending`."""

    due: Annotated[Count, Meta(description="Due, and not tried yet")]
    scheduled: Annotated[Count, Meta(description="Not due yet, and not tried yet")]
    retrying: Annotated[Count, Meta(description="Tried before, whether due or not")]


class Rates(Struct, frozen=True, kw_only=True):
    """Mails a second, over the last ten seconds."""

    received: Annotated[Rate, Meta(description="Mails stored")]
    sent: Annotated[Rate, Meta(description="Mails that the SMTP server accepted")]
    failed: Annotated[Rate, Meta(description="Mails that failed for good")]


class QueueStatus(Struct, frozen=True, kw_only=True):
    """The broker's queue, as it was last seen."""

    messages: Annotated[Count, Meta(description="Messages that wait")]
    consumers: Annotated[Count, Meta(description="Consumers of the queue")]


class BrokerState(Struct, frozen=True, kw_only=True):
    """The connection to the broker."""

    state: Annotated[_BrokerWord, Meta(description="off: the service has been given no broker")]
    since: Annotated[Time | None, Meta(description="Since when; null if off")]


class TransportState(Struct, frozen=True, kw_only=True):
    """One SMTP account."""

    transport: Annotated[str, Meta(description="Name of the account: host and port")]
    state: Annotated[_TransportWord, Meta(description="Whether mail can be handed to it now")]
    reason: Annotated[str | None, Meta(description="Why it is paused, with addresses masked")]
    until: Annotated[Time | None, Meta(description="When it will be tried again")]
    quota_left: Annotated[
        Count | None,
        Meta(description="Mails that it may still start in this 24 hours; null: no quota, or not known yet"),
    ]


class StoreState(Struct, frozen=True, kw_only=True):
    """The database."""

    state: Annotated[Literal["ok", "unusable"], Meta(description="Whether the service can write")]
    reason: Annotated[str | None, Meta(description="Why it cannot")]


class ActorState(Struct, frozen=True, kw_only=True):
    """One actor of the service."""

    state: Annotated[str, Meta(description="running, or what it waits for")]
    since: Annotated[Time, Meta(description="Since when")]
    reason: Annotated[str | None, Meta(description="Why it does not run, with addresses masked")]


class DeadLettersState(Struct, frozen=True, kw_only=True):
    """The publishing of dead letters."""

    state: Annotated[Literal["ok", "held", "off"], Meta(description="held: the broker does not take them now")]
    waiting: Annotated[Count, Meta(description="Dead letters that wait to be published")]
    reason: Annotated[str | None, Meta(description="Why they wait, with addresses masked")]


class Readiness(Struct, frozen=True, kw_only=True):
    """The body of `/readyz` for clients with a valid token.

    An unavailable broker or SMTP server does not make the service unready.
    """

    status: Annotated[Literal["ok", "not ready"], Meta(description="Whether the store, the actors and the feed work")]
    store: Annotated[StoreState, Meta(description="The database")]
    actors: Annotated[dict[str, ActorState], Meta(description="The actors, by name")]
    broker: Annotated[BrokerState, Meta(description="The connection to the broker")]
    dead_letters: Annotated[DeadLettersState, Meta(description="The publishing of dead letters")]
    smtp: Annotated[list[TransportState], Meta(description="The SMTP accounts")]

    @property
    def is_ready(self) -> bool:
        """Whether the service can work."""
        return self.status == "ok"


class PartState(Struct, frozen=True):
    """The state of one part, without what only clients with a token may know."""

    state: Annotated[str, Meta(description="A word, such as ok or running")]


class ReadinessStates(Struct, frozen=True):
    """What every client gets from `/readyz`, with or without a token, and hardly from any other service."""

    status: Annotated[str, Meta(description="ok or not ready")]
    store: Annotated[PartState, Meta(description="The database")]
    actors: Annotated[dict[str, PartState], Meta(description="The actors, by name")]
