"""Which of a booking's messages is in force: newer wins, in whatever order they arrive. Pure."""

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from notifier.domain.booking_update import BookingUpdate, Change, Passenger
from notifier.domain.planning import BookingState, Outdone


class InForce(NamedTuple):
    """The message that a booking follows from now on, and what must be kept for later comparisons."""

    message: BookingUpdate
    version: int | None
    """The highest version so far; None if no message had one."""
    version_time: datetime | None
    """The time of the message with that version."""
    outdone: Outdone | None = None
    """The latest message without a version, if `message` has one."""
    restored: bool = False
    """Whether `message` was in force before, or arrived earlier than the one that is being handled."""


def in_force(message: BookingUpdate, state: BookingState | None) -> InForce | BookingState:
    """Compare a message with those before it.

    Return what is in force now, or the new state of the booking if it follows the same message as before.

    Versions are compared if both messages have one, otherwise times. That alone is no order (version 5 at 1 o'clock,
    none at 2, version 3 at 3), so the message with the highest version and the latest one without a version are
    compared with each other, by time. Both must be kept for that, because the next version can be from an earlier time.
    """
    if state is None:
        return InForce(message, message.version, message.time if message.version is not None else None)
    version_time = state.time if state.version is not None and state.version_time is None else state.version_time
    follows_version = state.version is not None and state.time == version_time
    unversioned = state.outdone if follows_version else _outdone(state)
    if message.version is None:
        return _without_version(message, state, version_time, unversioned)
    if state.version is not None and message.version <= state.version:
        return state
    if unversioned is None or message.time >= unversioned.time:
        return InForce(message, message.version, message.time, unversioned)
    if follows_version:
        return InForce(_restored(message, unversioned), message.version, message.time, restored=True)
    return replace(state, version=message.version, version_time=message.time)


def _without_version(
    message: BookingUpdate, state: BookingState, version_time: datetime | None, latest: Outdone | None
) -> InForce | BookingState:
    if latest and message.time <= latest.time:
        return state
    if version_time and message.time <= version_time:
        passengers = [(each.name, each.email, each.locale) for each in message.passengers if not each.fault]
        cancelled = message.change is Change.CANCELLED
        return replace(
            state, outdone=Outdone(message.time, cancelled, message.flights, message.price, tuple(passengers))
        )
    return InForce(message, state.version, version_time)


def _restored(message: BookingUpdate, outdone: Outdone) -> BookingUpdate:
    """Return the outdone message as it comes into force again, caused by a message with a version from before it."""
    return replace(
        message,
        change=Change.CANCELLED if outdone.cancelled else Change.CHANGED,
        version=None,
        time=outdone.time,
        passengers=tuple(Passenger(*each) for each in outdone.passengers),
        flights=outdone.flights,
        price=outdone.price,
        note=None,
    )


def _outdone(state: BookingState) -> Outdone:
    """Return the message that a booking follows, in the form in which it is kept while another one is in force."""
    passengers = [
        (name, each.address, each.locale)
        for each in state.addresses.values()
        if each.included and each.address
        for name in each.names
    ]
    cancelled = not any(each.included for each in state.addresses.values())
    return Outdone(state.time, cancelled, state.flights, state.price, tuple(passengers))
