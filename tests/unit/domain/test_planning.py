import json
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.samples import NOW, flight, mail

from notifier.domain.addresses import hashed
from notifier.domain.mail import Amendment, Flight, Itinerary, Kind, Mail, PlainContent, Rewritten, Status, Withdrawn
from notifier.domain.planning import (
    SUPERSEDED,
    AddressState,
    AggregateState,
    BookingState,
    Outdone,
    RequestState,
    Subjects,
    amendments,
    forgetting,
    handing_on,
    recognising,
)

SALT = b"salt"
ASHA, RAVI = "asha@example.com", "ravi@example.com"
STATE = BookingState(
    version=2,
    time=NOW,
    sequence=1,
    flights=(flight(),),
    price=None,
    addresses={
        ASHA: AddressState("Asha@example.com", ("Asha Rao",), "en", included=True, confirmation="c1"),
        RAVI: AddressState(RAVI, ("Ravi Rao",), None, included=False, confirmation="c2"),
    },
    outdone=Outdone(NOW, cancelled=False, flights=(), price=None, passengers=(("Asha Rao", ASHA, None),)),
    founder=("/booking-service", "m1"),
)


def test_an_erased_address_leaves_whether_it_is_included() -> None:
    """Address, names and the outdone message are removed; everything else is kept."""
    left = forgetting(STATE, ASHA, SALT)
    (hashed,) = left.addresses.keys() - {RAVI}
    assert left == replace(
        STATE, addresses={RAVI: STATE.addresses[RAVI], hashed: AddressState("", (), None, included=True)}, outdone=None
    )
    assert "asha" not in repr(left).lower()


def test_an_erased_address_leaves_whether_it_was_confirmed() -> None:
    """If it had no confirmation, it can still get one when a message names it again."""
    unconfirmed = {ASHA: AddressState(ASHA, ("Asha Rao",), None, included=False, confirmed=False)}
    (left,) = forgetting(replace(STATE, addresses=unconfirmed), ASHA, SALT).addresses.values()
    assert left == AddressState("", (), None, included=False, confirmed=False)


@pytest.mark.parametrize("email", [ASHA, "Asha@Example.com"])
def test_an_address_that_only_an_outdone_message_names_is_erased(email: str) -> None:
    """The outdone message is removed, whatever the letter case of the address in it; the rest stays."""
    outdone = Outdone(
        NOW,
        cancelled=False,
        flights=(),
        price=None,
        passengers=(("Ravi Rao", RAVI, None), ("Asha Rao", email, "en")),
    )
    before = replace(STATE, addresses={RAVI: STATE.addresses[RAVI]}, outdone=outdone)
    assert forgetting(before, ASHA, SALT) == replace(before, outdone=None)


@pytest.mark.parametrize("outdone", [STATE.outdone, None])
def test_erasing_an_address_that_the_booking_does_not_name_changes_nothing(outdone: Outdone | None) -> None:
    """The state itself is returned."""
    before = replace(STATE, outdone=outdone)
    assert forgetting(before, "new@example.com", SALT) is before


def test_an_erased_address_is_recognised_when_a_message_names_it() -> None:
    """It still counts as confirmed; an address that the message does not name stays a hash."""
    left = forgetting(forgetting(STATE, ASHA, SALT), RAVI, SALT)
    found = recognising(left, {ASHA, "new@example.com"}, SALT)
    assert found.addresses == {
        ASHA: AddressState("", (), None, included=True),
        hashed(RAVI, SALT): AddressState("", (), None, included=False),
    }
    assert replace(found, addresses={}) == replace(left, addresses={})


def test_with_another_salt_no_address_is_recognised() -> None:
    """The hash depends on the salt."""
    assert ASHA not in recognising(forgetting(STATE, ASHA, SALT), {ASHA}, b"pepper").addresses


def test_without_an_erased_address_nothing_changes() -> None:
    """The state itself is returned."""
    assert recognising(STATE, {ASHA}, SALT) is STATE


def test_a_stored_state_keeps_the_name_of_its_addresses() -> None:
    """Databases of earlier versions use the same key in their JSON."""
    stored = msgspec.json.encode(STATE)
    assert json.loads(stored)["told"].keys() == {ASHA, RAVI}
    assert msgspec.json.decode(stored, type=BookingState) == STATE


@pytest.mark.parametrize(("state", "type_"), [(STATE, "booking"), (RequestState(withdrawn=True), "request")])
def test_a_state_is_stored_under_a_fixed_name(state: AggregateState, type_: str) -> None:
    """A later version can decode the JSON of an earlier one, because the type is a part of it."""
    stored = msgspec.json.encode(state)
    assert json.loads(stored)["type"] == type_
    assert msgspec.json.decode(stored, type=BookingState | RequestState) == state


def test_an_address_of_an_earlier_version_counts_as_confirmed() -> None:
    """If it was stored without the newer fields, it does not get a second confirmation."""
    stored = b'{"address":"asha@example.com","names":["Asha Rao"],"locale":null,"included":true}'
    found = msgspec.json.decode(stored, type=AddressState)
    assert (found.confirmed, found.confirmation) == (True, None)


