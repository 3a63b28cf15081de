"""What all checks of the doctor find, with a name server of the tests."""

from support.nameserver import nameserver

from notifier.doctor.examination import examine
from notifier.doctor.finding import Finding, Level
from notifier.settings import Settings

TEXTS = {"example.org": ["v=spf1 mx -all"], "_dmarc.example.org": ["v=DMARC1; p=none"]}


async def findings(settings: Settings) -> list[Finding]:
    """Run all checks with a name server of the test."""
    async with nameserver("example.org", TEXTS) as asked:
        return [finding async for finding in examine(settings, asked)]


def about(found: list[Finding], topic: str) -> list[tuple[Level, str]]:
    """Return level and text of the findings about a topic."""
    return [(each.level, each.says) for each in found if each.topic == topic]
