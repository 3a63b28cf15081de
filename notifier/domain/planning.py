"""What a message does to the mails of its aggregate, and what is kept of the aggregate for later messages. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.domain.addresses import hashed, identity
from notifier.domain.mail import (
    Amendment,
    Flight,
    Itinerary,
    Kind,
    Mail,
    Price,
    Rewritten,
    Status,
    Withdrawn,
    cancelled,
    rewritten,
)

BYTES_PER_MAIL = 16_384
"""Bytes of a mail's content that cost the store as much as one more mail."""

Subject = Callable[[Kind, str, Sequence[Flight], str | None], str]
"""Writes the subject of a booking's mail, given its kind, the reference, the flights and the reader's locale."""
SubjectKey = tuple[Kind, str, tuple[Flight, ...], str | None]
"""What a subject depends on: the arguments of `Subject`."""


class Subjects:
    """Subjects that are rendered before planning starts, so that no template is rendered while planning.

    It takes the place of `PlanningPolicy.subject`. A subject that has not been rendered yet is noted: a plan that
    `lacks` one must not be stored, but made again after it was rendered.
    """

    def __init__(self, render: Subject) -> None:
        self._render = render
        self._rendered: dict[SubjectKey, str] = {}
        self._missing: dict[SubjectKey, None] = {}

    def __call__(self, kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        """Return a subject, or an empty one if it has not been rendered yet."""
        key = (kind, booking, tuple(flights), locale)
        if key not in self._rendered:
            self._missing[key] = None
        return self._rendered.get(key, "")

    @property
    def lacks(self) -> bool:
        """Whether a subject was asked for that has not been rendered yet."""
        return bool(self._missing)

    def expect(self, keys: Iterable[SubjectKey]) -> None:
        """Note subjects that will be asked for."""
        self._missing |= {key: None for key in keys if key not in self._rendered}

    def render(self, limit: int) -> None:
        """Render at most `limit` of the subjects that are missing."""
        for key in list(islice(self._missing, limit)):
            self._rendered[key] = self._render(*key)
            del self._missing[key]


class PlanningPolicy(Struct, frozen=True):
    """What an operator decides about planning."""

    domain: str
    """The end of every Message-ID."""
    remind_before: timedelta
    """How long before its departure a reminder is sent at the earliest."""
    remember: timedelta
    """How long the state of an aggregate is kept after its last moment."""
    subject: Subject
    """Writes the subjects of bookings' mails."""


class AddressState(Struct, frozen=True):
    """What the latest mail to one address of a booking said, or is going to say."""

    address: str
    """The normalised address; empty if it was erased."""
    names: tuple[str, ...]
    """The passengers who share the address; empty if it was erased."""
    locale: str | None
    """The language of its mails."""
    included: bool
    """Whether its passengers are still part of the booking."""
    confirmation: str | None = None
    """The id of its confirmation; None if it had none or an earlier version wrote it."""
    confirmed: bool = True
    """Whether it has had its confirmation.

    False for an address that only a cancellation has named or that no mail can be sent to.
    """


class Outdone(Struct, frozen=True):
    """The latest message without a version, while one with a version is in force: it can come into force again."""

    time: datetime
    """When the message was written (UTC)."""
    cancelled: bool
    """Whether it cancelled the booking."""
    flights: tuple[Flight, ...]
    """Its flights."""
    price: Price | None
    """Its price."""
    passengers: tuple[tuple[str, str, str | None], ...]
    """Name, address and locale of each passenger whom mail can reach."""


class BookingState(Struct, frozen=True, tag="booking"):
    """What is kept of a booking beyond the life of its mails, stored as JSON."""

    version: int | None
    """The highest version so far; None if no message had one."""
    time: datetime
    """The time of the message in force (UTC)."""
    sequence: int
    """How many messages came into force before that one."""
    flights: tuple[Flight, ...]
    """The flights of the message in force."""
    price: Price | None
    """The price of the message in force."""
    # Databases have it under the name that versions up to schema 6 gave it.
    addresses: dict[str, AddressState] = field(name="told")
    """The state of each address by its identity, or by its salted hash if it was erased."""
    version_time: datetime | None = None
    """The time of the message with the highest version (UTC)."""
    outdone: Outdone | None = None
    """The latest message without a version, if the message in force has one."""
    founder: tuple[str, ...] = ()
    """Source, id and time of arrival of the booking's first message.

    They are part of the ids of its mails. So the mails of a reference that is used again for another booking have
    other ids, and so do those of the same message if it arrives again after everything was purged. Empty for bookings
    that an earlier version started.
    """


class RequestState(Struct, frozen=True, tag="request"):
    """What is kept of a request beyond the life of its mails, stored as JSON."""

    withdrawn: bool
    """Whether the request was withdrawn, perhaps before it arrived."""


AggregateState = BookingState | RequestState


def forgetting(state: BookingState, who: str, salt: bytes) -> BookingState:
    """Return a state that keeps of an address, given by its identity, only what is needed to recognise it.

    That is `state` itself if it does not name the address.
    """
    in_outdone = state.outdone is not None and any(identity(email) == who for _, email, _ in state.outdone.passengers)
    if who not in state.addresses:
        return replace(state, outdone=None) if in_outdone else state
    rest = {key: each for key, each in state.addresses.items() if key != who}
    erased = state.addresses[who]
    gone = AddressState("", (), None, included=erased.included, confirmed=erased.confirmed)
    return replace(state, addresses={**rest, hashed(who, salt): gone}, outdone=None)


def recognising(state: BookingState, named: Iterable[str], salt: bytes) -> BookingState:
    """Return a state in which erased addresses that a message names are under their identity again.

    So they do not get a second confirmation. `named` are identities.
    """
    if all(each.address for each in state.addresses.values()):
        return state
    names = {hashed(who, salt): who for who in named}
    return replace(state, addresses={names.get(key, key): each for key, each in state.addresses.items()})


class Plan(Struct, frozen=True):
    """What one message does."""

    added: tuple[Mail, ...] = ()
    """New mails."""
    changed: tuple[Mail, ...] = ()
    """Waiting mails as they are after a step: cancelled, or rewritten."""
    amended: tuple[tuple[str, Amendment | None], ...] = ()
    """By id, what mails that do not wait become if they ever wait again; None: they stay as they are."""
    state: AggregateState | None = None
    """The new state of the aggregate; None leaves it as it was."""
    forget_at: datetime | None = None
    """When the new state can be deleted (UTC)."""


SUPERSEDED = Withdrawn("superseded by a newer notice")
"""Only the newest change notice to an address is sent. A superseded one is never sent, even if it waits again."""


def handing_on(superseded: Mail, newer: Mail) -> Mail | None:
    """Return a waiting notice with the changes of a superseded one that was not sent; None if it must stay as it is.

    The newer notice was written while the older one was being sent, as if its reader would receive that.
    """
    if not (isinstance(superseded.content, Itinerary) and isinstance(newer.content, Itinerary)) or newer.maybe_sent:
        return None
    content = replace(newer.content, before=superseded.content.before)
    return rewritten(newer, Rewritten(newer.subject, content, newer.flight, newer.expires_at))


_AMENDABLE = frozenset({Status.SENDING, Status.FAILED, Status.UNCERTAIN})
"""Statuses from which a mail can become pending again."""


class Amendments(NamedTuple):
    """The parts of a plan about mails that exist."""

    changed: tuple[Mail, ...]
    """See `Plan.changed`."""
    amended: tuple[tuple[str, Amendment | None], ...]
    """See `Plan.amended`."""


def amendments(decided: Iterable[tuple[Mail, Amendment | None]]) -> Amendments:
    """Apply amendments to the mails that wait, and keep them for those that can wait again.

    A waiting mail that its reader may have received is not rewritten, only cancelled.
    """
    changed: list[Mail] = []
    amended: list[tuple[str, Amendment | None]] = []
    for mail, amendment in decided:
        if mail.status in _AMENDABLE:
            amended.append((mail.id, amendment))
        elif mail.status is Status.PENDING and isinstance(amendment, Withdrawn):
            changed.append(cancelled(mail, amendment.reason))
        elif mail.status is Status.PENDING and isinstance(amendment, Rewritten) and not mail.maybe_sent:
            changed.append(rewritten(mail, amendment))
    return Amendments(tuple(changed), tuple(amended))
