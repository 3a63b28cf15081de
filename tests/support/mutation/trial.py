"""Mutation testing: all generated changes of the pure files, or a sample of the others, with the tests of each file.

Each worker has a copy of the tree, a process that forks for every change, and its own broker.
"""

import configparser
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import cache_from_source
from pathlib import Path
from typing import IO, NamedTuple

import typer
from support.mutation.mutants import copied
from support.mutation.mutations import Change, changes
from support.places import ROOT

from notifier.demo.broker import find_broker

SHARE = 0.9
"""The share of the changes that must be detected."""
SLACK, FACTOR = 10.0, 5.0
"""A change makes its tests hang if they take this many seconds plus this many times as long as without it."""
SAMPLED = ("storage", "actors", "gateways", "feed", "service", "settings")

OTHERS: Mapping[str, str] = {
    "actors": "unit/actors unit/test_service.py unit/observability integration",
    "composing": "unit/composing unit/cli/test_preview.py integration/test_flights.py",
    "domain": "unit/domain unit/storage unit/composing integration/test_flights.py integration/test_privacy.py model",
    "errors": "integration/test_exit_codes.py unit/settings unit/domain/test_messages.py",
    "feed": "unit/feed unit/observability integration",
    "gateways": "unit/gateways unit/actors unit/test_service.py unit/observability integration",
    "observability": "unit/observability unit/feed/test_pages.py",
    "sending": "unit/sending unit/actors unit/observability integration/test_wiring.py",
    "service": "unit/test_service.py unit/observability unit/feed integration",
    "settings": "unit/settings unit/cli integration",
    "storage": "unit/storage unit/actors unit/observability integration",
}
"""The tests of each folder of the package, which run if a file's own tests do not detect a change."""


_QUIETLY = ("-W", "ignore::pytest.PytestAssertRewriteWarning", "--hypothesis-profile=mutation")


class Job(NamedTuple):
    """A change to try, and its file relative to the root of the tree."""

    file: str
    change: Change


class Stage(NamedTuple):
    """Tests that run together, and the seconds after which they count as hanging."""

    tests: list[str]
    limit: float


class Outcome(NamedTuple):
    """The outcome of a change: `killed` (by which test), `hung`, `survived`, or `broken` if no test could run."""

    job: Job
    how: str
    by: str = ""


def tests_of(file: str) -> list[list[str]]:
    """Return the tests for changes of a file in stages: first those with its name, then those of its folder."""
    path = Path(file).relative_to("notifier")
    own = sorted((ROOT / "tests" / "unit" / path.parent).glob(f"test_{path.stem}*.py"))
    others = [f"tests/{each}" for each in OTHERS[path.with_suffix("").parts[0]].split()]
    return [stage for stage in ([str(each.relative_to(ROOT)) for each in own], others) if stage]


def pure_files() -> list[str]:
    """Return the files without event loop and driver, as listed in the import rules."""
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    return _files(rules["importlinter:contract:pure"]["source_modules"].split())


def other_files() -> list[str]:
    """Return the files from which samples are taken."""
    return [name for name in _files([f"notifier.{name}" for name in SAMPLED]) if name not in pure_files()]


def _files(modules: Sequence[str]) -> list[str]:
    found: list[Path] = []
    for name in modules:
        path = ROOT / name.replace(".", "/")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]


def jobs_of(files: Sequence[str]) -> list[Job]:
    """Return every change to some files."""
    return [Job(name, change) for name in files for change in changes((ROOT / name).read_text(encoding="utf-8"))]


