import json
import re
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from support.samples import DEPARTURE, WORDING, flight, in_delhi, mail

from notifier.composing.sample import sample_mail, sample_mails
from notifier.composing.templates import KINDS, MAX_SUBJECT, MailTemplates
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, PlainContent
from notifier.errors import Misconfigured

MORNING, EVENING = flight(), flight(number="AI202", gate="9")
TWO = (MORNING, EVENING)


def folder(tmp_path: Path, files: Mapping[str, str]) -> Path:
    """Write files into a templates folder and return it."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "flights", "locale", "says"),
    [
        (Kind.CONFIRMATION, (MORNING,), "en", "Booking R is confirmed: AI101 DEL to BLR, Tue 1 Dec 2026, 09:30 (IST,"),
        (Kind.CHANGE, TWO, None, "Booking R has changed: AI101 DEL to BLR, Tue 1 Dec 2026, 09:30"),
        (Kind.CANCELLATION, (), "en", "Booking R has been cancelled"),
        (Kind.REMINDER, (MORNING,), "en-GB", "Reminder: AI101 DEL to BLR, Tue 1 Dec 2026, 09:30"),
        (Kind.REMINDER, (MORNING,), "de_AT", "Erinnerung: AI101 DEL nach BLR, Di. 1. Dez. 2026, 09:30"),
        (Kind.REMINDER, (MORNING,), "DE", "Erinnerung: "),
        (Kind.REMINDER, (MORNING,), "De-de", "Erinnerung: "),
        (Kind.REMINDER, (MORNING,), "xx", "Reminder: "),
        (Kind.REMINDER, (MORNING,), "../../etc", "Reminder: "),
    ],
)
def test_a_subject_says_what_the_mail_says(
    kind: Kind, flights: Sequence[Flight], locale: str | None, says: str
) -> None:
    """A subject names the event, the first flight, its departure and how many more there are, in the right language."""
    found = WORDING.subject(kind, "R", flights, locale)
    assert found.startswith(says)
    assert (" and 1 more flight" in found) is (len(flights) > 1)


@pytest.mark.parametrize("locale", WORDING.locales)
def test_a_confirmation_does_not_say_how_early_the_reminder_comes(locale: str) -> None:
    """NOTIFIER_REMIND_BEFORE decides that, which templates do not know."""
    mail = sample_mail(Kind.CONFIRMATION, locale)
    for part in WORDING.body(mail):
        assert not re.search("hours?|Stunden?", part or "")


def test_a_flight_without_a_zone_has_local_time() -> None:
    """The subject says that the time is local."""
    found = WORDING.subject(Kind.CONFIRMATION, "R", (flight(departs_at=None),), "en")
    assert found.endswith("09:30 (local time)")


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_subject_is_one_line(booking: str, number: str) -> None:
    """For any values, a subject is printable and has at most MAX_SUBJECT characters."""
    found = WORDING.subject(Kind.CONFIRMATION, booking, (flight(number=number),), "en")
    assert found.isprintable()
    assert 0 < len(found) <= MAX_SUBJECT


@pytest.mark.parametrize("locale", WORDING.locales)
@pytest.mark.parametrize("kind", KINDS)
def test_text_and_page_say_the_same(kind: Kind, locale: str) -> None:
    """Every fact of the mail is in the text and in the HTML, which loads nothing."""
    text, page = WORDING.body(sample_mail(kind, locale), "Example Air")
    assert page
    names = f"Asha Rao {WORDING.labels(sample_mail(kind, locale))['conjunction']} Ravi Rao"
    for fact in (names, "RXJ34P", "AI101", "New Delhi", "DEL", "BLR", "09:30", "12:20", "IST", "12A"):
        assert fact in text, fact
        assert fact in page, fact
    assert not re.search(r"(src|href|url|@import)", page)
    assert f'lang="{locale}"' in page


def test_the_case_of_a_locale_does_not_matter(tmp_path: Path) -> None:
    """Case matters neither in a message nor in the name of a folder."""
    wording = MailTemplates(
        folder(tmp_path, {"pt-br/flight.reminder.subject": "Lembrete", "PT/booking.change.subject": "M"})
    )
    assert wording.subject(Kind.REMINDER, "R", (MORNING,), "PT-BR") == "Lembrete"
    assert wording.subject(Kind.CHANGE, "R", (MORNING,), "pt-BR") == "M"


def test_a_locale_cannot_be_there_in_two_spellings(tmp_path: Path) -> None:
    """Two folders of one locale are a fault, because only one would be used."""
    with pytest.raises(Misconfigured, match="DE: is the same locale as de"):
        MailTemplates(folder(tmp_path, {"DE/flight.reminder.subject": "Erinnerung"}))


@pytest.mark.parametrize("locale", [each for each in WORDING.locales if each != "en"])
def test_a_language_is_complete(locale: str) -> None:
    """No file of a built-in locale falls back to English."""
    for kind in KINDS:
        english, other = WORDING.body(sample_mail(kind, "en")), WORDING.body(sample_mail(kind, locale))
        lines = set(english.text.splitlines()) & set(other.text.splitlines())
        assert not [line for line in lines if re.search(r"[a-z]{4} [a-z]{4}", line)], lines


def test_a_change_says_what_was_before() -> None:
    """Previous times, new flights and removed flights are marked; unchanged flights are not."""
    text, page = WORDING.body(sample_mail(Kind.CHANGE, "en"))
    assert "Previously: Tue 1 Dec 2026, 07:10, Seat 12A, Gate 7" in text
    assert "LH755  Bangalore (BLR) - Frankfurt am Main (FRA)  (new)" in text
    assert "No longer part of your booking:\n  AI505" in text
    assert str(page).count("<s>") == 2
    same = Itinerary((), TWO, before=TWO)
    assert "Previously:" not in WORDING.body(mail(kind=Kind.CHANGE, content=same)).text


@pytest.mark.parametrize(
    ("soon", "says"), [(True, "we won't send you a separate reminder"), (False, "We'll send you a reminder")]
)
def test_a_confirmation_says_whether_a_reminder_will_come(soon: bool, says: str) -> None:  # noqa: FBT001 - a column of the table
    """If the flight departs soon, the confirmation announces no reminder."""
    content = Itinerary((), (MORNING,), leaves_soon=soon)
    assert says in WORDING.body(mail(kind=Kind.CONFIRMATION, content=content)).text


def departing(day: int, hour: int) -> Flight:
    """Build the flight with another departure in December."""
    return flight(departs=in_delhi(datetime(2026, 12, day, hour, 0, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (departing(1, 4), departing(1, 5), " Flight AI101 now departs at 10:30 instead of 09:30."),
        (
            departing(1, 4),
            departing(2, 5),
            " Flight AI101 now departs on Wed 2 Dec 2026 at 10:30 instead of Tue 1 Dec 2026 at 09:30.",
        ),
        (flight(gate="3"), flight(gate="4"), ""),
    ],
)
def test_a_change_of_the_departure_is_in_the_first_sentence(before: Flight, now: Flight, says: str) -> None:
    """The sentence has the date if it has changed as well, and is the same in text and HTML."""
    changed = mail(kind=Kind.CHANGE, content=Itinerary((), (now,), before=(before,)))
    text, page = WORDING.body(changed)
    lead = f"Your booking has changed.{says} Here are your new flight details."
    assert lead in text
    assert lead in str(page)


def test_several_names_are_joined_in_the_reader_s_language(tmp_path: Path) -> None:
    """A user's words.toml without a conjunction joins the names with commas, as before."""
    reminder = mail(kind=Kind.REMINDER, content=Itinerary(("A", "B", "C"), (MORNING,), locale="en"))
    assert WORDING.body(reminder).text.startswith("Dear A, B and C,\n")
    own = MailTemplates(folder(tmp_path, {"en/words.toml": words(conjunction="")}))
    assert own.body(reminder).text.startswith("Dear A, B, C,\n")


