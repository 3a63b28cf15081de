"""Providers are known by the names of their servers and by the domains in which anybody can have an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.doctor.providers import PROVIDERS, Provider, host_of_domain, provider_of
from notifier.settings import SmtpServer

SUFFIXES = [(suffix, provider) for provider in PROVIDERS for suffix in provider.servers]


def known(host: str) -> Provider | None:
    """Return the provider of a server."""
    return provider_of(SmtpServer(host, 587, "starttls", None, None))


@given(
    suffix=st.sampled_from(SUFFIXES),
    prefix=st.from_regex(r"([A-Za-z0-9-]{1,10}\.){0,3}", fullmatch=True),
    upper=st.booleans(),
)
def test_a_server_is_known_by_the_end_of_its_name(suffix: tuple[str, Provider], prefix: str, *, upper: bool) -> None:
    """Any host of the domain belongs to the provider, whether it is written in capitals or not."""
    name, provider = suffix
    assert known(prefix + (name.upper() if upper else name)) is provider


@pytest.mark.parametrize("host", ["mail.example.org", "localhost", "127.0.0.1", "smtp.gmail.com.example.org"])
def test_any_other_server_has_no_known_provider(host: str) -> None:
    """The name of a provider at the beginning of another name means nothing."""
    assert known(host) is None


@given(st.sampled_from(SUFFIXES))
def test_a_domain_that_merely_ends_like_another_is_a_different_one(suffix: tuple[str, Provider]) -> None:
    """Anybody can register a domain such as notmailgun.org."""
    assert known(f"not{suffix[0]}") is None


def test_only_the_provider_can_send_for_its_free_domains() -> None:
    """An address at gmail.com is one of Gmail; any other domain has no such provider."""
    assert {domain: host_of_domain(domain.upper()) for each in PROVIDERS for domain in each.free} == {
        domain: each for each in PROVIDERS for domain in each.free
    }
    assert [host_of_domain(domain) for domain in ("example.org", "mail.gmail.com")] == [None, None]
