import re
import timeit
from base64 import b64decode
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import parseaddr, parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from icalendar import Calendar
from msgspec.structs import replace
from support.samples import DEPARTURE, NOW, WORDING, flight, in_delhi, mail

from notifier.composing.calendar import calendars
from notifier.composing.message import _quoted, _quoted_by_line, compose
from notifier.composing.reservation import reservations
from notifier.composing.templates import KINDS, MailTemplates
from notifier.domain.drafts import confirmation_id
from notifier.domain.mail import Itinerary, Kind, Mail, PlainContent, Price, claimed
from notifier.settings import NamedAddress

SENDER = NamedAddress("Example Air", "fly@example.org")
AS = (WORDING, SENDER)
CONFIRMATION = mail(
    kind=Kind.CONFIRMATION,
    booking="RXJ34P",
    subject="Booking RXJ34P is confirmed",
    content=Itinerary(
        ("Asha Rao",),
        (flight(gate="4", arrives=in_delhi(DEPARTURE + timedelta(hours=2, minutes=50))),),
        Price("5400.00", "INR"),
    ),
)
LETTER = mail(content=PlainContent("One.\n\nTwo.\n", "<p>Größe</p>"))

# What `messages.decode` accepts: a line without controls and line separators, a text with \n only.
LINES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=200)
ODD_PARTS = (
    *("=?utf-8?q?", "=0D=0ABcc:_x?=", "?=", "=?", '"', "\\", ",", ";", "<x@y.example>", "(", ")", " ", "  ", ":", "@"),
    *(".", "Döe", "John", "a" * 40, "é" * 30, "😀", "\xa0", "\u200b", "\ufeff"),
)
ODD_LINES = st.lists(st.sampled_from(ODD_PARTS), min_size=1, max_size=12).map(lambda parts: "".join(parts)[:200])
WORDS = (LINES | ODD_LINES).filter(str.strip)
CONTROLS = "".join(map(chr, (*range(9), *range(11, 32), 127)))
TEXT_LINES = (".", "..", ".x", "", " ", "x" * 300, "é" * 100, "=", "tab\t", "end ", "From me", "--=_3f2c1b0a")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS), max_size=400) | st.lists(
    st.sampled_from(TEXT_LINES)
).map("\n".join)