def test_a_notification_is_what_its_publisher_wrote() -> None:
    """The content of a notification is not rendered."""
    assert WORDING.body(mail(content=PlainContent("{{ 7*7 }}", "<b>{{ 7*7 }}</b>"))) == (
        "{{ 7*7 }}",
        "<b>{{ 7*7 }}</b>",
    )


def test_names_are_text_on_the_page() -> None:
    """Markup in a name is escaped in the HTML and unchanged in the text."""
    names = ("<b>&", "{{ 7*7 }}")
    text, page = WORDING.body(mail(kind=Kind.CONFIRMATION, content=Itinerary(names, (MORNING,))))
    assert "&lt;b&gt;&amp; and {{ 7*7 }}" in str(page)
    assert "<b>& and {{ 7*7 }}" in text


def test_single_files_are_overridden(tmp_path: Path) -> None:
    """Files in the folder override the built-in ones, and a new locale falls back file by file."""
    files = {
        "en/flight.reminder.subject": "Off you go: {{ flights[0].number }}",
        "fr/flight.reminder.subject": "Rappel : {{ flights[0].number }}",
    }
    wording = MailTemplates(folder(tmp_path, files))
    assert wording.subject(Kind.REMINDER, "R", (MORNING,), "en") == "Off you go: AI101"
    assert wording.subject(Kind.REMINDER, "R", (MORNING,), "fr-CA") == "Rappel : AI101"
    assert wording.subject(Kind.REMINDER, "R", (MORNING,), "de").startswith("Erinnerung")
    assert wording.body(sample_mail(Kind.REMINDER, "en")) == WORDING.body(sample_mail(Kind.REMINDER, "en"))


