import pytest
from dns.asyncresolver import Resolver
from support.nameserver import nameserver

from notifier.doctor import dns
from notifier.errors import Unreachable

TEXTS = {
    "air.example": ["v=spf1 -all", "another"],
    "_dmarc.air.example": ["v=DMARC1; p=reject"],
    "google._domainkey.air.example": ["v=DKIM1; p=MIGf"],
}


async def test_records_are_read() -> None:
    """All TXT records of a name are returned, and none if it has none or does not exist."""
    async with nameserver("example", TEXTS) as asked:
        assert sorted(await dns.texts(asked, "air.example")) == ["another", "v=spf1 -all"]
        assert await dns.texts(asked, "other.example") == []
        assert await dns.texts(asked, "nowhere.test") == []


async def test_a_domain_that_does_not_exist_differs_from_one_without_records() -> None:
    """A misspelt domain is not mistaken for one that lacks SPF."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.exists(asked, "other.example")
        assert not await dns.exists(asked, "air.exmaple")


async def test_a_subdomain_is_under_the_dmarc_record_above_it() -> None:
    """The nearest record of the domain or its parents is returned with its name."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.dmarc_record(asked, "mail.air.example") == ("_dmarc.air.example", "v=DMARC1; p=reject")
        assert await dns.dmarc_record(asked, "other.example") is None


async def test_dkim_keys_are_found_by_selector() -> None:
    """Only the selectors that have a key are returned."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.dkim_selectors(asked, "air.example", ("google", "20230601")) == ["google"]


async def test_a_silent_nameserver_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer is an error within the time limit, and not an empty answer."""
    monkeypatch.setattr(dns, "ANSWER_TIMEOUT", 0.3)
    asked = Resolver(configure=False)
    asked.nameservers, asked.port = ["127.0.0.1"], 9
    with pytest.raises(Unreachable, match=r"no name server answers a query for air\.example"):
        await dns.texts(asked, "air.example")
