"""TXT records of a domain, asked for within a time limit."""

from collections.abc import Sequence

from dns import asyncresolver, exception, resolver
from dns.asyncresolver import Resolver

from notifier.errors import Unreachable

ANSWER_TIMEOUT = 5.0
"""Seconds for one question, with all its repetitions."""


def system_resolver() -> Resolver:
    """Ask whom the machine asks; Unreachable where it does not say whom."""
    try:
        return asyncresolver.Resolver()
    except resolver.NoResolverConfiguration as error:
        raise Unreachable(f"DNS cannot be asked: {error}") from error


async def exists(asked: Resolver, domain: str) -> bool:
    """Say whether DNS knows a domain; Unreachable where nobody answers."""
    try:
        await asked.resolve(domain, "SOA", lifetime=ANSWER_TIMEOUT)
    except resolver.NXDOMAIN:
        return False
    except resolver.NoAnswer:
        return True
    except (exception.DNSException, OSError) as error:
        raise _unreachable(domain, error) from error
    return True


async def texts(asked: Resolver, name: str) -> list[str]:
    """Give the TXT records of a name, none where there are none; Unreachable where nobody answers."""
    try:
        answer = await asked.resolve(name, "TXT", lifetime=ANSWER_TIMEOUT)
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        return []
    except (exception.DNSException, OSError) as error:
        raise _unreachable(name, error) from error
    return [b"".join(record.strings).decode(errors="replace") for record in answer]


async def dmarc_record(asked: Resolver, domain: str) -> tuple[str, str] | None:
    """Find the DMARC record of a domain, or of the nearest domain above it that has one, with its name."""
    labels = domain.split(".")
    for start in range(len(labels) - 1):
        name = f"_dmarc.{'.'.join(labels[start:])}"
        for text in await texts(asked, name):
            if text.lower().replace(" ", "").startswith("v=dmarc1"):
                return name, text
    return None


async def dkim_selectors(asked: Resolver, domain: str, selectors: Sequence[str]) -> list[str]:
    """Find those of the selectors under which a domain has a key."""
    return [each for each in selectors if await texts(asked, f"{each}._domainkey.{domain}")]


def _unreachable(name: str, error: Exception) -> Unreachable:
    return Unreachable(f"DNS cannot be asked for {name} ({type(error).__name__})")
