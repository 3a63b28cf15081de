"""What a message does to the mails of its aggregate, and what is kept of the aggregate for later messages. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct
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

HEAVY = 16_384
"""Bytes of a mail's content that are as much work for the store as one more mail."""

Subject = Callable[[Kind, str, Sequence[Flight], str | None], str]
"""Writes the subject of a booking's mail: its kind, the reference, the flights, the reader's locale."""


class PlanningPolicy(Struct, frozen=True):
    """What an operator decides about planning.

    `domain` ends every Message-ID. A reminder goes out `remind_before` its departure
    at the earliest. What is known of a aggregate is kept for `remember` after its last moment.
    """

    domain: str
    remind_before: timedelta
    remember: timedelta
    subject: Subject


class AddressState(Struct, frozen=True):
    """What one address of a booking was told last: whom it stands for, and whether they are still in.

    `confirmation` is the id of its confirmation, None where it had none or an earlier version
    wrote it. An address that only a cancellation has named, or that no mail can go to, is not
    `confirmed`: its confirmation is still to come. Of an erased address, which is empty, only
    `included` and `confirmed` are kept.
    """

    address: str
    names: tuple[str, ...]
    locale: str | None
    included: bool
    confirmation: str | None = None
    confirmed: bool = True


class Outdone(Struct, frozen=True):
    """The newest message without a version, kept while one with a version is newer: it can come into force again."""

    time: datetime
    cancelled: bool
    flights: tuple[Flight, ...]
    price: Price | None
    passengers: tuple[tuple[str, str, str | None], ...]


class BookingState(Struct, frozen=True, tag="booking"):
    """What outlives a booking's mails: how new the newest message was, and what each address was told.

    `version` is the highest one so far (None: no message had one) and `version_time` the time of
    its message; `time` is that of the message in force. `sequence` counts the messages that came
    into force, from 0. `told` is by the identity of the address, or by its salted hash if it was
    erased. `founder` names the booking's first message, so that the mails of a reference that is
    given out again have other ids, and has the time of its arrival, so that the same message has
    others after everything was forgotten; it is empty in bookings that an earlier version began.
    """

    version: int | None
    time: datetime
    sequence: int
    flights: tuple[Flight, ...]
    price: Price | None
    told: dict[str, AddressState]
    version_time: datetime | None = None
    outdone: Outdone | None = None
    founder: tuple[str, ...] = ()


class RequestState(Struct, frozen=True, tag="request"):
    """What outlives a request's mails: that it was withdrawn, perhaps before it arrived."""

    withdrawn: bool


AggregateState = BookingState | RequestState


def forgetting(known: BookingState, who: str, salt: bytes) -> BookingState:
    """Keep of an erased address, given by its identity, no more than it takes to know it again.

    Returns `known` itself if it does not name the address.
    """
    in_outdone = known.outdone is not None and any(identity(email) == who for _, email, _ in known.outdone.passengers)
    if who not in known.told:
        return replace(known, outdone=None) if in_outdone else known
    rest = {each: told for each, told in known.told.items() if each != who}
    gone = AddressState("", (), None, included=known.told[who].included, confirmed=known.told[who].confirmed)
    return replace(known, told={**rest, hashed(who, salt): gone}, outdone=None)


def recognising(known: BookingState, named: Iterable[str], salt: bytes) -> BookingState:
    """Put erased addresses that a new message names back under their identity: they had their confirmation."""
    if all(told.address for told in known.told.values()):
        return known
    names = {hashed(who, salt): who for who in named}
    return replace(known, told={names.get(each, each): told for each, told in known.told.items()})


class Plan(Struct, frozen=True):
    """The outcome of one message.

    `changed` holds waiting mails as they are after a step: cancelled, or rewritten. `amended`
    has, by id, what mails that do not wait become if they ever wait again (None: what they are).
    `known` replaces what was known of the aggregate, to be forgotten at `forget_at`; None leaves
    it as it was.
    """

    added: tuple[Mail, ...] = ()
    changed: tuple[Mail, ...] = ()
    amended: tuple[tuple[str, Amendment | None], ...] = ()
    known: AggregateState | None = None
    forget_at: datetime | None = None


SUPERSEDED = Withdrawn("superseded by a newer notice")
"""Of an address's change notices only the newest is sent. A superseded one never comes back."""


def handing_on(superseded: Mail, newer: Mail) -> Mail | None:
    """Return a waiting newer notice as it speaks for one that was being sent and has come back; None if it need not.

    The newer one was written as if its reader would have the older one.
    """
    if not (isinstance(superseded.content, Itinerary) and isinstance(newer.content, Itinerary)) or newer.maybe_sent:
        return None
    content = replace(newer.content, before=superseded.content.before)
    return rewritten(newer, Rewritten(newer.subject, content, newer.flight, newer.expires_at))


_AMENDABLE = frozenset({Status.SENDING, Status.FAILED, Status.UNCERTAIN})
"""Statuses from which a mail can become pending again."""


class Amendments(NamedTuple):
    """The parts of a plan about mails that exist; see `Plan`."""

    changed: tuple[Mail, ...]
    amended: tuple[tuple[str, Amendment | None], ...]


def amendments(decided: Iterable[tuple[Mail, Amendment | None]]) -> Amendments:
    """Apply amendments to the mails that wait, and keep them for those that may wait again.

    A waiting mail that somebody may have already is not rewritten, only cancelled.
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
