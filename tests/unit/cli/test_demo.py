"""The options of `notifier demo`; what it runs is tested in the room `demo`."""

import re
import subprocess
import sys

import pytest
from support.cli import run
from support.parts import PATIENCE

WITHOUT_AIOSMTPD = """
import sys
sys.modules["aiosmtpd"] = None
sys.argv = ["notifier", "demo", "--once"]
from notifier.cli.app import main
main()
"""


@pytest.mark.parametrize("args", [("--bookings", "0"), ("--send-rate", "-1")])
def test_numbers_below_the_least_one_are_exit_2(args: tuple[str, ...]) -> None:
    """The option is named, and nothing is started."""
    code, out, err = run("demo", "--once", *args)
    assert (code, out) == (2, "")
    assert args[0] in err


def test_without_the_extra_the_demo_says_what_to_install() -> None:
    """A service is usually installed without the packages of the demo's inbox."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", WITHOUT_AIOSMTPD], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"notifier: the demo needs aiosmtpd[.\w]*: install notifier with its extra 'dev'\n", done.stderr
    )
