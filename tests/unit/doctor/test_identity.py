from collections.abc import Sequence

import pytest

from notifier.doctor.finding import Level
from notifier.doctor.identity import account, dkim, dmarc, quota, spf
from notifier.doctor.providers import Provider, provider_of
from notifier.settings import MailSettings, NamedAddress, SmtpServer


def server(host: str, username: str | None = None) -> SmtpServer:
    return SmtpServer(host, 587, "starttls", username, "secret" if username else None)


def google() -> Provider:
    provider = provider_of(server("smtp.gmail.com"))
    assert provider
    return provider


@pytest.mark.parametrize(
    ("address", "host", "username", "level", "says"),
    [
        ("you@gmail.com", "smtp.gmail.com", "you@gmail.com", Level.OK, "the address of the account"),
        ("You@gmail.com", "smtp.gmail.com", "you@gmail.com", Level.OK, "the address of the account"),
        ("fly@air.example", "smtp.gmail.com", "you@gmail.com", Level.WARNING, "replaces From"),
        ("you@gmail.com", "smtp.sendgrid.net", "apikey", Level.FAULT, "forged"),
        ("fly@air.example", "mail.air.example", "fly2@air.example", Level.OK, "same domain"),
        ("fly@air.example", "mail.host.example", "me@host.example", Level.WARNING, "has host.example"),
        ("fly@air.example", "smtp.sendgrid.net", "apikey", Level.NOTE, "does not show"),
        ("fly@air.example", "mail.air.example", None, Level.NOTE, "does not show"),
    ],
)
def test_from_is_compared_with_the_account(
    address: str, host: str, username: str | None, level: Level, says: str
) -> None:
    """The account's address is right, a foreign one a warning, and a free domain from another server a fault."""
    found = account(NamedAddress("", address), server(host, username))
    assert found.level is level
    assert says in found.says
    assert bool(found.remedy) is (level in (Level.WARNING, Level.FAULT))


@pytest.mark.parametrize(
    ("texts", "level", "says"),
    [
        ([], Level.WARNING, "no SPF record"),
        (["google-site-verification=1", "v=spf1 include:_spf.google.com ~all"], Level.OK, "~all"),
        (["v=spf1 redirect=_spf.google.com"], Level.OK, "redirect"),
        (["v=spf1 ip4:192.0.2.1 -all"], Level.WARNING, "does not name Gmail"),
        (["v=spf1 -all", "v=spf1 include:_spf.google.com -all"], Level.FAULT, "2 SPF records"),
        (["v=spf1 include:_spf.google.com +all"], Level.FAULT, "every server"),
        (["v=spf10 include:_spf.google.com"], Level.WARNING, "no SPF record"),
    ],
)
def test_an_spf_record_must_name_the_provider(texts: Sequence[str], level: Level, says: str) -> None:
    """There must be exactly one record, and it must allow the provider and not every server."""
    found = spf("air.example", texts, google())
    assert (found.level, says in found.says) == (level, True), found


def test_without_a_known_provider_an_spf_record_is_enough() -> None:
    """Only the operator knows which servers belong into the record."""
    assert spf("air.example", ["v=spf1 mx -all"], None).level is Level.OK


@pytest.mark.parametrize(
    ("record", "level"),
    [("v=DMARC1; p=reject", Level.OK), ("v=DMARC1;p=none", Level.OK), ("v=DMARC1; rua=mailto:a@b", Level.FAULT)],
)
def test_a_dmarc_record_must_have_a_policy(record: str, level: Level) -> None:
    """A record without a valid p= is a fault."""
    assert dmarc("air.example", ("_dmarc.air.example", record)).level is level


def test_a_missing_dmarc_record_comes_with_one_to_publish() -> None:
    """The remedy contains the record."""
    assert '_dmarc.air.example: "v=DMARC1; p=none' in dmarc("air.example", None).remedy


def test_dkim_keys_are_those_of_the_provider() -> None:
    """A key that exists is right, a missing one a warning; without a known provider the check is not possible."""
    assert dkim("air.example", google(), ["google"]).level is Level.OK
    assert dkim("air.example", google(), []).level is Level.WARNING
    assert dkim("air.example", None, []).level is Level.NOTE


@pytest.mark.parametrize(
    ("sender", "host", "set_", "levels", "remedy"),
    [
        ("you@gmail.com", "smtp.gmail.com", {}, [Level.WARNING], "NOTIFIER_SEND_QUOTA=500"),
        ("you@air.example", "smtp.gmail.com", {}, [Level.WARNING], "NOTIFIER_SEND_QUOTA=2000"),
        ("you@air.example", "smtp.gmail.com", {"NOTIFIER_SEND_QUOTA": 1500}, [Level.OK], ""),
        ("you@air.example", "smtp.office365.com", {"NOTIFIER_SEND_QUOTA": 9000}, [Level.OK, Level.WARNING], "0.5"),
        ("you@air.example", "email-smtp.eu-west-1.amazonaws.com", {}, [Level.NOTE], "the limit of your account"),
        ("you@air.example", "mail.air.example", {}, [], ""),
    ],
)
def test_quota_and_rate_are_compared_with_the_limits_of_the_provider(
    sender: str, host: str, set_: dict[str, int], levels: list[Level], remedy: str
) -> None:
    """Known limits give findings; an unknown provider gives none."""
    found = list(quota(MailSettings.model_validate({"NOTIFIER_MAIL_FROM": sender, **set_}), server(host)))
    assert [each.level for each in found] == levels
    assert not found or remedy in found[-1].remedy
