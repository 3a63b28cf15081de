import json
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace
from support.samples import NOW, flight

from notifier.domain.mail import Flight, Kind
from notifier.domain.planning import AddressState, BookingState, Outdone, Subjects, forgetting, recognising

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


def test_an_erased_address_is_recognised_when_a_message_names_it() -> None:
    """It still counts as confirmed; an address that the message does not name stays a hash."""
    left = forgetting(forgetting(STATE, ASHA, SALT), RAVI, SALT)
    found = recognising(left, {ASHA, "new@example.com"}, SALT)
    assert found.addresses[ASHA] == AddressState("", (), None, included=True)
    assert len(found.addresses) == 2
    assert RAVI not in found.addresses
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