def test_every_fault_of_the_folder_is_listed(tmp_path: Path) -> None:
    """Unknown file names, syntax errors, undefined variables and wrong words are listed with file and line."""
    files = {
        "en/flight.remainder.txt": "x",
        "en/flight.reminder.txt": "one\n{% if %}",
        "en/booking.change.html": "one\ntwo\n{{ nobody }}",
        "en/booking.cancellation.subject": "  ",
        "de/words.toml": "weekdays = 7",
    }
    with pytest.raises(Misconfigured) as refusal:
        MailTemplates(folder(tmp_path, files))
    said = str(refusal.value)
    assert all(fault.startswith("NOTIFIER_TEMPLATES: ") for fault in map(str, refusal.value.problems))
    for name, what in (
        ("en/flight.remainder.txt", "unknown file name"),
        ("en/flight.reminder.txt", "line 2"),
        ("booking.change.html", "line 3: 'nobody' is undefined"),
        ("en/booking.cancellation.subject", "must not be empty"),
        ("de/words.toml", "Expected `array`"),
    ):
        assert any(name in fault and what in fault for fault in map(str, refusal.value.problems)), said


def test_an_own_template_that_fails_with_a_mail_does_not_lose_it(tmp_path: Path, logged_lines: list[Any]) -> None:
    """If a template fails only with some mail, the built-in one renders that mail, and a warning is logged."""
    odd = "{% if flights[0].number == 'ODD1' %}{{ 1 // 0 }}{% endif %}Own words"
    wording = MailTemplates(
        folder(tmp_path, {f"en/flight.reminder.{part}": odd for part in ("subject", "txt", "html")})
    )
    flights = (flight(number="ODD1"),)
    assert wording.subject(Kind.REMINDER, "R", flights, "en") == WORDING.subject(Kind.REMINDER, "R", flights, "en")
    reminder = mail(kind=Kind.REMINDER, content=Itinerary((), flights))
    assert wording.body(reminder) == WORDING.body(reminder)
    assert "Own words" in wording.body(sample_mail(Kind.REMINDER, "en")).text
    assert {line["reason"] for line in logged_lines} == {"ZeroDivisionError: integer division or modulo by zero"}
    assert [line["template"] for line in logged_lines] == [
        "en/flight.reminder.subject, line 1",
        "en/flight.reminder.txt, line 1",
    ]


ENGLISH = (resources.files("notifier.composing") / "templates" / "en" / "words.toml").read_text(encoding="utf-8")
UNTIL_9223 = '"{weekday} {day} {month:.{year}{year}{year}{year}999} {year}"'
"""A pattern of a date whose precision is too large a number from the year 9224 on, which no sample has."""


def words(**lines: str) -> str:
    """Return the English words.toml with other values for some keys."""
    kept = [lines.pop(line.partition(" = ")[0], line) for line in ENGLISH.splitlines()]
    return "\n".join(f"{line}" for line in kept)


def leaving(at: datetime) -> tuple[Flight]:
    """Build flights with a departure that is the same in UTC and on the airport's clock."""
    return (flight(departs=AirportTime(at, at.replace(tzinfo=None))),)


@pytest.mark.parametrize("at", [DEPARTURE, datetime(9997, 12, 1, 4, tzinfo=UTC)])
def test_own_words_that_fail_with_a_mail_do_not_lose_it(tmp_path: Path, logged_lines: list[Any], at: datetime) -> None:
    """If a user's words fail with some mail, the built-in ones render all of that mail, and a warning is logged."""
    wording = MailTemplates(folder(tmp_path, {"en/words.toml": words(date=f"date = {UNTIL_9223}")}))
    reminder = mail(kind=Kind.REMINDER, content=Itinerary((), leaving(at)))
    assert wording.subject(Kind.REMINDER, "R", leaving(at), "en") == WORDING.subject(
        Kind.REMINDER, "R", leaving(at), "en"
    )
    assert wording.body(reminder) == WORDING.body(reminder)
    assert [line["template"] for line in logged_lines] == ([] if at == DEPARTURE else ["en/words.toml"] * 2)


