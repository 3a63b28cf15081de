"""A mail server whose certificate is wrong, or who offers none, beside one that can be trusted."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from faults.scene import Scene

from notifier.demo.inbox import Inbox

LONG_AGO = datetime.now(UTC) - timedelta(days=400)


def server_side(authority: trustme.CA, host: str, *, expired: bool = False) -> ssl.SSLContext:
    """Give a server's side of TLS with a certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    begins, ends = (LONG_AGO, LONG_AGO + timedelta(days=90)) if expired else (None, None)
    authority.issue_cert(host, not_before=begins, not_after=ends).configure_cert(context)
    return context


@pytest.mark.parametrize("wrong", ["of a stranger", "for another host", "expired", "stripped"])
async def test_a_server_that_cannot_be_trusted_gets_nothing(scene: Scene, tmp_path: Path, wrong: str) -> None:
    """It gets no login and no mail, in plain text or otherwise; all mail goes through the second server."""
    ours, stranger = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = {
        "of a stranger": server_side(stranger, "127.0.0.1"),
        "for another host": server_side(ours, "mail.example.com"),
        "expired": server_side(ours, "127.0.0.1", expired=True),
        "stripped": None,
    }[wrong]
    async with Inbox(tls=tls, credentials=("user", "right")) as inbox:
        first = f"smtp://user:right@127.0.0.1:{inbox.port}"
        second = scene.environ["NOTIFIER_SMTP_URL"]
        settings = {"SMTP_URL": f"{first},{second}", "SMTP_CA_FILE": str(tmp_path / "ca.pem")}
        async with scene.service(**settings) as victim:
            async with scene.load.flowing(rate=40):
                await scene.sink.wait_accepted(20)
            paused = await victim.wait_line(lambda line: line["event"] == "transport is paused")
            await scene.end(victim)
    assert paused["transport"] == f"127.0.0.1:{inbox.port}"
    assert any(word in paused["reason"] for word in ("certificate", "STARTTLS")), paused
    assert (inbox.started, inbox.received) == ([], [])
