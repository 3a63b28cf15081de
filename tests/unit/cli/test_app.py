"""The command line as its users run it: a process with settings in its environment, output, and an exit code."""

import pytest
from support.cli import run

from notifier.demo.node import free_ports


@pytest.mark.parametrize("args", [["send"], ["send", "x.json", "--example"], ["nonsense"], ["send", "--to", "a@b.cd"]])
def test_bad_usage_is_exit_2(args: list[str]) -> None:
    """Invalid arguments are explained on stderr."""
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err


def test_an_unreachable_service_is_exit_4() -> None:
    """send, watch and health each name the address that does not answer."""
    (port,) = free_ports(1)
    for args in (["send", "--example"], ["watch"], ["health"]):
        code, out, err = run(*args, environ={"NOTIFIER_PORT": str(port)})
        assert (code, out) == (4, "")
        assert f"no notifier answers at 127.0.0.1:{port}" in err
        assert "check that the service is running" in err