def head_and_body(message: bytes) -> tuple[str, bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    return head.decode(), body


def header(message: bytes, name: str) -> str:
    """Read a header as a mail program does: unfolded, encoded words decoded."""
    raw = message_from_bytes(message)[name]
    return str(make_header(decode_header(re.sub(r"\r?\n(?=[ \t])", "", str(raw)))))


def mailbox(message: bytes, name: str) -> tuple[str, str]:
    """Read an address header: the address is parsed before encoded words are decoded (RFC 2047 section 6.2)."""
    raw = head_and_body(message)[0]
    found = re.search(rf"^{name}: ([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", raw, re.MULTILINE)
    assert found
    shown, address = parseaddr(re.sub(r"\r\n(?=[ \t])", "", found[1]))
    return str(make_header(decode_header(shown))), address


def text_of(message: bytes | Message, subtype: str) -> str:
    parsed = message_from_bytes(message) if isinstance(message, bytes) else message
    (part,) = [each for each in parsed.walk() if each.get_content_type() == f"text/{subtype}"]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert part.get_content_charset() == "utf-8"
    return payload.decode().replace("\r\n", "\n")


def well_formed(message: bytes) -> bool:
    """Return whether all lines end with CRLF and have at most 998 octets."""
    lines = message.split(b"\r\n")
    return lines[-1] == b"" and all(len(line) <= 998 and not {10, 13, 0} & set(line) for line in lines)


def header_names(message: bytes) -> list[str]:
    return [line.partition(":")[0] for line in head_and_body(message)[0].split("\r\n") if line[:1] not in " \t"]


def test_a_mail_has_the_headers_of_the_contract() -> None:
    """Every header of the contract is there exactly once."""
    message = compose(CONFIRMATION, WORDING, SENDER, NamedAddress("", "help@example.org"))
    assert mailbox(message, "From") == ("Example Air", "fly@example.org")
    assert mailbox(message, "To") == ("Asha Rao", "asha@example.com")
    assert mailbox(message, "Reply-To") == ("", "help@example.org")
    assert header(message, "Subject") == "Booking RXJ34P is confirmed"
    assert header(message, "Message-ID") == CONFIRMATION.message_id
    assert header(message, "X-Notifier-Mail") == CONFIRMATION.id
    assert header(message, "X-Notifier-Event") == "r1"
    assert header(message, "Auto-Submitted") == "auto-generated"
    assert header(message, "MIME-Version") == "1.0"
    assert len(header_names(message)) == len(set(header_names(message)))


def test_without_a_reply_address_there_is_no_such_header() -> None:
    """Replies go to the sender unless another address is set."""
    assert "Reply-To" not in header_names(compose(CONFIRMATION, WORDING, SENDER))


def test_the_date_is_the_first_attempt_s() -> None:
    """The date is that of the first attempt; later attempts have the same date and the same bytes."""
    first = claimed(mail(send_at=NOW + timedelta(hours=1)), NOW + timedelta(hours=2))
    again = replace(first, attempt=3, rev=9, error="lost", next_attempt_at=None)
    assert parsedate_to_datetime(header(compose(first, WORDING, SENDER), "Date")) == NOW + timedelta(hours=2)
    assert compose(first, WORDING, SENDER) == compose(again, WORDING, SENDER)


def test_a_mail_of_plain_text_has_one_part() -> None:
    """A notification without HTML has only a text part."""
    message = compose(mail(content=PlainContent("Größe\n")), WORDING, SENDER)
    assert message_from_bytes(message).get_content_type() == "text/plain"
    assert text_of(message, "plain") == "Größe\n"


def test_text_comes_before_html() -> None:
    """Mail programs show the last part that they can, so HTML comes second."""
    message = compose(LETTER, WORDING, SENDER)
    parsed = message_from_bytes(message)
    assert [part.get_content_type() for part in parsed.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert parsed.get_boundary() == f"=_{LETTER.id}"
    assert text_of(message, "plain").rstrip() == "One.\n\nTwo."
    assert text_of(message, "html").strip() == "<p>Größe</p>"


@pytest.mark.parametrize("subtype", ["plain", "html"])
def test_a_booking_s_mail_says_everything_in_both_parts(subtype: str) -> None:
    """Name, booking, flight, times, seat, gate and price are in the text and in the HTML."""
    shown = text_of(compose(CONFIRMATION, WORDING, SENDER), subtype)
    for fact in ("Asha Rao", "RXJ34P", "AI101", "DEL", "BLR", "09:30", "12:20", "12A", "Gate", "5400.00 INR"):
        assert fact in shown


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Kind.CONFIRMATION, "Thank you for your booking."),
        (Kind.CHANGE, "Your booking has changed. Here are your new flight details."),
        (Kind.CANCELLATION, "Your booking has been cancelled. We won't send you any more reminders"),
        (Kind.REMINDER, "Your flight AI101 to Bangalore (BLR) departs soon: at 09:30 from New Delhi (DEL), gate 4."),
    ],
)
def test_each_kind_begins_with_what_has_happened(kind: Kind, says: str) -> None:
    """The first sentence says what has happened."""
    greeting, lead, *_ = text_of(compose(replace(CONFIRMATION, kind=kind), WORDING, SENDER), "plain").split("\n\n")
    assert greeting == "Dear Asha Rao,"
    assert lead.startswith(says)


def test_later_mails_of_a_booking_refer_to_its_confirmation() -> None:
    """The mails of a booking to one address form a conversation that begins with the confirmation."""
    first = compose(replace(CONFIRMATION, message_id=f"<{confirmation_id('RXJ34P', 'asha@example.com')}@x.org>"), *AS)
    later = compose(replace(CONFIRMATION, kind=Kind.REMINDER, message_id="<r@x.org>"), *AS)
    other = compose(replace(CONFIRMATION, kind=Kind.REMINDER, message_id="<r@x.org>", to="ravi@example.com"), *AS)
    assert header(later, "References") == header(later, "In-Reply-To") == header(first, "Message-ID")
    assert "References" not in header_names(first)
    assert header(other, "References") != header(later, "References")


def test_identifiers_are_never_folded_or_encoded() -> None:
    """A long Message-ID is neither folded nor encoded."""
    domain = ".".join(["x" * 60] * 4)
    reminder = replace(CONFIRMATION, kind=Kind.REMINDER, message_id=f"<{CONFIRMATION.id}@{domain}>")
    head = head_and_body(compose(reminder, *AS))[0].split("\r\n")
    assert f"Message-ID: {reminder.message_id}" in head
    assert [line for line in head if line.startswith("References: <") and line.endswith(f"@{domain}>")]


