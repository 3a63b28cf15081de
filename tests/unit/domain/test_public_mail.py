"""The public form of a mail, which viewers and other systems see."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.samples import NOW, flight, mail

from notifier.domain.events import encode_event
from notifier.domain.mail import Itinerary, Kind, Mail, Reply, Status
from notifier.domain.public_mail import SmtpReply, public_mail

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
