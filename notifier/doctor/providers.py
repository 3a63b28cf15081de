"""The published limits, SPF names and DKIM selectors of large mail providers. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from notifier.settings import SmtpServer


class Provider(NamedTuple):
    """A mail provider.

    `servers` are domains to which its servers belong. `spf` is the domain that a sender's SPF record must include,
    `selectors` are those of its DKIM keys. `free` are its own domains, in which anybody can have an address. `allows`
    describes the limits; `daily` (for a domain in `free`, `daily_free`) and `rate` are mails per day and per second,
    or None if the provider does not publish a number. `rewrites_from` means that it replaces a foreign From.
    """

    name: str
    servers: tuple[str, ...]
    spf: str
    selectors: tuple[str, ...]
    allows: str
    daily: int | None = None
    daily_free: int | None = None
    rate: float | None = None
    free: tuple[str, ...] = ()
    rewrites_from: bool = False


PROVIDERS: Sequence[Provider] = (
    # support.google.com/a/answer/166852 and support.google.com/mail/answer/22839
    Provider(
        "Gmail",
        ("smtp.gmail.com", "smtp-relay.gmail.com", "googlemail.com"),
        "_spf.google.com",
        ("google", "20230601"),
        "500 mails a day from a personal account, 2,000 from Workspace",
        daily=2000,
        daily_free=500,
        free=("gmail.com", "googlemail.com"),
        rewrites_from=True,
    ),
    # learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits
    Provider(
        "Exchange Online",
        ("smtp.office365.com", "smtp-mail.outlook.com", "protection.outlook.com"),
        "spf.protection.outlook.com",
        ("selector1", "selector2"),
        "10,000 recipients a day and 30 mails a minute",
        daily=10_000,
        rate=0.5,
        free=("outlook.com", "hotmail.com", "live.com"),
    ),
    # docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas.html
    Provider(
        "Amazon SES",
        ("amazonaws.com",),
        "amazonses.com",
        (),
        "200 mails a day and one per second in the sandbox, and what the account's console shows outside of it",
    ),
    # docs.sendgrid.com/ui/account-and-settings/how-to-set-up-domain-authentication
    Provider("SendGrid", ("smtp.sendgrid.net",), "sendgrid.net", ("s1", "s2"), "what the plan includes"),
    # documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify
    Provider("Mailgun", ("mailgun.org",), "mailgun.org", ("mta", "smtp", "k1"), "what the plan includes"),
)


def provider_of(server: SmtpServer) -> Provider | None:
    """Return the provider of a server, or None if it is not a known one."""
    host = f".{server.host.lower()}"
    return next((each for each in PROVIDERS if any(host.endswith(f".{name}") for name in each.servers)), None)


def host_of_domain(domain: str) -> Provider | None:
    """Return the provider of a free domain, for which only its own servers can send, or None for any other domain."""
    return next((each for each in PROVIDERS if domain.lower() in each.free), None)
