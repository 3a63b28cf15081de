"""All checks of the doctor, with real peers."""

from support.findings import about, findings
from support.parts import changed
from support.rabbit import Rabbit

from notifier.doctor.finding import Level


async def test_a_working_installation_has_no_fault(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Every topic is checked without a fault, and the checks create nothing on the broker."""
    before = await findings(changed({**environ, **rabbit.environ}))
    await rabbit.prepare()
    after = await findings(changed({**environ, **rabbit.environ}))
    topics = {each.topic for each in after}
    assert topics == {"clock", "time zones", "SMTP", "sender", "SPF", "DKIM", "DMARC", "broker"}
    assert not [each for each in (*before, *after) if each.level is Level.FAULT]
    assert (Level.NOTE, f"{rabbit.queue} does not exist yet") in about(before, "broker")
    assert (Level.OK, f"{rabbit.queue} exists") in about(after, "broker")
    assert all(each.remedy for each in after if each.level in (Level.WARNING, Level.FAULT))


async def test_a_domain_that_does_not_exist_is_a_warning(environ: dict[str, str]) -> None:
    """There is one finding instead of three about missing records."""
    found = await findings(changed(environ, MAIL_FROM="fly@exmaple.test"))
    assert [level for level, _ in about(found, "DNS")] == [Level.WARNING]
    assert about(found, "SPF") == []
