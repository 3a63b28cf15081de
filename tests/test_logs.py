import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from notifier import logs
from notifier.settings import LogSettings

HOSTILE = "one\r\n2026-11-24 [info] forged\x1b[31m\x9b2J\u2028\x00 é"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put back what was configured for logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def log(format_: str) -> None:
    """Log hostile text as an event, as a value, in an error and through a library's logger."""
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": format_}))
    logger = structlog.get_logger("test")
    logger.warning(HOSTILE, reason=HOSTILE)
    logger.error("it broke", exc_info=ValueError(HOSTILE))
    logging.getLogger("library").warning("%s", HOSTILE)


def test_no_text_can_forge_a_line_or_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """On the console every line begins with its time, or is indented below one; nothing unprintable is in it."""
    log("console")
    lines = capsys.readouterr().err.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if line[:1].isdigit()]) == 3
    assert all(line.startswith("    ") for line in lines if line and not line[:1].isdigit())
    assert "é" in lines[0]


def test_json_is_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one object, and has the text as it was."""
    log("json")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["reason"], third["event"]) == (HOSTILE, HOSTILE, HOSTILE)
    assert "ValueError" in second["exception"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_addresses_in_the_words_of_others_are_masked(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    """In a value, an error's text and a library's warning; what is bound to the context is in the line."""
    logs.configure(LogSettings.model_validate({"NOTIFIER_LOG_FORMAT": format_}))
    logger = structlog.get_logger("test")
    with structlog.contextvars.bound_contextvars(mail="m1"):
        logger.warning("refused", reason="550 <asha@example.com>: unknown")
    logger.error("it broke", exc_info=ValueError("no mailbox 'asha@example.com'"))
    logging.getLogger("library").warning("to %s", "asha@example.com")
    told = capsys.readouterr().err
    assert "asha" not in told
    assert told.count("@example.com") == 3
    assert "m1" in told.splitlines()[0]
