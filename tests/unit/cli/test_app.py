"""The command line as its users run it: a process with settings in its environment, output, and an exit code."""

import json
import subprocess
import sys

import pytest
from support.cli import run
from support.parts import PATIENCE

from notifier.cli.app import LazyCommand, app

IMPORTED = """
import json, sys
from notifier.cli.app import main
sys.argv = ["notifier", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
OF_THE_SERVICE = {
    *("aiocron", "aiormq", "aiosmtplib", "aiosqlite", "airportsdata", "dns", "email_validator"),
    *("jinja2", "prometheus_client", "sqlite3", "structlog", "yaml"),
}
"""Packages that only the service, `doctor` or a document needs."""


@pytest.mark.parametrize("args", [["send"], ["send", "x.json", "--example"], ["nonsense"], ["send", "--to", "a@b.cd"]])
def test_bad_usage_is_exit_2(args: list[str]) -> None:
    """Invalid arguments are explained on stderr."""
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    "args",
    [
        *(["--help"], ["mails", "--help"], ["version"], ["settings"], ["health"], ["pause"], ["resume"]),
        *(["mails", "list", "--status", "sent", "--limit", "3"], ["mails", "show", "1"], ["send", "--example"]),
    ],
)
def test_a_client_command_imports_nothing_of_the_service(args: list[str]) -> None:
    """A command starts in a third of the time that importing the whole program takes."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", IMPORTED, *args],
        env={"NOTIFIER_PORT": "1"},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    imported = set(json.loads(done.stdout.decode().splitlines()[-1]))
    assert "typer" in imported
    assert imported & OF_THE_SERVICE == set()


@pytest.mark.parametrize("name", app.commands)
def test_the_list_says_what_the_help_of_a_command_begins_with(name: str) -> None:
    """The list is written in a table, so that no command must be imported to show it."""
    listed = app.commands[name]
    assert isinstance(listed, LazyCommand)
    assert listed.load().name in (name, "")
    assert (listed.load().help or "").partition("\n\n")[0].replace("\n", " ") == listed.help


def test_a_misspelt_command_is_corrected() -> None:
    """The error suggests the commands with similar names, also among those of a group."""
    assert "Did you mean 'send'?" in run("sennd")[2]
    assert "Did you mean 'list'?" in run("mails", "lists")[2]
