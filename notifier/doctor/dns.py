"""Queries for the TXT records of a domain, each with a time limit."""

from collections.abc import Sequence

from dns import asyncresolver, exception, resolver
from dns.asyncresolver import Resolver

from notifier.errors import Unreachable

ANSWER_TIMEOUT = 5.0
"""Seconds for one query, including its retries."""


def system_resolver() -> Resolver:
    """Return a resolver with the name servers of this machine. Raises Unreachable if none is configured."""
    try:
        return asyncresolver.Resolver()
    except resolver.NoResolverConfiguration as error:
        raise Unreachable(f"this machine has no name server: {error}") from error


async def exists(resolver_: Resolver, domain: str) -> bool:
    """Return whether a domain exists in DNS. Raises Unreachable if no name server answers."""
    try:
        await resolver_.resolve(domain, "SOA", lifetime=ANSWER_TIMEOUT)
    except resolver.NXDOMAIN:
        return False
    except resolver.NoAnswer:
        return True
    except (exception.DNSException, OSError) as error:
        raise _unreachable(domain, error) from error
    return True


async def texts(resolver_: Resolver, name: str) -> list[str]:
    """Return the TXT records of a name, or an empty list. Raises Unreachable if no name server answers."""
    try:
        answer = await resolver_.resolve(name, "TXT", lifetime=ANSWER_TIMEOUT)
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        return []
    except (exception.DNSException, OSError) as error:
        raise _unreachable(name, error) from error
    return [b"".join(record.strings).decode(errors="replace") for record in answer]


async def dmarc_record(resolver_: Resolver, domain: str) -> tuple[str, str] | None:
    """Return the name and text of the DMARC record of a domain or of the nearest parent domain that has one, or None.

    Raises Unreachable if no name server answers.
    """
    labels = domain.split(".")
    for start in range(len(labels) - 1):
        name = f"_dmarc.{'.'.join(labels[start:])}"
        for text in await texts(resolver_, name):
            if text.lower().replace(" ", "").startswith("v=dmarc1"):
                return name, text
    return None


async def dkim_selectors(resolver_: Resolver, domain: str, selectors: Sequence[str]) -> list[str]:
    """Return those of the selectors for which a domain has a DKIM key. Raises Unreachable if no name server answers."""
    return [each for each in selectors if await texts(resolver_, f"{each}._domainkey.{domain}")]


def _unreachable(name: str, error: Exception) -> Unreachable:
    return Unreachable(f"no name server answers a query for {name} ({type(error).__name__})")
