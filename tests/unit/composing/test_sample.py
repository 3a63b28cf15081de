"""Samples have everything that a template can meet."""

import pytest
from msgspec.structs import replace
from support.samples import DEPARTURE, WORDING

from notifier.composing.sample import dated_mails, sample_mails
from notifier.composing.templates import KINDS


def test_samples_are_of_every_kind() -> None:
    """The samples cover every kind of mail."""
    found = list(sample_mails("en"))
    assert {given.kind for given, _ in found} == set(KINDS)
    assert replace(found[0][0], subject="") != found[0][0]
    assert DEPARTURE in {each.departs_at for _, content in found for each in content.flights}


@pytest.mark.parametrize("locale", WORDING.locales)
def test_dated_samples_have_every_weekday_and_month(locale: str) -> None:
    """For each kind there are departures on all weekdays and in all months, and the built-in templates render them."""
    found = list(dated_mails(locale))
    for kind in KINDS:
        clocks = [content.flights[0].departs.clock for given, content in found if given.kind is kind]
        assert {clock.weekday() for clock in clocks} == set(range(7))
        assert {clock.month for clock in clocks} == set(range(1, 13))
    for each, content in found:
        assert WORDING.subject(each.kind, "R", content.flights, locale)
        assert WORDING.body(each).text
