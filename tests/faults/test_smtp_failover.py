"""With two SMTP servers, the first one is not trusted or fails, and the second one takes over."""

import ssl
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.faults.sink import Sink

from notifier.demo.inbox import Inbox

A_DAY = timedelta(days=1)
ON_THE_WAY = 0.1
"""Seconds within which a reply that was sent may not have arrived yet."""


@pytest.fixture(params=[(), ("PIPELINING",)], ids=["one by one", "together"])
def extensions(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Run each test with a server that takes one command at a time, and with one that takes several."""
    offered: tuple[str, ...] = request.param
    return offered


def server_tls(authority: trustme.CA, flaw: str) -> ssl.SSLContext | None:
    """Build a server-side TLS context that must not be trusted; None if the offer of STARTTLS is stripped."""
    if flaw == "stripped":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.now(UTC) - 2 * A_DAY
    certificate = (
        authority.issue_cert("127.0.0.1", not_before=long_ago, not_after=long_ago + A_DAY)
        if flaw == "expired"
        else authority.issue_cert("mail.example.net")
    )
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize(
    "flaw",
    [
        pytest.param("expired", marks=pytest.mark.faults),
        pytest.param("of another name", marks=pytest.mark.faults),
        "stripped",
    ],
)
async def test_an_untrusted_server_gets_no_mail(scene: Scene, flaw: str, tmp_path: Path) -> None:
    """It is contacted repeatedly but gets no data of any mail; all mails are sent by the second server."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with Inbox(tls=server_tls(authority, flaw)) as bad:
        url = f"smtp://127.0.0.1:{bad.port},smtp+plain://127.0.0.1:{scene.sink.port}"
        async with scene.service(SMTP_URL=url, SMTP_CA_FILE=str(ca_file)) as victim:
            async with scene.load.flowing(rate=60):
                await scene.sink.wait_accepted(60)
                await victim.wait_line(lambda line: line["event"] == "SMTP account paused")
            await scene.end(victim)
        assert bad.connections > 1
        assert (bad.started, bad.received) == ([], [])


@pytest.mark.faults
async def test_the_first_server_fails_under_load_and_recovers(scene: Scene) -> None:
    """When the first server resets its connections, the second one takes over until the first is back."""
    sink = scene.sink
    async with Proxy.to(sink.port) as first:
        url = f"smtp+plain://127.0.0.1:{first.port},smtp+plain://127.0.0.1:{sink.port}"
        async with scene.service(SMTP_URL=url) as victim, scene.load.flowing(rate=60):
            await sink.wait_accepted(60)
            first.refusing = True
            reset_at = time.monotonic()
            first.reset()
            await sink.wait_accepted(len(sink.accepted) + 60)
            first.refusing = False
            await victim.wait_line(lambda line: line["event"] == "SMTP account ready again")
            before = first.carried
            await sink.wait_accepted(len(sink.accepted) + 30)
            assert first.carried > before
            await scene.load.stop()
            scene.struck += on_the_way(sink, reset_at)
            await scene.end(victim)


def on_the_way(sink: Sink, reset_at: float) -> Counter[str]:
    """Count by mail the replies that a reset may have lost."""
    answered = (entry for entry in sink.read() if entry["phase"] == "ANSWERED")
    return Counter(entry["mail"] for entry in answered if abs(entry["at"] - reset_at) < ON_THE_WAY)