@pytest.mark.parametrize(("kind", "method"), [(Kind.CONFIRMATION, "PUBLISH"), (Kind.CANCELLATION, "CANCEL")])
def test_the_flights_are_attached_as_a_calendar(kind: Kind, method: str) -> None:
    """The message has one calendar file, with its method in the MIME type."""
    parsed = message_from_bytes(compose(replace(CONFIRMATION, kind=kind), WORDING, SENDER))
    kinds = [part.get_content_type() for part in parsed.walk()]
    assert kinds == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/calendar"]
    file = list(parsed.walk())[-1]
    assert file.get_param("method") == method
    assert str(file.get_filename()).endswith(".ics")
    content = file.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert Calendar.from_ical(content)["METHOD"] == method


def test_composing_is_much_faster_than_the_standard_library() -> None:
    """For a mail of 4 kB it is at least five times as fast."""
    letter = mail(content=PlainContent("All is well. " * 150, "<p>All is well.</p>" * 105))

    def standard() -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"], message["Subject"] = SENDER.address, letter.to, letter.subject
        message.set_content(WORDING.body(letter).text)
        message.add_alternative(WORDING.body(letter).page or "", subtype="html")
        return message.as_bytes()

    ours = min(timeit.repeat(lambda: compose(letter, WORDING, SENDER), number=20, repeat=7))
    assert min(timeit.repeat(standard, number=20, repeat=7)) > 5 * ours


def test_a_reminder_does_not_speak_of_money() -> None:
    """The price belongs to the confirmation."""
    assert "5400" not in text_of(compose(replace(CONFIRMATION, kind=Kind.REMINDER), WORDING, SENDER), "plain")


def test_passengers_who_share_an_address_are_all_greeted() -> None:
    """All names are in the greeting, and the header To names none of them."""
    both = replace(CONFIRMATION, content=Itinerary(("Asha Rao", "Ravi Rao"), (flight(),)))
    message = compose(both, WORDING, SENDER)
    assert "Dear Asha Rao and Ravi Rao," in text_of(message, "plain")
    assert mailbox(message, "To") == ("", "asha@example.com")


def test_a_name_cannot_write_html() -> None:
    """Markup in a name is escaped in the HTML part."""
    hostile = Itinerary(("<b onclick=x>&",), (flight(seat="<i>"),))
    message = compose(replace(CONFIRMATION, content=hostile), WORDING, SENDER)
    assert "<b onclick" not in text_of(message, "html")
    assert "&lt;b onclick=x&gt;&amp;" in text_of(message, "html")
    assert "<i>" not in text_of(message, "html")


def test_a_text_that_begins_with_dots_is_kept() -> None:
    """Lines of dots are unchanged; stuffing them is the task of the SMTP dialogue."""
    assert (
        text_of(compose(mail(content=PlainContent(".\n..\n.x\n\n.")), WORDING, SENDER), "plain") == ".\n..\n.x\n\n.\n"
    )


@pytest.mark.parametrize(
    "to", ["пётр@example.com", "o'brien+x!#$%&*/=?^_`{|}~-@example.com", "a" * 64 + "@example.com"]
)
def test_an_unusual_address_stands_in_the_head_as_it_is(to: str) -> None:
    """Any valid address is the one in `To`."""
    message = compose(replace(CONFIRMATION, to=to), WORDING, SENDER)
    assert mailbox(message, "To") == ("Asha Rao", to)
    assert well_formed(message)


@given(WORDS, WORDS, WORDS)
@example("=?utf-8?q?Hi=0D=0ABcc:_x=40example.com?=", "=?utf-8?q?a?=", "=?utf-8?q?=0A=0A?=")
@example("Doe, " + "John " * 30, "x" * 70 + " =?utf-8?q?=0ABcc:_x?=", "é" * 200)
@example('"' * 200, "x" * 200, "a b " * 50)
@example("<evil@example.com>, " * 9, " " * 199 + "x", "\xa0x")
def test_no_words_break_the_head(name: str, subject: str, event: str) -> None:
    """Any valid name, subject or id is read back from the headers and adds no header."""
    named = replace(CONFIRMATION, content=Itinerary((name,), (flight(),)), subject=subject, event=event)
    message = compose(named, WORDING, SENDER)
    assert well_formed(message)
    assert header_names(message) == header_names(compose(CONFIRMATION, WORDING, SENDER))
    assert mailbox(message, "To")[1] == "asha@example.com"
    for found, given_words in (
        (mailbox(message, "To")[0], name),
        (header(message, "Subject"), subject),
        (header(message, "X-Notifier-Event"), event),
    ):
        assert found.split() == given_words.split()
    assert max(map(len, head_and_body(message)[0].split("\r\n"))) <= 450


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1).filter(str.strip))
@example("é" * 200)
@example("😀" * 200)
@example("x" * 76 + " " + "y" * 77 + " z")
def test_long_words_are_folded_between_characters(subject: str) -> None:
    """No line exceeds the standard's length, unless a word of ASCII is longer; each encoded word decodes on its own."""
    head = head_and_body(compose(replace(CONFIRMATION, subject=subject), WORDING, SENDER))[0]
    (written,) = re.findall(r"^(Subject: [^\r\n]*(?:\r\n [^\r\n]*)*)", head, re.MULTILINE)
    lines = written.split("\r\n")
    encoded = re.findall(r"=\?utf-8\?b\?([^?]*)\?=", written)
    if encoded:
        assert "".join(b64decode(word).decode() for word in encoded) == subject
        assert max(map(len, lines)) <= 76
    else:
        assert all(len(line) <= 78 or " " not in line.removeprefix("Subject: ").strip() for line in lines)


