"""How commands reach the service, and what they say if it does not answer."""

from pathlib import Path

import pytest
from support.cli import run

from notifier.cli.connect import feed_settings, with_advice
from notifier.demo.node import free_ports
from notifier.errors import Refused, Unreachable


def test_an_unreachable_service_is_exit_4() -> None:
    """send, watch and health each name the address that does not answer."""
    (port,) = free_ports(1)
    for args in (["send", "--example"], ["watch"], ["health"]):
        code, out, err = run(*args, environ={"NOTIFIER_PORT": str(port)})
        assert (code, out) == (4, "")
        assert f"no notifier answers at 127.0.0.1:{port}" in err
        assert "check that the service is running" in err


def test_the_token_of_the_service_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Address and token come from the environment, or the token from the file that the service has made."""
    (tmp_path / "token").write_text("a-token-of-twenty-four-x\n", encoding="utf-8")
    monkeypatch.setenv("NOTIFIER_PORT", "8026")
    monkeypatch.setenv("NOTIFIER_MAKE_TOKEN", str(tmp_path / "token"))
    found = feed_settings()
    assert (found.host, found.port, found.operator_token) == ("127.0.0.1", 8026, "a-token-of-twenty-four-x")


def test_only_an_unreachable_service_comes_with_advice() -> None:
    """The reason is kept, and any other error is left as it is."""
    with pytest.raises(Unreachable, match=r"^connection refused; check that the service is running"), with_advice():
        raise Unreachable("connection refused")
    refused = Refused("invalid", "data.to: missing")
    with pytest.raises(Refused) as raised, with_advice():
        raise refused
    assert raised.value is refused
