"""The command line as its users run it: a process with settings in its environment, output, and an exit code."""

import pytest
from support.cli import run


@pytest.mark.parametrize("args", [["send"], ["send", "x.json", "--example"], ["nonsense"], ["send", "--to", "a@b.cd"]])
def test_bad_usage_is_exit_2(args: list[str]) -> None:
    """Invalid arguments are explained on stderr."""
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err