@given(TEXTS, st.none() | TEXTS.filter(bool))
@example("x" * 5000, "é" * 3000)
def test_no_text_breaks_the_body(text: str, html: str | None) -> None:
    """Any valid text is read back from the body, except for line ends at its end."""
    message = compose(mail(content=PlainContent(text, html)), WORDING, SENDER)
    assert well_formed(message)
    assert all(len(line) <= 78 for line in head_and_body(message)[1].split(b"\r\n"))
    assert text_of(message, "plain").rstrip("\n") == text.rstrip("\n")
    if html is not None:
        assert text_of(message, "html").rstrip("\n") == html.rstrip("\n")


def test_no_template_puts_a_lone_cr_on_the_wire(tmp_path: Path) -> None:
    """CR, LF and CRLF in a template are all sent as CRLF."""
    (tmp_path / "en").mkdir()
    for part in ("txt", "html"):
        (tmp_path / f"en/booking.confirmation.{part}").write_text(r'a{{ "\r" }}b{{ "\r\n" }}c{{ "\n\r" }}d')
    message = compose(CONFIRMATION, MailTemplates(tmp_path), SENDER)
    assert well_formed(message)
    assert [text_of(message, part) for part in ("plain", "html")] == ["a\nb\nc\n\nd"] * 2


@given(st.sampled_from(KINDS), st.sampled_from(WORDING.locales), st.lists(WORDS, max_size=3), WORDS, WORDS)
def test_a_booking_s_mail_is_what_was_written(
    kind: Kind, locale: str, names: list[str], number: str, reference: str
) -> None:
    """For any values of the fields, the standard library reads the same text, HTML and calendar files."""
    flights = (flight(number=number, seat=number), flight(gate=number))
    content = Itinerary(tuple(names), flights, Price(number, number), locale, before=flights[1:])
    given_mail = replace(CONFIRMATION, kind=kind, booking=reference, content=content)
    message = compose(given_mail, WORDING, SENDER)
    written = WORDING.body(given_mail, SENDER.name, reservations(given_mail))
    assert well_formed(message)
    assert text_of(message, "plain").splitlines() == written.text.splitlines()
    assert text_of(message, "html").splitlines() == str(written.page).splitlines()
    parts = [part for part in message_from_bytes(message).walk() if part.get_content_type() == "text/calendar"]
    assert [part.get_payload(decode=True) for part in parts] == [
        each.body for each in calendars(given_mail, SENDER.address, WORDING.labels(given_mail))
    ]


@given(
    WORDS,
    WORDS,
    TEXTS,
    st.none() | TEXTS.filter(bool),
    st.sampled_from([SENDER, NamedAddress("Größe, Inc.", "a@b.example")]),
)
def test_the_same_mail_has_the_same_bytes(
    name: str, subject: str, text: str, html: str | None, sender: NamedAddress
) -> None:
    """Composing a mail again results in the same bytes."""

    def twice(given_mail: Mail) -> bool:
        return compose(given_mail, WORDING, sender) == compose(given_mail, WORDING, sender)

    assert twice(mail(subject=subject, content=PlainContent(text, html)))
    assert twice(replace(CONFIRMATION, subject=subject, content=Itinerary((name, name), ())))


@given(st.text(st.sampled_from("ab=. \t\r\n\xe9\U0001f600")) | st.text(), st.integers(1, 80))
def test_a_page_is_encoded_by_line_as_it_is_as_a_whole(text: str, times: int) -> None:
    """Lines that many mails share are encoded once, and no line of a mail looks different because of that."""
    assert _quoted_by_line(text * times) == _quoted(text * times)
