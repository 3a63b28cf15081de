"""What a message does to the mails of its matter: some are added, some withdrawn, something is kept in mind. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from notifier.addresses import hashed
from notifier.mail import Flight, Kind, Mail, Price, Status, cancelled

Subject = Callable[[Kind, str, Sequence[Flight], str | None], str]
"""Writes the subject of a booking's mail: its kind, the reference, the flights, the reader's locale."""


class Rules(Struct, frozen=True):
    """What an operator decides about planning.

    `domain` ends every Message-ID. A reminder goes out `remind_before` its departure
    at the earliest. What is known of a matter is kept for `remember` after its last moment.
    """

    domain: str
    remind_before: timedelta
    remember: timedelta
    subject: Subject


class Told(Struct, frozen=True):
    """What one address of a booking was told last: whom it stands for, and whether they are still in.

    Of an erased address, which is empty, only the last is kept.
    """

    address: str
    names: tuple[str, ...]
    locale: str | None
    included: bool


class KnownBooking(Struct, frozen=True, tag="booking"):
    """What outlives a booking's mails: how new the newest message was, and what each address was told.

    `sequence` counts the messages that were heeded, from 0. `told` is by the identity of
    the address, or by its salted hash where it was erased.
    """

    version: int | None
    time: datetime
    sequence: int
    flights: tuple[Flight, ...]
    price: Price | None
    told: dict[str, Told]


class KnownRequest(Struct, frozen=True, tag="request"):
    """What outlives a request's mails: that it was withdrawn, perhaps before it arrived."""

    withdrawn: bool


Known = KnownBooking | KnownRequest


def forgetting(known: KnownBooking, who: str, salt: bytes) -> KnownBooking:
    """Keep of an erased address, given by its identity, no more than it takes to know it again."""
    rest = {each: told for each, told in known.told.items() if each != who}
    gone = Told("", (), None, included=known.told[who].included)
    return replace(known, told={**rest, hashed(who, salt): gone})


def recognising(known: KnownBooking, named: Iterable[str], salt: bytes) -> KnownBooking:
    """Put erased addresses that a new message names back under their identity: they had their confirmation."""
    if all(told.address for told in known.told.values()):
        return known
    names = {hashed(who, salt): who for who in named}
    return replace(known, told={names.get(each, each): told for each, told in known.told.items()})


class Plan(Struct, frozen=True):
    """The outcome of one message.

    `changed` holds mails as they are after a change of status. `rewritten` holds waiting
    mails that will say something else, which nobody need be told. `known` replaces what was
    known of the matter, to be forgotten at `forget_at`; None leaves it as it was.
    """

    added: tuple[Mail, ...] = ()
    changed: tuple[Mail, ...] = ()
    rewritten: tuple[Mail, ...] = ()
    known: Known | None = None
    forget_at: datetime | None = None


def withdrawn(mails: Iterable[Mail], reason: str) -> tuple[Mail, ...]:
    """Cancel those that still wait; a mail already being handed over can no longer be called back."""
    return tuple(cancelled(mail, reason) for mail in mails if mail.status is Status.PENDING)