def test_a_page_that_fails_does_not_lose_its_mail(tmp_path: Path) -> None:
    """If the HTML fails, text and HTML are both rendered by the built-in templates, so that they agree."""
    odd = "{{ '\\ud800' if flights[0].number == 'ODD1' }}Own words"
    wording = MailTemplates(folder(tmp_path, {"en/flight.reminder.html": odd, "en/flight.reminder.txt": "Own text"}))
    reminder = mail(kind=Kind.REMINDER, content=Itinerary((), (flight(number="ODD1"),)))
    assert wording.body(reminder) == WORDING.body(reminder)
    assert wording.body(sample_mail(Kind.REMINDER, "en")) == ("Own text\n", "Own words")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]', "weekdays: must have 7 names, not 6"),
        ('months = ["Jan", "Feb", "Mar"]', "months: must have 12 names, not 3"),
        ('weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", " "]', "weekdays: must not have empty names"),
        ('date = "{weekday} {day} {monat}"', "date: KeyError: 'monat'"),
        ('date = "{weekday[6]} {day}"', "date: IndexError: string index out of range"),
        ('date = " "', "date: must not be empty"),
        ('duration = "{hours} {minuten}"', "duration: KeyError: 'minuten'"),
        ("language = 7", "Expected `str`, got `int` - at `$.labels[...]`"),
    ],
)
def test_wrong_words_are_found_at_the_start(tmp_path: Path, line: str, fault: str) -> None:
    """Missing weekdays or months and patterns that fail on some day are reported with file and key."""
    name = line.partition(" = ")[0]
    with pytest.raises(Misconfigured) as refusal:
        MailTemplates(folder(tmp_path, {"fr/words.toml": words(**{name: line})}))
    (found,) = map(str, refusal.value.problems)
    assert found.startswith(f"NOTIFIER_TEMPLATES: fr/words.toml: {fault}")


DAYS = st.lists(st.sampled_from(["Mo", "Di", ""]), min_size=6, max_size=8)
PATTERNS = st.lists(st.sampled_from(["{weekday}", "{day:02}", "{month[2]}", "{year}", "{monat}", "{", ". "])).map(
    "".join
)


@given(DAYS, PATTERNS, st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31)))  # noqa: DTZ001 - hypothesis wants naive ones
@settings(max_examples=20)
def test_words_are_refused_or_write_every_mail(days: list[str], date: str, clock: datetime) -> None:
    """Words that pass the checks can write the subject of a flight on any day."""
    own = words(weekdays=f"weekdays = {json.dumps(days)}", date=f"date = {json.dumps(date)}")
    with TemporaryDirectory() as path, structlog.testing.capture_logs() as logged:
        try:
            wording = MailTemplates(folder(Path(path), {"fr/words.toml": own}))
        except Misconfigured:
            return
        assert wording.subject(Kind.REMINDER, "R", leaving(clock.replace(tzinfo=UTC)), "fr").startswith("Reminder: ")
    assert not logged


def test_a_template_is_tried_on_every_weekday(tmp_path: Path) -> None:
    """A template that fails only on Sundays is reported with file and line."""
    odd = "Hello\n{{ nobody if flights[0].departs.date.startswith('Sun') }}"
    with pytest.raises(Misconfigured, match=r"en/flight\.reminder\.txt, line 2: 'nobody' is undefined"):
        MailTemplates(folder(tmp_path, {"en/flight.reminder.txt": odd}))


@pytest.mark.parametrize("name", ["flight.reminder.subject", "flight.reminder.txt"])
def test_a_name_that_only_the_page_has_is_found_at_the_start(tmp_path: Path, name: str) -> None:
    """A subject or text that uses the sender's name would fail with every mail."""
    with pytest.raises(Misconfigured, match=rf"en/{name}, line 1: 'sender' is undefined"):
        MailTemplates(folder(tmp_path, {f"en/{name}": "From {{ sender }}"}))


