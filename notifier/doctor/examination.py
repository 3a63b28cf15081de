"""All checks, one finding after the other."""

from collections.abc import AsyncIterator

from dns.asyncresolver import Resolver

from notifier import clock
from notifier.doctor import dns, identity, machine, peers
from notifier.doctor.finding import Finding, note, warning
from notifier.doctor.providers import Provider, host_of_domain, provider_of
from notifier.errors import Unreachable
from notifier.gateways.smtp_pool import smtp_pools
from notifier.settings import Settings


async def examine(settings: Settings, resolver: Resolver | None = None) -> AsyncIterator[Finding]:
    """Check machine, SMTP accounts, DNS and broker in turn, and yield each finding as soon as it is known.

    Each network operation has a time limit. `resolver` defaults to the machine's name servers.
    """
    now = clock.now()
    yield machine.clock(now)
    for finding in machine.zones(now):
        yield finding
    pools = smtp_pools(settings.smtp, settings.mail.sender.domain)
    try:
        for pool in pools:
            async for finding in peers.smtp_login(pool, now):
                yield finding
            yield identity.account(settings.mail.sender, pool.server)
            for finding in identity.quota(settings.mail, pool.server):
                yield finding
    finally:
        for pool in pools:
            await pool.close()
    provider = next((found for each in pools if (found := provider_of(each.server))), None)
    async for finding in _domain(settings.mail.sender.domain, provider, resolver):
        yield finding
    async for finding in peers.broker(settings.amqp):
        yield finding


async def _domain(domain: str, provider: Provider | None, resolver: Resolver | None) -> AsyncIterator[Finding]:
    try:
        used = resolver or dns.system_resolver()
        if not await dns.exists(used, domain):
            says = f"the domain {domain} does not exist in DNS; SPF, DKIM and DMARC were not checked"
            yield warning(
                "DNS", says, "check the address in NOTIFIER_MAIL_FROM, and that this machine can look up public names"
            )
            return
        yield identity.spf(domain, await dns.texts(used, domain), provider or host_of_domain(domain))
        selectors = provider.selectors if provider else ()
        yield identity.dkim(domain, provider, await dns.dkim_selectors(used, domain, selectors))
        yield identity.dmarc(domain, await dns.dmarc_record(used, domain))
    except Unreachable as error:
        yield note(
            "DNS", f"{error}; SPF, DKIM and DMARC were not checked", "run this again on a machine with a name server"
        )
