"""Whether receivers will believe who a mail is from: account and From, SPF, DKIM, DMARC, and the quota. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from notifier.doctor.finding import Finding, fault, note, ok, warning
from notifier.doctor.providers import Provider, host_of_domain, provider_of
from notifier.settings import MailSettings, Sender, SmtpServer

TOPIC = "sender"


def account(sender: Sender, server: SmtpServer) -> Finding:
    """Compare From with the account that sends it."""
    provider, home = provider_of(server), host_of_domain(sender.domain)
    if home and provider is not home and server.security != "plain":
        return fault(
            TOPIC,
            f"{sender.domain} is {home.name}'s, and {server.name} is not: receivers will take the mails for forged",
            f"set NOTIFIER_MAIL_FROM to an address of your own domain, or send through {home.servers[0]}",
        )
    username = (server.username or "").lower()
    if "@" not in username:
        return note(TOPIC, f"the user name at {server.name} does not say which addresses it may send from")
    if username == sender.address.lower():
        return ok(TOPIC, f"From is the account's own address at {server.name}")
    if provider and provider.rewrites_from:
        return warning(
            TOPIC,
            f"{provider.name} replaces From <{sender.address}> by <{username}>, unless it is an alias of that account",
            f"set NOTIFIER_MAIL_FROM to <{username}>, or add the alias in the account's settings",
        )
    if username.rpartition("@")[2] != sender.domain.lower():
        return warning(
            TOPIC,
            f"From is of {sender.domain}, the account at {server.name} of {username.rpartition('@')[2]}",
            "make sure that the account may send for that domain, or set NOTIFIER_MAIL_FROM to one of its own",
        )
    return ok(TOPIC, f"From is of the same domain as the account at {server.name}")


def quota(mail: MailSettings, server: SmtpServer) -> Iterator[Finding]:
    """Compare what is set with what the provider is known to allow."""
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
            f"set NOTIFIER_SEND_QUOTA={daily}, so that what expires first is sent first on a day that is too short",
        )
    elif not daily:
        yield note("quota", f"{provider.name} allows {provider.allows}", "set NOTIFIER_SEND_QUOTA accordingly")
    else:
        yield ok("quota", f"{mail.quota} mails a day are within what {provider.name} allows")
    if provider.rate and (mail.rate == 0 or mail.rate > provider.rate):
        yield warning(
            "quota",
            f"{provider.name} takes {provider.rate:g} mails a second; NOTIFIER_SEND_RATE is {mail.rate:g}",
            f"set NOTIFIER_SEND_RATE={provider.rate:g}",
        )


def spf(domain: str, texts: Sequence[str], provider: Provider | None) -> Finding:
    """Judge the SPF record (RFC 7208) among a domain's TXT records."""
    records = [text for text in texts if text.lower().split(" ")[0] == "v=spf1"]
    wanted = f"include:{provider.spf}" if provider else "ip4:<your server's address>"
    if not records:
        return warning(
            "SPF",
            f"{domain} has no SPF record: receivers cannot tell who may send for it",
            f'publish a TXT record at {domain}: "v=spf1 {wanted} ~all"',
        )
    if len(records) > 1:
        return fault(
            "SPF",
            f"{domain} has {len(records)} SPF records, so receivers heed none of them (RFC 7208, section 4.5)",
            "merge them into one",
        )
    terms = records[0].lower().split()[1:]
    if {"+all", "all"} & set(terms):
        return fault("SPF", f"{domain}'s SPF record lets everybody send for it", 'end it with "~all" or "-all"')
    if provider and not any(term.partition(":")[2] == provider.spf or term.endswith(provider.spf) for term in terms):
        return warning(
            "SPF",
            f"{domain}'s SPF record does not name {provider.name}: {records[0]}",
            f"add {wanted} to it",
        )
    return ok("SPF", f"{domain}: {records[0]}")


def dmarc(domain: str, found: tuple[str, str] | None) -> Finding:
    """Judge the DMARC record (RFC 7489), given with the name where it was found: the domain or one above it."""
    if found is None:
        return warning(
            "DMARC",
            f"{domain} has no DMARC record; large receivers ask for one of who sends much",
            f'publish a TXT record at _dmarc.{domain}: "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
        )
    where, record = found
    tags = dict(_tag(part) for part in record.split(";") if "=" in part)
    policy = tags.get("p", "")
    if policy not in ("none", "quarantine", "reject"):
        return fault("DMARC", f"the record at {where} has no valid p=: {record}", "set p=none, quarantine or reject")
    return ok("DMARC", f"{where}: receivers are told to {_POLICIES[policy]} what fails")


_POLICIES: Mapping[str, str] = {"none": "let pass", "quarantine": "put aside", "reject": "refuse"}


def _tag(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip().lower()


def dkim(domain: str, provider: Provider | None, found: Sequence[str]) -> Finding:
    """Judge which of a provider's DKIM keys (RFC 6376) a domain has; `found` are their selectors."""
    if provider is None or not provider.selectors:
        return note(
            "DKIM",
            f"the names of {domain}'s DKIM keys are known to its mail server alone",
            'send a test mail with --send-to and look for "dkim=pass" in its headers (Authentication-Results)',
        )
    if not found:
        return warning(
            "DKIM",
            f"{domain} has none of {provider.name}'s DKIM keys ({', '.join(provider.selectors)})",
            f"turn on DKIM signing for {domain} at {provider.name}, and publish the keys that it shows",
        )
    return ok("DKIM", f"{domain} has {provider.name}'s key {', '.join(found)}")
