"""From a booking message and the booking's state to the mails that should exist. Pure.

Newer wins: a message that is not newer than the newest one handled plans nothing, so messages can arrive late, twice
and in any order. Every message decides about every mail of the booking that can still change. If a mail is not waiting,
the decision takes effect once it waits again.
"""

from collections.abc import Container, Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from notifier.domain.addresses import identity
from notifier.domain.booking_update import BookingUpdate, Change, Passenger
from notifier.domain.drafts import Drafts, ReminderKey, forget_at, reminder_key
from notifier.domain.mail import Itinerary, Kind, Mail, Status, Withdrawn
from notifier.domain.planning import (
    SUPERSEDED,
    AddressState,
    AggregateState,
    BookingState,
    Plan,
    PlanningPolicy,
    amendments,
)
from notifier.domain.precedence import InForce, in_force

__all__ = ["CANCELLED", "BookingMessage", "Change", "Passenger"]

CANCELLED = Withdrawn("the booking was cancelled")


class BookingMessage(BookingUpdate, frozen=True, kw_only=True):
    """A booking message, which plans the mails of its booking."""

    def concerns_mails(self, state: AggregateState | None) -> bool:
        """Return whether planning it needs the mails that exist; an outdated message changes none of them."""
        before = state if isinstance(state, BookingState) else None
        return not isinstance(in_force(self, before), BookingState)

    def plan(
        self,
        state: AggregateState | None,
        existing: Sequence[Mail],
        policy: PlanningPolicy,
        now: datetime,
        stored: Container[str] = frozenset(),
    ) -> Plan:
        """Decide what becomes of the booking's mails.

        `state` is the booking's state after earlier messages. `existing` are its mails in the order in which they were
        added; those that are sent, cancelled or expired can be left out, because they cannot change any more. `stored`
        are the ids of all stored mails.
        """
        before = state if isinstance(state, BookingState) else None
        found = in_force(self, before)
        if isinstance(found, BookingState):
            return Plan(state=found, forget_at=forget_at(found.flights, policy, now)) if found is not before else Plan()
        drafts = Drafts(found, before, _Ids(existing, stored), policy=policy, now=now)
        plan = _plan_end if found.message.change is Change.CANCELLED else _plan_update
        return plan(found, before, existing, drafts)


class _Ids:
    """The ids that mails have already."""

    def __init__(self, existing: Iterable[Mail], stored: Container[str]) -> None:
        self._existing = {mail.id for mail in existing}
        self._stored = stored

    def __contains__(self, id_: object) -> bool:
        return id_ in self._existing or id_ in self._stored


def _plan_update(found: InForce, state: BookingState | None, existing: Sequence[Mail], drafts: Drafts) -> Plan:
    """Plan for a booking that was confirmed or changed: a notice to each address, and the reminders that fit."""
    message = found.message
    notices = _Notices(existing)
    parties = _parties(message.passengers)
    addresses = dict(state.addresses) if state else {}
    reported = {identity(mail.to) for mail in existing if mail.kind is Kind.CONFIRMATION}
    unmailable = {identity(each.email): each for each in message.passengers if each.fault}
    reported |= addresses.keys()
    added = [drafts.unmailable(each) for who, each in unmailable.items() if who not in reported]
    # It is kept as an address without a mail, so that it is reported once and not again after a purge.
    addresses |= {who: drafts.unreachable(each) for who, each in unmailable.items() if who not in addresses}
    for who, party in parties.items():
        before = addresses.get(who)
        addresses[who] = drafts.addressee(party, before)
        if before is None or not before.confirmed:
            added.append(drafts.confirmation(addresses[who]))
        elif state and (_visible(before), state.flights, state.price) != (
            _visible(addresses[who]),
            message.flights,
            message.price,
        ):
            # An address that comes back is sent the booking as it is, without the changes that it has missed.
            notice = drafts.notice(Kind.CHANGE, addresses[who], before=state.flights if before.included else ())
            added.append(notices.superseding(notice))
    for who, gone in [(who, each) for who, each in addresses.items() if each.included and who not in parties]:
        addresses[who] = replace(gone, included=False)
        if gone.address:
            added.append(drafts.notice(Kind.CANCELLATION, gone, flights=state.flights if state else None))
    wanted = {reminder_key(mail): mail for who in parties for mail in drafts.reminders(addresses[who])}
    settled = {reminder_key(mail) for mail in existing if _is_live_reminder(mail)} | _reminded_before(state)
    changed, amended = amendments(
        (mail, SUPERSEDED if notices.is_superseded(mail) else drafts.amendment(mail, wanted, addresses))
        for mail in existing
    )
    return Plan(
        added=(*added, *(mail for key, mail in wanted.items() if key not in settled and drafts.is_in_time(mail))),
        changed=changed,
        amended=amended,
        state=drafts.state(found, addresses),
        forget_at=drafts.forget_at(),
    )


