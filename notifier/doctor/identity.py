"""Whether receivers will accept the sender of a mail: account and From, SPF, DKIM, DMARC, and the quota. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from notifier.doctor.finding import Finding, fault, note, ok, warning
from notifier.doctor.providers import Provider, host_of_domain, provider_of
from notifier.settings import MailSettings, NamedAddress, SmtpServer

TOPIC = "sender"


def account(sender: NamedAddress, server: SmtpServer) -> Finding:
    """Check that the account is allowed to send mails with this From."""
    provider, home = provider_of(server), host_of_domain(sender.domain)
    if home and provider is not home and server.security != "plain":
        return fault(
            TOPIC,
            f"{sender.domain} belongs to {home.name}, {server.name} does not: receivers will treat the mails as forged",
            f"set NOTIFIER_MAIL_FROM to an address of your own domain, or send through {home.servers[0]}",
        )
    username = (server.username or "").lower()
    if "@" not in username:
        return note(
            TOPIC, f"the user name at {server.name} does not show which addresses the account is allowed to send from"
        )
    if username == sender.address.lower():
        return ok(TOPIC, f"From is the address of the account at {server.name}")
    if provider and provider.rewrites_from:
        return warning(
            TOPIC,
            f"{provider.name} replaces From <{sender.address}> with <{username}> unless it is an alias of the account",
            f"set NOTIFIER_MAIL_FROM to <{username}>, or add the alias in the account's settings",
        )
    if username.rpartition("@")[2] != sender.domain.lower():
        return warning(
            TOPIC,
            f"From has the domain {sender.domain}, but the account at {server.name} has {username.rpartition('@')[2]}",
            "check that the account is allowed to send for that domain, or set NOTIFIER_MAIL_FROM to its address",
        )
    return ok(TOPIC, f"From has the same domain as the account at {server.name}")


def quota(mail: MailSettings, server: SmtpServer) -> Iterator[Finding]:
    """Compare rate limit and quota with what the provider is known to allow."""
    provider = provider_of(server)
    if provider is None:
        return
    personal = mail.sender.domain.lower() in provider.free
    daily = provider.daily_free if personal and provider.daily_free else provider.daily
    if daily and not 0 < mail.quota <= daily:
        yield warning(
            "quota",
            f"{provider.name} allows {provider.allows}; "
            + (f"NOTIFIER_SEND_QUOTA is {mail.quota}" if mail.quota else "no quota is set"),
            f"set NOTIFIER_SEND_QUOTA={daily}; when it runs short, the mails that expire first are sent first",
        )
    elif not daily:
        yield note(
            "quota", f"{provider.name} allows {provider.allows}", "set NOTIFIER_SEND_QUOTA to the limit of your account"
        )
    else:
        yield ok("quota", f"NOTIFIER_SEND_QUOTA={mail.quota} is within the limit of {provider.name}")
    if provider.rate and (mail.rate == 0 or mail.rate > provider.rate):
        yield warning(
            "quota",
            f"{provider.name} accepts {provider.rate:g} mails per second; NOTIFIER_SEND_RATE is {mail.rate:g}",
            f"set NOTIFIER_SEND_RATE={provider.rate:g}",
        )


def spf(domain: str, texts: Sequence[str], provider: Provider | None) -> Finding:
    """Check the SPF record (RFC 7208) among the TXT records of a domain."""
    records = [text for text in texts if text.lower().split(" ")[0] == "v=spf1"]
    wanted = f"include:{provider.spf}" if provider else "ip4:<your server's address>"
    if not records:
        return warning(
            "SPF",
            f"{domain} has no SPF record: receivers cannot know which servers are allowed to send for it",
            f'publish a TXT record at {domain}: "v=spf1 {wanted} ~all"',
        )
    if len(records) > 1:
        return fault(
            "SPF",
            f"{domain} has {len(records)} SPF records, so receivers ignore all of them (RFC 7208, section 4.5)",
            "merge them into one TXT record",
        )
    terms = records[0].lower().split()[1:]
    if {"+all", "all"} & set(terms):
        return fault(
            "SPF",
            f"the SPF record of {domain} allows every server to send for it",
            'end the record with "~all" or "-all"',
        )
    if provider and not any(term.partition(":")[2] == provider.spf or term.endswith(provider.spf) for term in terms):
        return warning(
            "SPF",
            f"the SPF record of {domain} does not name {provider.name}: {records[0]}",
            f"add {wanted} to the record",
        )
    return ok("SPF", f"{domain}: {records[0]}")


def dmarc(domain: str, found: tuple[str, str] | None) -> Finding:
    """Check the DMARC record (RFC 7489). `found` is its name, which can be that of a parent domain, and its text."""
    if found is None:
        return warning(
            "DMARC",
            f"{domain} has no DMARC record; large receivers require one from bulk senders",
            f'publish a TXT record at _dmarc.{domain}: "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
        )
    where, record = found
    tags = dict(_tag(part) for part in record.split(";") if "=" in part)
    policy = tags.get("p", "")
    if policy not in ("none", "quarantine", "reject"):
        return fault(
            "DMARC",
            f"the record at {where} has no valid p=: {record}",
            "set p=none, p=quarantine or p=reject in the record",
        )
    return ok("DMARC", f"{where} asks receivers to {_POLICIES[policy]} mails that fail the check")


_POLICIES: Mapping[str, str] = {"none": "accept", "quarantine": "quarantine", "reject": "reject"}


def _tag(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip().lower()


def dkim(domain: str, provider: Provider | None, found: Sequence[str]) -> Finding:
    """Check that a domain has a DKIM key (RFC 6376) of its provider. `found` are the selectors that exist."""
    if provider is None or not provider.selectors:
        return note(
            "DKIM",
            f"the DKIM keys of {domain} cannot be checked, because only its mail server knows their selectors",
            'send a test mail with --send-to and look for "dkim=pass" in its headers (Authentication-Results)',
        )
    if not found:
        return warning(
            "DKIM",
            f"{domain} has no DKIM key of {provider.name} (selectors {', '.join(provider.selectors)})",
            f"turn on DKIM signing for {domain} at {provider.name}, and publish the keys that it shows",
        )
    return ok("DKIM", f"{domain} has the DKIM key {', '.join(found)} of {provider.name}")
