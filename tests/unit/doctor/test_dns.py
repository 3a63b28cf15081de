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
    """All texts of a name; none where a name has none, or does not exist."""
    async with nameserver("example", TEXTS) as asked:
        assert sorted(await dns.texts(asked, "air.example")) == ["another", "v=spf1 -all"]
        assert await dns.texts(asked, "other.example") == []
        assert await dns.texts(asked, "nowhere.test") == []


async def test_a_domain_that_does_not_exist_is_told_from_one_without_records() -> None:
    """A misspelt domain is not one that lacks SPF."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.exists(asked, "other.example")
        assert not await dns.exists(asked, "air.exmaple")


async def test_a_subdomain_is_under_the_dmarc_record_above_it() -> None:
    """The nearest record counts, and where it was found is told."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.dmarc_record(asked, "mail.air.example") == ("_dmarc.air.example", "v=DMARC1; p=reject")
        assert await dns.dmarc_record(asked, "other.example") is None


async def test_dkim_keys_are_found_by_selector() -> None:
    """Only those selectors under which there is a key."""
    async with nameserver("example", TEXTS) as asked:
        assert await dns.dkim_selectors(asked, "air.example", ("google", "20230601")) == ["google"]


async def test_a_silent_nameserver_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline is told, within the time limit, and is not taken for missing records."""
    monkeypatch.setattr(dns, "ANSWER_TIMEOUT", 0.3)
    asked = Resolver(configure=False)
    asked.nameservers, asked.port = ["127.0.0.1"], 9
    with pytest.raises(Unreachable, match=r"DNS cannot be asked for air.example"):
        await dns.texts(asked, "air.example")
