"""The tests of the dashboard's modules that need no browser: `test_state.mjs` tests `state.js`, and so on."""

import os
import subprocess
from pathlib import Path

import pytest
from support.places import ROOT
from support.provided import provided

DASHBOARD = ROOT / "notifier" / "dashboard"
TESTS = sorted(Path(__file__).parent.glob("test_*.mjs"))
ENVIRON = {**os.environ, "TZ": "UTC", "LC_ALL": "en_US.UTF-8", "NO_COLOR": "1"}


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_module_does_what_its_tests_say(file: Path) -> None:
    """Node.js runs the file and every test in it passes."""
    command = (provided("node", "nodejs"), "--test", str(file))
    done = subprocess.run(command, env=ENVIRON, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_without_dom_has_a_test() -> None:
    """A module that does not use dom.js can be tested without a browser."""
    pure = {file.stem for file in DASHBOARD.glob("*.js") if "dom.js" not in file.read_text(encoding="utf-8")}
    assert {file.stem.removeprefix("test_") for file in TESTS} == pure - {"dom"}