class _Notices:
    """The change notices of a booking, of which each address needs only the newest."""

    def __init__(self, existing: Iterable[Mail]) -> None:
        self._newest: dict[str, Mail] = {}
        self._waiting: dict[str, Mail] = {}
        for mail in existing:
            if mail.kind is Kind.CHANGE:
                self._newest[identity(mail.to)] = mail
                if mail.status is Status.PENDING and not mail.maybe_sent:
                    self._waiting.setdefault(identity(mail.to), mail)

    def superseding(self, notice: Mail) -> Mail:
        """Return a new notice as it supersedes the others to its address.

        A notice that still waits has not been read. The new one takes its place in the queue and describes the changes
        since before it.
        """
        waiting = self._waiting.get(identity(notice.to))
        self._newest[identity(notice.to)] = notice
        if waiting and isinstance(waiting.content, Itinerary) and isinstance(notice.content, Itinerary):
            content = replace(notice.content, before=waiting.content.before)
            return replace(notice, content=content, send_at=min(waiting.send_at, notice.send_at))
        return notice

    def is_superseded(self, mail: Mail) -> bool:
        """Return whether there is a newer notice to the same address."""
        return mail.kind is Kind.CHANGE and self._newest[identity(mail.to)].id != mail.id


def _plan_end(found: InForce, state: BookingState | None, existing: Sequence[Mail], drafts: Drafts) -> Plan:
    """Plan for a cancelled booking: everything unsent is withdrawn, and each included address gets one notice."""
    message = found.message
    addresses = dict(state.addresses) if state else {}
    for who, party in _parties(message.passengers).items():
        before = addresses.setdefault(who, replace(drafts.addressee(party, None), confirmed=False))
        if not before.address:
            named = drafts.addressee(party, before)
            addresses[who] = replace(named, included=before.included, confirmed=before.confirmed)
    # A notice that still waits is replaced by a new one, unless its reader may have received it.
    unread = {identity(mail.to) for mail in existing if _is_waiting_cancellation(mail)}
    notified = {who: each for who, each in addresses.items() if each.address and (each.included or who in unread)}
    changed, amended = amendments(
        # A notice to an address that gets no new one stays as it is: it may be under way, or may have failed.
        (mail, None if mail.kind is Kind.CANCELLATION and identity(mail.to) not in notified else CANCELLED)
        for mail in existing
    )
    return Plan(
        added=tuple(drafts.notice(Kind.CANCELLATION, each) for each in notified.values()),
        changed=changed,
        amended=amended,
        state=drafts.state(found, {who: replace(each, included=False) for who, each in addresses.items()}),
        forget_at=drafts.forget_at(),
    )


def _is_live_reminder(mail: Mail) -> bool:
    return mail.kind is Kind.REMINDER and mail.status is not Status.CANCELLED


def _is_waiting_cancellation(mail: Mail) -> bool:
    return mail.kind is Kind.CANCELLATION and mail.status is Status.PENDING and not mail.maybe_sent


def _visible(addressee: AddressState) -> tuple[list[str], bool]:
    """Return what a reader would notice of the state of an address."""
    return sorted(addressee.names), addressee.included


def _reminded_before(state: BookingState | None) -> set[ReminderKey]:
    """List the reminders that the state before wanted: one of them that is missing was cancelled by an operator."""
    if state is None:
        return set()
    included = [who for who, each in state.addresses.items() if each.included and each.address]
    return {(who, flight.number, flight.departs_at) for who in included for flight in state.flights}


def _parties(passengers: Iterable[Passenger]) -> dict[str, list[Passenger]]:
    """Group the passengers that mail can reach by address: those who share one get one mail that names them all."""
    parties: dict[str, list[Passenger]] = {}
    for passenger in passengers:
        if not passenger.fault:
            parties.setdefault(identity(passenger.email), []).append(passenger)
    return parties
