from msgspec.structs import replace
from support.samples import NOW, flight

from notifier.domain.planning import AddressState, BookingState, Outdone, forgetting, recognising

SALT = b"salt"
ASHA, RAVI = "asha@example.com", "ravi@example.com"
KNOWN = BookingState(
    version=2,
    time=NOW,
    sequence=1,
    flights=(flight(),),
    price=None,
    told={
        ASHA: AddressState("Asha@example.com", ("Asha Rao",), "en", included=True, confirmation="c1"),
        RAVI: AddressState(RAVI, ("Ravi Rao",), None, included=False, confirmation="c2"),
    },
    outdone=Outdone(NOW, cancelled=False, flights=(), price=None, passengers=(("Asha Rao", ASHA, None),)),
    founder=("/booking-service", "m1"),
)


def test_an_erased_address_leaves_whether_it_is_included() -> None:
    """Neither address nor name nor what was outdone is kept; everything else is."""
    left = forgetting(KNOWN, ASHA, SALT)
    (hashed,) = left.told.keys() - {RAVI}
    assert left == replace(
        KNOWN, told={RAVI: KNOWN.told[RAVI], hashed: AddressState("", (), None, included=True)}, outdone=None
    )
    assert "asha" not in repr(left).lower()


def test_an_erased_address_is_known_again_when_a_message_names_it() -> None:
    """It had its confirmation; an address that nobody names stays a hash."""
    left = forgetting(forgetting(KNOWN, ASHA, SALT), RAVI, SALT)
    found = recognising(left, {ASHA, "new@example.com"}, SALT)
    assert found.told[ASHA] == AddressState("", (), None, included=True)
    assert len(found.told) == 2
    assert RAVI not in found.told
    assert replace(found, told={}) == replace(left, told={})


def test_with_another_salt_nobody_is_known_again() -> None:
    """The hash alone does not tell whose it is."""
    assert ASHA not in recognising(forgetting(KNOWN, ASHA, SALT), {ASHA}, b"pepper").told


def test_where_nobody_was_erased_nothing_changes() -> None:
    """What is known is returned as it is."""
    assert recognising(KNOWN, {ASHA}, SALT) is KNOWN