@pytest.mark.parametrize(
    "attack", ["{{ ''.__class__.__mro__ }}", "{{ flights.append(1) }}", "{{ range(10**9) | list }}"]
)
def test_an_override_stays_in_its_sandbox(tmp_path: Path, attack: str) -> None:
    """An override cannot reach Python's internals, change its variables, or use huge ranges."""
    with pytest.raises(Misconfigured, match=r"flight\.reminder\.txt"):
        MailTemplates(folder(tmp_path, {"en/flight.reminder.txt": attack}))


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """The error names the path of the missing folder."""
    with pytest.raises(Misconfigured, match="nowhere is not a folder"):
        MailTemplates(tmp_path / "nowhere")


class Outline(HTMLParser):
    """Checks while it reads a page that every element is closed, and that tables consist of rows of cells."""

    AROUND: Mapping[str, Container[str]] = {"tr": {"table"}, "td": {"tr"}, "html": {""}}
    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self._open = [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check the element around this one."""
        assert self._open[-1] in self.AROUND.get(tag, {self._open[-1]}), (tag, attrs)
        assert self._open[-1] not in ("table", "tr") or tag in ("tr", "td"), (tag, attrs)
        self._open += [tag] * (tag not in self.VOID)

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost element ends."""
        assert self._open.pop() == tag

    def close(self) -> None:
        """Check that no element is open."""
        super().close()
        assert self._open == [""]


@pytest.mark.parametrize("locale", WORDING.locales)
def test_a_page_is_well_formed(locale: str) -> None:
    """Every element is closed in order, whatever a mail has; mail programs differ in what they make of other pages."""
    for sample, _ in sample_mails(locale):
        outline = Outline()
        outline.feed(WORDING.body(sample, "Example Air", "[]").page or "")
        outline.close()


def test_own_parts_fit_the_built_in_ones(tmp_path: Path) -> None:
    """A card is a row of the layout's table, so a user's card fits our layout, and our card a user's layout."""
    own_card = MailTemplates(folder(tmp_path / "card", {"card.html": "<tr><td>{{ flight.number }}</td></tr>\n"}))
    layout = "<table>{% for flight in flights %}{% include 'card.html' %}{% endfor %}</table>"
    own_layout = MailTemplates(folder(tmp_path / "layout", {"layout.html": layout}))
    for wording in (own_card, own_layout):
        page = wording.body(sample_mail(Kind.CONFIRMATION, "en")).page or ""
        outline = Outline()
        outline.feed(page)
        outline.close()
        assert "AI101" in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_small(kind: Kind) -> None:
    """It has under 3 kB, and under 2 kB for each flight; each byte is encoded for each mail."""
    sample = sample_mail(kind, "en")
    assert isinstance(sample.content, Itinerary)
    page = WORDING.body(sample, "Example Air").page or ""
    assert len(page.encode()) < 3000 + 2000 * len(sample.content.flights)


@given(
    st.sampled_from(KINDS),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from([*TWO, flight(departs_at=None), departing(3, 7), flight(seat="1A")]), max_size=4),
    st.sampled_from([*WORDING.locales, None, "xx"]),
)
def test_a_subject_is_the_same_when_its_parts_are_known(
    kind: Kind, booking: str, flights: list[Flight], locale: str | None
) -> None:
    """The built-in subjects are kept apart from the reference, which changes nothing: not the order of calls either."""
    if kind is Kind.REMINDER and not flights:
        return
    expected = WORDING._subject(kind, booking, flights, locale)
    assert WORDING.subject(kind, booking, flights, locale) == expected
    assert WORDING.subject(kind, booking, flights, locale) == expected


def test_an_own_subject_sees_all_of_the_booking(tmp_path: Path) -> None:
    """Subjects of a user's folder are rendered for each mail, because they can use everything that a flight has."""
    own = "{{ booking[:2] }} {% for flight in flights %}{{ flight.seat }}{{ flight.arrives is none }} {% endfor %}"
    wording = MailTemplates(folder(tmp_path, {"en/flight.reminder.subject": own}))
    for seat in ("1A", "1B"):
        found = wording.subject(Kind.REMINDER, "RXJ34P", (flight(seat=seat), flight(seat="9")), "en")
        assert found == f"RX {seat}True 9True"


def test_templates_that_are_loaded_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `load`, no mail in the default locale waits for a compiler, nor does one whose locale is unknown."""
    wording = MailTemplates()
    wording.load()
    monkeypatch.setattr(Environment, "compile", None)
    for locale in ("en", None, "xx"):
        for kind in KINDS:
            sample = sample_mail(kind, locale or "")
            assert wording.subject(kind, "R", (MORNING,), locale)
            assert wording.body(sample) == WORDING.body(sample)
