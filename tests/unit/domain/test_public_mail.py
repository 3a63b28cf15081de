"""The public form of a mail, which viewers and other systems see."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.samples import NOW, flight, mail
from support.structs import structs_of, takes_positions, undescribed

from notifier.domain import public_mail as public_mail_module
from notifier.domain.events import encode_event
from notifier.domain.mail import Itinerary, Kind, Mail, Reply, Status
from notifier.domain.public_mail import PublicMail, SmtpReply, public_mail

REMINDER = mail(
    kind=Kind.REMINDER,
    booking="RXJ34P",
    flight=flight(),
    content=Itinerary(("Asha Rao",), (flight(),)),
    expires_at=flight().departs_at,
)


def test_a_reply_is_shown_with_code_and_text() -> None:
    """The SMTP server's reply is part of the public mail."""
    assert public_mail(mail(smtp=Reply(250, "queued"), sent_at=NOW)).smtp == SmtpReply(code=250, text="queued")


def test_every_field_is_shown_under_its_name() -> None:
    """Clients read the fields by name, and no two of them are mixed up."""
    at = [NOW + timedelta(hours=n) for n in range(5)]
    shown = public_mail(
        replace(
            REMINDER,
            rev=4,
            status=Status.SENT,
            attempt=2,
            event="m1",
            created_at=at[0],
            send_at=at[1],
            expires_at=at[2],
            next_attempt_at=at[3],
            sent_at=at[4],
            smtp=Reply(250, "queued"),
            error="the price is left out",
        )
    )
    assert msgspec.to_builtins(shown) == {
        "id": REMINDER.id,
        "rev": 4,
        "kind": "flight.reminder",
        "status": "sent",
        "to": "a•••@example.com",
        "subject": "Your ticket",
        "booking": "RXJ34P",
        "flight": {"number": "AI101", "from": "DEL", "to": "BLR", "departs_at": "2026-12-01T04:00:00.000Z"},
        "attempt": 2,
        "created_at": "2026-11-24T10:00:00.000Z",
        "send_at": "2026-11-24T11:00:00.000Z",
        "expires_at": "2026-11-24T12:00:00.000Z",
        "next_attempt_at": "2026-11-24T13:00:00.000Z",
        "sent_at": "2026-11-24T14:00:00.000Z",
        "message_id": REMINDER.message_id,
        "event": "m1",
        "smtp": {"code": 250, "text": "queued"},
        "error": "the price is left out",
    }


def test_a_notification_has_no_booking_and_no_flight() -> None:
    """Fields without a value are null and are not left out."""
    shown = msgspec.to_builtins(public_mail(mail()))
    empty = {"booking", "flight", "expires_at", "next_attempt_at", "sent_at", "smtp", "error"}
    assert {name for name, value in shown.items() if value is None} == empty


def test_the_schema_says_what_a_client_can_rely_on() -> None:
    """Times have a format, counts a least value and replies a range; statuses and kinds are described elsewhere."""
    schemas = msgspec.json.schema_components((PublicMail,), ref_template="#/{name}")[1]
    fields = schemas["PublicMail"]["properties"]
    times = [fields[name] for name in ("created_at", "send_at")]
    times += [part for name in ("expires_at", "next_attempt_at", "sent_at") for part in fields[name]["anyOf"]]
    times += schemas["PublicFlight"]["properties"]["departs_at"]["anyOf"]
    assert [each["format"] for each in times if each["type"] == "string"] == ["date-time"] * 6
    assert all("description" in each for shape in schemas.values() for each in shape["properties"].values())
    assert all("RFC 3339" in each["description"] for each in times[2:] if each["type"] == "string")
    assert fields["status"]["$ref"] == "#/components/schemas/Status"
    assert fields["kind"]["$ref"] == "#/components/schemas/Kind"
    assert (fields["rev"]["minimum"], fields["attempt"]["minimum"]) == (1, 0)
    code = schemas["SmtpReply"]["properties"]["code"]
    assert (code["minimum"], code["maximum"]) == (200, 599)


def test_a_flight_without_a_known_moment_is_shown() -> None:
    """If the time zone is unknown, the flight has no departure."""
    shown = public_mail(replace(REMINDER, flight=flight(departs_at=None))).flight
    assert shown
    assert shown.departs_at is None


def test_the_content_stays_inside() -> None:
    """A public mail has no names, seats or texts."""
    shown = (
        msgspec.json.encode(public_mail(REMINDER)).decode() + encode_event("mail.pending", None, REMINDER, NOW).decode()
    )
    assert "Asha" not in shown
    assert "12A" not in shown


@given(st.from_regex(r"[a-z]{2}[a-z0-9.+-]{2,30}", fullmatch=True), st.sampled_from(Kind), st.sampled_from(Status))
def test_an_address_is_masked_in_what_leaves(local: str, kind: Kind, status: Status) -> None:
    """Neither the public mail nor its event has the local part of the address."""
    given_mail = mail(to=f"{local}@mail.test", kind=kind, status=status)
    shown = public_mail(given_mail)
    assert shown.to == f"{local[0]}•••@mail.test"
    assert f"{local}@" not in encode_event("mail.pending", None, given_mail, NOW).decode()


@pytest.mark.parametrize(
    "leaky",
    [
        mail(smtp=Reply(550, "5.1.1 <asha@example.com>: Recipient address rejected"), status=Status.FAILED),
        mail(smtp=Reply(550, "5.1.1 <ASHA@example.com>: unknown"), status=Status.FAILED),
        mail(smtp=Reply(550, "5.1.1 local user asha unknown in table"), status=Status.FAILED),
        mail(smtp=Reply(550, "5.1.1 rfc822;asha+40example.com unknown"), status=Status.FAILED),
        mail(error="given up after 3 attempts: no mailbox asha at example.com", status=Status.FAILED),
        mail(error="'asha@example.com' is not a valid address: it has no mailbox", status=Status.FAILED),
    ],
)
def test_a_server_s_words_do_not_give_the_address_away(leaky: Mail) -> None:
    """An address is masked everywhere in the public mail: servers often repeat the recipient."""
    assert "asha" not in msgspec.json.encode(public_mail(leaky)).decode().lower()
    assert "asha" not in encode_event("mail.pending", None, leaky, NOW).decode().lower()


def test_an_error_is_shown() -> None:
    """Operators see what is wrong with a mail; without an error the field is null."""
    assert public_mail(mail(error="timed out")).error == "timed out"
    assert public_mail(mail()).error is None


@pytest.mark.parametrize("name", ["created_at", "send_at", "expires_at", "next_attempt_at", "sent_at"])
def test_each_time_is_shown_under_its_name(name: str) -> None:
    """The public mail has the times of its life in UTC."""
    at = NOW + timedelta(hours=5)
    assert getattr(public_mail(mail(**{name: at})), name) == "2026-11-24T15:00:00.000Z"


@pytest.mark.parametrize("shape", structs_of(public_mail_module))
def test_every_field_is_given_by_name_and_described(shape: type[msgspec.Struct]) -> None:
    """Two fields of one type cannot be mixed up, and the document says what each one is."""
    assert not takes_positions(shape)
    assert undescribed(shape) == []
