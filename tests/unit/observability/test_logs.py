import asyncio
import fcntl
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any, BinaryIO, Literal, TextIO

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from support.parts import PATIENCE, request, submit

from notifier.demo.inbox import Inbox
from notifier.feed.client import FeedClient
from notifier.observability import logs
from notifier.settings import FeedSettings, LogSettings

HOSTILE = "one\r\n2026-11-24 [info] forged\x1b[31m\x9b2J\u2028\x00 é"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the configuration of logging afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def log(format_: str) -> None:
    """Log hostile text as an event, as a value, in an error, and with the logger of a library."""
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": format_}))
    logger = structlog.get_logger("test")
    logger.warning(HOSTILE, reason=HOSTILE)
    logger.error("it broke", exc_info=ValueError(HOSTILE))
    logging.getLogger("library").warning("%s", HOSTILE)


def test_no_text_can_forge_a_line_or_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """On the console every line begins with its time or is indented, and all characters are printable."""
    log("console")
    lines = capsys.readouterr().err.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if line[:1].isdigit()]) == 3
    assert all(line.startswith("    ") for line in lines if line and not line[:1].isdigit())
    assert "é" in lines[0]


def test_json_is_one_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one object that contains the text unchanged."""
    log("json")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["reason"], third["event"]) == (HOSTILE, HOSTILE, HOSTILE)
    assert "ValueError" in second["exception"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_addresses_in_text_from_outside_are_masked(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    """Values, errors and warnings of libraries are masked, and the line has the bound context."""
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": format_}))
    logger = structlog.get_logger("test")
    with structlog.contextvars.bound_contextvars(mail="m1"):
        logger.warning("refused", reason="550 <asha@example.com>: unknown")
    logger.error("it broke", exc_info=ValueError("no mailbox 'asha@example.com'"))
    logging.getLogger("library").warning("to %s", "asha@example.com")
    logged = capsys.readouterr().err
    assert "asha" not in logged
    assert logged.count("@example.com") == 3
    assert "m1" in logged.splitlines()[0]


FIELDS = st.dictionaries(st.sampled_from(["mail", "to", "code", "reply", "error"]), st.text() | st.integers())


@pytest.mark.parametrize("format_", ["json", "console"])
@given(
    event=st.text(st.characters(exclude_characters="@"), min_size=1),
    fields=FIELDS,
    level=st.sampled_from(["info", "warning"]),
)
@example(event=HOSTILE, fields={"to": "asha@example.com", "reply": "it's", "error": '"=\\\ud800'}, level="info")
def test_lines_that_are_written_at_once_are_those_of_structlog(
    format_: str, event: str, fields: dict[str, Any], level: Literal["info", "warning"]
) -> None:
    """Whatever they contain, only their times differ."""
    settings = LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": format_})
    masked: Any = logs.mask(None, "", dict(fields))
    with redirect_stderr(StringIO()) as written:
        logs.configure(settings)
        getattr(structlog.get_logger("test"), level)(event, **masked)
        logs.Lines(settings).write([logs.Line(level, event, masked)] * 2)
    one, *others = [re.sub(r"20[0-9T:.-]+Z", "TIME", line) for line in written.getvalue().split("\n") if line]
    assert others == [one, one]


def test_lines_that_wait_are_counted_also_if_they_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them counts against the limit, and is written or counted as dropped."""
    monkeypatch.setattr(logs, "MAX_LINES", 50)
    settings = LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": "json"})
    logs.configure(settings)
    lines: list[Any] = []
    with narrow_pipe() as (source, target):
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, source)))
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(sys, "stderr", target)
            with logs.STDERR.from_a_thread():
                for _ in range(100):
                    logs.Lines(settings).write([logs.Line("info", "a line", {"filling": "x" * 200})] * 10)
                reader.start()
        target.close()
        reader.join(PATIENCE)
    written = sum(line["event"] == "a line" for line in lines)
    assert written + sum(line["count"] for line in lines if "dropped" in line["event"]) == 1000
    assert 50 <= written < 500


@contextmanager
def narrow_pipe() -> Iterator[tuple[BinaryIO, TextIO]]:
    """Yield a pipe that holds one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "w", encoding="utf-8") as target:
        yield source, target


def test_a_reader_that_stops_reading_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited number of lines waits; the others are dropped, and their number is logged when reading continues."""
    monkeypatch.setattr(logs, "MAX_LINES", 20)
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": "json"}))
    logger = structlog.get_logger("test")
    lines: list[Any] = []
    with narrow_pipe() as (source, target):
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, source)))
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(sys, "stderr", target)
            with logs.STDERR.from_a_thread():
                for number in range(200):
                    logger.info("a line", number=number, filling="x" * 200)
                reader.start()
        target.close()
        reader.join(PATIENCE)
    numbers = [line["number"] for line in lines if line["event"] == "a line"]
    dropped = sum(line["count"] for line in lines if "dropped" in line["event"])
    assert numbers == sorted(numbers)
    assert len(numbers) + dropped == 200
    assert dropped > 100


def test_the_count_of_dropped_lines_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is written or counted, even if the queue has no room for the line with the count."""
    monkeypatch.setattr(logs, "MAX_LINES", 5)
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": "json"}))
    logger = structlog.get_logger("test")
    lines: list[Any] = []
    with narrow_pipe() as (source, target):
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, source)))
        reader.start()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(sys, "stderr", target)
            with logs.STDERR.from_a_thread():
                for number in range(3000):
                    logger.info("a line", number=number, filling="x" * 200)
        target.close()
        reader.join(PATIENCE)
    dropped = [line["count"] for line in lines if "dropped" in line["event"]]
    assert dropped
    assert sum(line["event"] == "a line" for line in lines) + sum(dropped) == 3000


async def test_the_service_works_and_ends_if_nobody_reads_its_log(environ: dict[str, str], inbox: Inbox) -> None:
    """With stderr full, messages are accepted and mails sent, and SIGTERM is a graceful shutdown."""
    with narrow_pipe() as (source, target):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "serve"),
            env={**os.environ, **environ, "NOTIFIER_LOG_FORMAT": "json"},
            stderr=target,
        )
        try:
            started = b""
            while not (found := re.search(rb"http://127.0.0.1:(\d+)", started)):
                started += await asyncio.to_thread(os.read, source.fileno(), 4096)
            feed = FeedSettings.model_validate({"NOTIFIER_PORT": found[1].decode()})
            async with FeedClient.connect(feed, snapshot=0, filter={"mail": "none"}) as client:
                for number in range(40):
                    await submit(client, request(number, to=[f"{n}@example.com" for n in range(10)]))
            await inbox.wait_for(400, PATIENCE)
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
