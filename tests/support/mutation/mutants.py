"""Proof that the tests can fail: small wrong changes, each of which must make a test fail.

Each change is made in a copy of the tree. First the same tests must pass in an unchanged copy, because tests that
always fail would kill every mutant.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer
from support.mutation.mutant import Mutant
from support.mutation.wrong import (
    actors,
    asyncapi,
    cli,
    composing,
    domain,
    feed,
    gateways,
    observability,
    sending,
    settings,
    storage,
    top,
)
from support.places import ROOT

_ROOMS = (actors, asyncapi, cli, composing, domain, feed, gateways, observability, sending, settings, storage, top)
MUTANTS = tuple(mutant for room in _ROOMS for mutant in room.MUTANTS)
LIMIT = 300.0
"""Seconds after which a run of tests is stopped; if the tests hang, no test has detected the change."""
GRACE = 60.0
"""Seconds that an interrupted run has to stop its broker."""
TESTS_FAILED = 1
"""pytest's exit code for failed tests; 2 to 5 mean other problems, such as a file that cannot be imported."""


class Run(NamedTuple):
    """The result of a run of tests: pytest's exit code (None: timeout), its output, and the seconds it took."""

    code: int | None
    output: str
    seconds: float

    @property
    def killer(self) -> str | None:
        """The first test that failed; None if no test failed, whatever else went wrong."""
        failed = [line.split(" - ")[0] for line in self.output.splitlines() if line.startswith("FAILED ")]
        return failed[0].removeprefix("FAILED ") if self.code == TESTS_FAILED and failed else None


@contextmanager
def copied() -> Iterator[Path]:
    """Copy all files that git tracks or would add; the copy is removed afterwards."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
    with TemporaryDirectory(prefix="notifier-mutant-") as folder:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes((ROOT / name).read_bytes())
                (Path(folder) / name).chmod((ROOT / name).stat().st_mode)
        yield Path(folder).resolve()


def changed(mutant: Mutant, tree: Path) -> str:
    """Return the text of the file with the mutant applied.

    Raises ValueError if the text to replace does not occur exactly once.
    """
    text = (tree / mutant.file).read_text(encoding="utf-8")
    if text.count(mutant.right) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} must have this exactly once: {mutant.right!r}")
    return text.replace(mutant.right, mutant.wrong)


def run(mutant: Mutant | None, tests: Sequence[str]) -> Run:
    """Run tests in a copy with (None: without) one wrong change."""
    with copied() as copy:
        if mutant:
            (copy / mutant.file).write_text(changed(mutant, copy), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environ = {**kept, "PYTHONPATH": str(copy)}
        _prove_import(copy, environ)
        began = time.monotonic()
        with (copy / "output").open("w+", encoding="utf-8") as output:
            code = _pytest(copy, environ, tests, output.fileno())
            output.seek(0)
            return Run(code, output.read(), time.monotonic() - began)


def _prove_import(copy: Path, environ: dict[str, str]) -> None:
    """Make sure that the copy is tested and not the checkout, which is installed as editable."""
    # With -P the current folder is not searched: tests start processes in other folders.
    command = (sys.executable, "-P", "-c", "import notifier; print(notifier.__file__)")
    found = subprocess.run(command, cwd=copy, env=environ, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    if not Path(found.stdout.strip()).is_relative_to(copy):
        raise RuntimeError(f"the tests would import {found.stdout.strip()} and not the copy in {copy}")


def _pytest(copy: Path, environ: dict[str, str], tests: Sequence[str], output: int) -> int | None:
    command = (sys.executable, "-m", "pytest", "-x", "--basetemp=basetemp", "--color=no", *tests)
    # In a separate session: otherwise Ctrl-C would arrive twice, and the second one would leave the broker running.
    process = subprocess.Popen(  # noqa: S603 - our own
        command, cwd=copy, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            _interrupt(process)


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return
    finally:
        process.kill()
        process.wait()


def main(names: Sequence[str]) -> int:
    """Test the named mutants, or all; return the exit code, which is 0 if a test failed for each of them."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        known = "".join(f"\n  {mutant.name}" for mutant in MUTANTS)
        typer.echo(f"unknown mutant: {', '.join(sorted(unknown))}. The known ones are:{known}", err=True)
        return 2
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    before = run(None, sorted({test for mutant in chosen for test in mutant.tests}))
    if before.code != 0:
        typer.echo(f"{before.output}\nthe tests must pass before anything is changed", err=True)
        return 1
    return max([judge(mutant) for mutant in chosen])


def judge(mutant: Mutant) -> int:
    """Test one mutant; return 0 if a test failed, otherwise 1."""
    found = run(mutant, mutant.tests)
    if found.killer:
        typer.echo(f"{mutant.name}: killed by {found.killer} in {found.seconds:.1f} s")
        return 0
    ended = "the tests did not end" if found.code is None else f"pytest's exit code is {found.code}"
    typer.echo(f"{mutant.name}: SURVIVED ({ended})" + (f"\n{found.output}" if found.code else ""))
    return 1


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Names of mutants; all if none is given.")] = None,
    *,
    all_pure: Annotated[bool, typer.Option(help="Try every generated change to the pure files instead.")] = False,
    sample: Annotated[
        int, typer.Option(help="Try this many generated changes to the other files, chosen at random.")
    ] = 0,
    file: Annotated[
        list[str] | None, typer.Option(help="Try every generated change, or the sample, in this file only.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat the sample with this seed.")] = None,
    own: Annotated[
        bool, typer.Option(help="Run only the own tests of each file: faster, but with more survivors.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Number of changes tried at a time.")] = 2,
    report: Annotated[Path, typer.Option(help="File for the score and the survivors.")] = Path("mutation.md"),
) -> None:
    """Test the mutants that are written by hand, or with an option those that a tool generates."""
    if not (all_pure or sample or file):
        raise typer.Exit(main(names or []))
    from support.mutation import trial  # noqa: PLC0415 - it imports libcst and this file

    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    jobs = trial.chosen(pure=all_pure, sample=sample, files=file or [], seed=seed)
    raise typer.Exit(trial.mutate(jobs, workers, lambda text: report.write_text(text, encoding="utf-8"), own=own))


if __name__ == "__main__":
    # Both signals stop a run cleanly, even if it was started in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(command)
        app()
    except KeyboardInterrupt:
        sys.exit("interrupted")
