"""What is known of large mail providers: what they allow, and by what receivers recognise them. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from notifier.settings import SmtpServer


class Provider(NamedTuple):
    """A provider, by the end of its servers' names.

    `spf` is what a sender's SPF record includes, `selectors` are the names of its DKIM
    keys. `free` are domains of its own that anybody's account can have. `allows` is in
    its own words, `daily` and `rate` (mails a second) where it names a number; for a
    domain of `free` it is `daily_free`.
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
        "200 mails a day and one a second in the sandbox, afterwards what the account's console says",
    ),
    # docs.sendgrid.com/ui/account-and-settings/how-to-set-up-domain-authentication
    Provider("SendGrid", ("smtp.sendgrid.net",), "sendgrid.net", ("s1", "s2"), "what the plan says"),
    # documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify
    Provider("Mailgun", ("mailgun.org",), "mailgun.org", ("mta", "smtp", "k1"), "what the plan says"),
)


def provider_of(server: SmtpServer) -> Provider | None:
    """Recognise whose server it is."""
    host = server.host.lower()
    return next((each for each in PROVIDERS if host.endswith(each.servers)), None)


def host_of_domain(domain: str) -> Provider | None:
    """Recognise a domain of which only its provider can send."""
    return next((each for each in PROVIDERS if domain.lower() in each.free), None)
