"""Hypothesis strategy for any mail that a store can have."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail, PlainContent, Price, Reply, Status
from notifier.storage.rows import moment

TIMES = st.integers(0, 4 * 10**12).map(moment)
WORDS = st.text(max_size=20)
CLOCKS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - what an airport's clock shows
AIRPORT_TIMES = st.builds(
    AirportTime,
    at=st.none() | CLOCKS.map(lambda clock: clock.replace(tzinfo=UTC)),
    clock=CLOCKS,
    zone=st.none() | WORDS,
)
FLIGHTS = st.builds(
    Flight,
    number=WORDS,
    origin=WORDS,
    destination=WORDS,
    departs=AIRPORT_TIMES,
    arrives=st.none() | AIRPORT_TIMES,
    seat=st.none() | WORDS,
    gate=st.none() | WORDS,
)
ITINERARIES = st.builds(
    Itinerary,
    names=st.lists(WORDS, max_size=3).map(tuple),
    flights=st.lists(FLIGHTS, max_size=3).map(tuple),
    price=st.none() | st.builds(Price, WORDS, WORDS),
    locale=st.none() | WORDS,
    note=st.none() | WORDS,
    sequence=st.integers(0, 99),
    before=st.lists(FLIGHTS, max_size=2).map(tuple),
    leaves_soon=st.booleans(),
)
MAILS = st.builds(
    Mail,
    id=WORDS,
    rev=st.integers(1, 99),
    aggregate=WORDS,
    kind=st.sampled_from(Kind),
    status=st.sampled_from(Status),
    to=WORDS,
    subject=WORDS,
    content=ITINERARIES | st.builds(PlainContent, WORDS, st.none() | WORDS),
    booking=st.none() | WORDS,
    flight=st.none() | FLIGHTS,
    event=WORDS,
    correlation=st.none() | WORDS,
    traceparent=st.none() | WORDS,
    message_id=WORDS,
    attempt=st.integers(0, 99),
    created_at=TIMES,
    send_at=TIMES,
    expires_at=st.none() | TIMES,
    next_attempt_at=st.none() | TIMES,
    first_attempt_at=st.none() | TIMES,
    sent_at=st.none() | TIMES,
    smtp=st.none() | st.builds(Reply, st.integers(200, 599), WORDS),
    error=st.none() | WORDS,
    past_data=st.booleans(),
    maybe_sent=st.booleans(),
    counted_since=st.none() | TIMES,
)
