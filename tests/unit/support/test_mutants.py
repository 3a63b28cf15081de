"""The check of the tests can itself fail."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.mutation import mutants
from support.mutation.mutant import Mutant
from support.mutation.mutants import MUTANTS, changed, judge, main
from support.parts import PATIENCE
from support.places import ROOT

WRONG_LOGIN = "wrong-login-fails-the-mail"
HARMLESS = next(mutant for mutant in MUTANTS if mutant.name == WRONG_LOGIN)._replace(
    wrong="_LOGIN_CODES = frozenset({530, 534, 535, 538})  # the same"
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_applied(mutant: Mutant) -> None:
    """Its text occurs exactly once, the result is valid Python with another meaning, and its tests exist."""
    right = ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))
    assert ast.dump(ast.parse(changed(mutant, ROOT))) != ast.dump(right)
    assert mutant.tests
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test


def test_names_of_mutants_are_unique() -> None:
    """A name selects exactly one of them."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_text_that_does_not_occur_exactly_once_is_an_error() -> None:
    """A mutant that no longer fits the code is reported, and does not count as a survivor."""
    for text in ("no such text", "reply"):
        with pytest.raises(ValueError, match="must have this exactly once"):
            changed(HARMLESS._replace(right=text), ROOT)


def test_a_wrong_change_is_detected(capfd: pytest.CaptureFixture[str]) -> None:
    """The tests pass without the change and one of them fails with it; the output names this test."""
    assert main([WRONG_LOGIN]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"{WRONG_LOGIN}: killed by tests/unit/sending/test_replies\.py::\w+\[RCPT-535-.*\] in \d+\.\d s", line
    )


def test_a_harmless_change_survives(capfd: pytest.CaptureFixture[str]) -> None:
    """A changed comment makes no test fail and is reported as a survivor."""
    assert judge(HARMLESS) == 1
    assert capfd.readouterr().out == f"{WRONG_LOGIN}: SURVIVED (pytest's exit code is 0)\n"


def test_a_file_that_cannot_be_imported_does_not_count_as_killed(capfd: pytest.CaptureFixture[str]) -> None:
    """No test has run, so none has detected the change."""
    assert judge(HARMLESS._replace(wrong="_LOGIN_CODES =")) == 1
    assert f"{WRONG_LOGIN}: SURVIVED (pytest's exit code is" in capfd.readouterr().out


def test_tests_that_fail_anyway_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """If the tests fail without a change, no change is made."""
    monkeypatch.setattr(
        mutants, "MUTANTS", (HARMLESS._replace(tests=("tests/unit/sending/test_replies.py::test_none",)),)
    )
    assert main([]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "the tests must pass before anything is changed" in err


def test_an_unknown_name_lists_the_known_ones(capfd: pytest.CaptureFixture[str]) -> None:
    """No test runs."""
    assert main(["no-such"]) == 2
    assert WRONG_LOGIN in capfd.readouterr().err


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C stops the tests and removes the copy."""
    command = (sys.executable, "-m", "support.mutation.mutants", "sent-mail-may-be-pending", "orphans-forgotten")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stdout
        assert "killed by" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert list(tmp_path.iterdir()) == []
    assert not [each for each in psutil.process_iter(["cwd"]) if str(each.info["cwd"]).startswith(str(tmp_path))]