class Worker:
    """Tries changes one after the other in a copy of the tree."""

    def __init__(self, copy: Path, process: "subprocess.Popen[str]") -> None:
        self._copy = copy
        self._process = process
        self._answer()

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Worker"]:
        """Start a worker; its copy is removed afterwards."""
        with ExitStack() as stack:
            copy = stack.enter_context(copied())
            url = stack.enter_context(find_broker(os.environ, lambda _: None))
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "NOTIFIER_"))}
            process = subprocess.Popen(  # noqa: S603 - our own
                (sys.executable, str(copy / "tests" / "support" / "mutation" / "worker.py")),
                cwd=copy,
                env={**kept, "PYTHONPATH": str(copy), "NOTIFIER_AMQP_URL": url},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.enter_context(process)
            stack.callback(_stream(process.stdin).close)
            yield cls(copy, process)

    def run(self, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
        """Run tests in the copy; return pytest's exit code (None: timeout) and its output."""
        output = self._copy / "output"
        arguments = [*_QUIETLY, f"--basetemp={self._copy / 'basetemp'}", *tests]
        command = {"tests": arguments, "limit": limit, "output": str(output)}
        stdin = _stream(self._process.stdin)
        stdin.write(json.dumps(command) + "\n")
        stdin.flush()
        code = self._answer()
        return code, output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""

    def try_(self, job: Job, stages: Sequence["Stage"]) -> Outcome:
        """Run tests, stage by stage, with one change applied, and revert the change afterwards."""
        path = self._copy / job.file
        before = path.read_text(encoding="utf-8")
        # Python would use the old bytecode for a source file of the same size and second.
        compiled = Path(cache_from_source(str(path)))
        compiled.unlink(missing_ok=True)
        path.write_text(job.change.text, encoding="utf-8")
        try:
            for stage in stages:
                code, output = self.run(["-p", "no:cacheprovider", *stage.tests], stage.limit)
                if code != 0:
                    return Outcome(job, {None: "hung", 1: "killed"}.get(code, "broken"), _killer(output))
        finally:
            path.write_text(before, encoding="utf-8")
            compiled.unlink(missing_ok=True)
        return Outcome(job, "survived")

    def _answer(self) -> int | None:
        found: int | None = json.loads(_stream(self._process.stdout).readline())
        return found


def _killer(output: str) -> str:
    failed = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" ")[2].split(" - ")[0] if failed else ""


def _stream(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the worker has no pipes")
    return pipe


class Trial:
    """All changes of one run, distributed to workers."""

    def __init__(self, jobs: Sequence[Job], *, own: bool) -> None:
        self._jobs = list(reversed(jobs))
        self._own = own
        self._lock = threading.Lock()
        self._stages: dict[str, list[Stage]] = {}
        self.total = len(jobs)
        self.outcomes: list[Outcome] = []

    def work(self) -> None:
        """Try one change after the other until there are no more."""
        with Worker.running() as worker:
            while job := self._next():
                outcome = worker.try_(job, self._stages_of(worker, job.file))
                with self._lock:
                    self.outcomes.append(outcome)
                    _print_progress(outcome, len(self.outcomes), self.total)

    def _next(self) -> Job | None:
        with self._lock:
            return self._jobs.pop() if self._jobs else None

    def stop(self) -> None:
        """Start no further change."""
        with self._lock:
            self._jobs.clear()

    def _stages_of(self, worker: Worker, file: str) -> list[Stage]:
        """Measure how long the tests of a file take; all must pass without a change."""
        if file not in self._stages:
            stages = tests_of(file)
            self._stages[file] = [_measured(worker, file, tests) for tests in (stages[:1] if self._own else stages)]
        return self._stages[file]


def _measured(worker: Worker, file: str, tests: list[str]) -> Stage:
    began = time.monotonic()
    code, output = worker.run(tests, 3600)
    if code != 0:
        raise RuntimeError(f"{file}: the tests must pass before anything is changed:\n{output}")
    return Stage(tests, SLACK + FACTOR * (time.monotonic() - began))


def _print_progress(outcome: Outcome, number: int, total: int) -> None:
    if outcome.how in ("survived", "broken"):
        typer.echo(f"[{number}/{total}] {outcome.how}: {outcome.job.file}:{outcome.job.change.line}")
        typer.echo(outcome.job.change.diff)
    elif number % 50 == 0:
        typer.echo(f"[{number}/{total}]")


def mutate(jobs: Sequence[Job], workers: int, write: Callable[[str], object], *, own: bool) -> int:
    """Try changes and write a report; return the exit code, which is 0 if enough of them were detected.

    With `own`, only the own tests of each file run. For a survivor this takes seconds instead of a minute.
    """
    trial = Trial(jobs, own=own)
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for work in [pool.submit(trial.work) for _ in range(workers)]:
                    work.result()
            except BaseException:
                trial.stop()
                raise
    finally:
        write(report(trial.outcomes))
    return 0 if share(trial.outcomes) >= SHARE else 1


def share(outcomes: Sequence[Outcome]) -> float:
    """Return the share of the changes that was detected; `broken` ones do not count."""
    count = Counter(outcome.how for outcome in outcomes)
    judged = sum(count.values()) - count["broken"]
    return (count["killed"] + count["hung"]) / judged if judged else 1.0


def report(outcomes: Sequence[Outcome]) -> str:
    """Return a report with the total score, the score of each file, and every survivor."""
    lines = [f"# Mutation testing: {share(outcomes):.1%} of {len(outcomes)} changes detected", "", _HEAD, _RULE]
    for file in sorted({outcome.job.file for outcome in outcomes}):
        its = [outcome for outcome in outcomes if outcome.job.file == file]
        count = Counter(outcome.how for outcome in its)
        figures = " | ".join(str(count[how]) for how in ("killed", "hung", "survived", "broken"))
        lines.append(f"| `{file}` | {figures} | {share(its):.0%} |")
    survivors = sorted(outcome.job for outcome in outcomes if outcome.how == "survived")
    for job in survivors:
        lines += ["", f"`{job.file}`, line {job.change.line}", "```diff", job.change.diff, "```"]
    return "\n".join([*lines, ""])


_HEAD = "| file | killed | hung | survived | broken | detected |"
_RULE = "|---|---|---|---|---|---|"


def chosen(*, pure: bool, sample: int, files: Sequence[str], seed: int) -> list[Job]:
    """Return the requested changes; the seed of a sample is printed, so that it can be repeated."""
    found = jobs_of(pure_files()) if pure else []
    found += jobs_of(files) if files and not sample else []
    if sample:
        typer.echo(f"seed {seed}")
        every = jobs_of(files or other_files())
        found += sorted(random.Random(seed).sample(every, min(sample, len(every))))  # noqa: S311 - to be repeated
    return found