def subject(kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
    return f"{kind} {booking} {len(flights)} {locale}"


def test_a_subject_is_rendered_before_it_is_used() -> None:
    """Until then it is empty and noted as missing, also if it was expected."""
    subjects = Subjects(subject)
    keys = [(Kind.CHANGE, "R", (flight(),), locale) for locale in ("en", "de", None)]
    subjects.expect(keys[:2])
    lacks = [subjects.lacks]
    assert [subjects(*key) for key in keys] == ["", "", ""]
    subjects.render(2)
    assert [subjects(*key) for key in keys] == [subject(*keys[0]), subject(*keys[1]), ""]
    lacks.append(subjects.lacks)
    subjects.render(9)
    lacks.append(subjects.lacks)
    assert [subjects(*key) for key in keys] == [subject(*key) for key in keys]
    subjects.expect(keys)
    assert [*lacks, subjects.lacks] == [True, True, False, False]


def test_subjects_of_several_messages_are_expected_together() -> None:
    """Expecting more of them does not remove those that are still missing."""
    subjects = Subjects(subject)
    english, german = ((Kind.CHANGE, "R", (flight(),), locale) for locale in ("en", "de"))
    subjects.expect([english])
    subjects.expect([german])
    subjects.render(2)
    assert (subjects(*english), subjects(*german)) == (subject(*english), subject(*german))


OLDER = mail(content=Itinerary(("Asha",), (flight(),), before=(flight(number="AI1"),)))
NEWER = mail(
    rev=3,
    subject="Changed again",
    content=Itinerary(("Asha",), (flight(number="AI3"),), sequence=2, before=(flight(number="AI2"),), note="no price"),
    flight=flight(number="AI3"),
    expires_at=NOW + timedelta(days=1),
    error="no price",
)


def test_a_newer_notice_takes_over_the_changes_of_a_superseded_one() -> None:
    """Its reader did not receive the older one, so the flights before are those of the older one; the rest stays."""
    content = Itinerary(("Asha",), (flight(number="AI3"),), sequence=2, before=(flight(number="AI1"),), note="no price")
    assert handing_on(OLDER, NEWER) == replace(NEWER, rev=4, content=content)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (OLDER, replace(NEWER, maybe_sent=True)),
        (replace(OLDER, content=PlainContent("")), NEWER),
        (OLDER, replace(NEWER, content=PlainContent(""))),
        (replace(OLDER, content=PlainContent("")), replace(NEWER, content=PlainContent(""))),
    ],
)
def test_a_notice_that_was_erased_or_may_have_been_sent_takes_over_nothing(older: Mail, newer: Mail) -> None:
    """A mail that its reader may have received stays the same, and an erased one has no changes."""
    assert handing_on(older, newer) is None


REWRITTEN = Rewritten("New", Itinerary(("Asha",), ()), flight(), NOW + timedelta(hours=1))
WITHDRAWN = Withdrawn("the booking was cancelled")
AMENDMENTS = (REWRITTEN, WITHDRAWN, None)


@pytest.mark.parametrize("amendment", AMENDMENTS)
@pytest.mark.parametrize("status", [Status.SENDING, Status.FAILED, Status.UNCERTAIN])
def test_a_mail_that_can_wait_again_is_amended_then(status: Status, amendment: Amendment | None) -> None:
    """The amendment is kept under the id of the mail, which itself does not change."""
    assert amendments([(mail(id="m", status=status), amendment)]) == ((), (("m", amendment),))


@pytest.mark.parametrize("amendment", AMENDMENTS)
@pytest.mark.parametrize("status", [Status.SENT, Status.CANCELLED, Status.EXPIRED])
def test_a_mail_that_never_waits_again_is_not_amended(status: Status, amendment: Amendment | None) -> None:
    """Nothing is changed and nothing is kept."""
    assert amendments([(mail(status=status), amendment)]) == ((), ())


@pytest.mark.parametrize("maybe_sent", [False, True])
def test_a_waiting_mail_is_withdrawn_at_once(maybe_sent: bool) -> None:  # noqa: FBT001 - both values
    """It is cancelled with the reason as its error, even if its reader may have received it."""
    (changed,), amended = amendments([(mail(rev=4, maybe_sent=maybe_sent), WITHDRAWN)])
    assert (changed.status, changed.rev, changed.error) == (Status.CANCELLED, 5, "the booking was cancelled")
    assert amended == ()


def test_a_waiting_mail_is_rewritten_at_once() -> None:
    """It goes on waiting, with the new content in a new revision."""
    (changed,), amended = amendments([(mail(rev=4), REWRITTEN)])
    assert (changed.status, changed.rev) == (Status.PENDING, 5)
    assert (changed.subject, changed.content) == ("New", REWRITTEN.content)
    assert amended == ()


@pytest.mark.parametrize(
    ("waiting", "amendment"), [(mail(maybe_sent=True), REWRITTEN), (mail(maybe_sent=True), None), (mail(), None)]
)
def test_a_waiting_mail_stays_as_it_is(waiting: Mail, amendment: Amendment | None) -> None:
    """Without an amendment nothing changes, and a mail that its reader may have received is not rewritten."""
    assert amendments([(waiting, amendment)]) == ((), ())


@given(st.lists(st.tuples(st.sampled_from(Status), st.booleans(), st.sampled_from(AMENDMENTS)), max_size=9))
def test_each_mail_is_amended_separately(drawn: list[tuple[Status, bool, Amendment | None]]) -> None:
    """The mails of one message have the amendments that each would have alone, in the same order."""
    decided = [
        (mail(id=str(place), status=status, maybe_sent=maybe_sent), amendment)
        for place, (status, maybe_sent, amendment) in enumerate(drawn)
    ]
    together = amendments(decided)
    alone = [amendments([each]) for each in decided]
    assert together.changed == tuple(changed for each in alone for changed in each.changed)
    assert together.amended == tuple(amended for each in alone for amended in each.amended)


def test_a_superseded_notice_says_why_it_was_cancelled() -> None:
    """Operators see that a newer notice has taken its place."""
    (changed,), _ = amendments([(mail(), SUPERSEDED)])
    assert (changed.status, changed.error) == (Status.CANCELLED, "superseded by a newer notice")
