"""HTTP GET requests to a running service: its pages, and its metrics as Prometheus reads them."""

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.parts import PATIENCE

from notifier.settings import FeedSettings


async def get(feed: FeedSettings, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Get a page; return its status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", feed.port)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {"Host": "localhost", **headers}.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), dict(field.split(": ", 1) for field in fields), body


class Scrape:
    """The samples of one response of /metrics."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def get(self, name: str, **labels: str) -> float:
        """Return the value of the only sample with this name and these labels; -1 if there is none."""
        found = [each.value for each in self.samples if each.name == name and each.labels == labels]
        return found[0] if found else -1.0


async def scrape(feed: FeedSettings, wanted: Callable[[Scrape], bool] = lambda _: True) -> Scrape:
    """Read the metrics until they are as wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, _, body = await get(feed, "/metrics")
            assert status == 200
            families = text_string_to_metric_families(body.decode())
            found = Scrape(sample for family in families for sample in family.samples)
            if wanted(found):
                return found
