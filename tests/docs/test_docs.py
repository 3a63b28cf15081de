"""The documentation matches the code: its links, names, defaults and examples."""

import ast
import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import manual
from support.manual import PAGES
from support.places import ROOT
from support.samples import mail

from notifier import settings
from notifier.cli.app import app
from notifier.domain.events import encode_event
from notifier.domain.mail import Status
from notifier.domain.messages import Origin, decode

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
LEAST = {"NOTIFIER_SMTP_URL": "smtp://smtp.example.org", "NOTIFIER_MAIL_FROM": "fly@example.org"}
WORDS = {"none", "empty", "the system's", "built in", "the same host"}
"""Defaults in the table of settings that are not values."""
OF_TESTS = {"NOTIFIER_FAULT_SEED"}
FOLDERS = (".", "notifier", "tests", "docs", "docs/examples")
"""Folders in which a file is searched that a page names by a partial path."""


def name_of(page: Path) -> str:
    """Return the name of a page for the title of a test."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_repository_has_a_target(page: Path) -> None:
    """Each link leads to an existing file or folder, and to an existing heading."""
    for target in manual.links(page):
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not fragment or fragment in manual.anchors(file), target


def test_every_page_is_linked_from_the_readme() -> None:
    """Each page can be reached from it directly, or through other pages."""
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        found.add(page)
        linked = {(page.parent / each.partition("#")[0]).resolve() for each in manual.links(page)}
        waiting += [each for each in linked & set(PAGES) if each not in found]
    # GitHub shows a linked folder as a list of its pages.
    assert {page for page in PAGES if page.parent.name != "decisions"} <= found


def test_the_table_of_settings_matches_the_code() -> None:
    """It contains every setting exactly once with its default, and no unknown one."""
    rows = manual.table(ROOT / "docs" / "settings.md", "name")
    documented: dict[str, str] = {}
    for names, defaults, *_ in rows:
        found = re.findall(r"`(\w+)`", names)
        given = re.findall(r"`[^`]*`", defaults) or [defaults] * len(found)
        documented |= dict(zip(found, given, strict=True))
    real = settings.load(LEAST)
    assert documented.keys() == real.shown().keys()
    assert {name for name, default in documented.items() if default == "required"} == LEAST.keys()
    values = {name: default.strip("`") for name, default in documented.items() if default.startswith("`")}
    assert settings.load({**LEAST, **values}) == real
    unset = {name for name, default in documented.items() if default in WORDS}
    assert not [name for name in unset if real.shown()[name]]
    assert documented.keys() == values.keys() | unset | LEAST.keys()


def test_every_setting_that_a_page_names_exists() -> None:
    """It is a setting, its file variant, or a switch of the tests."""
    for page in PAGES:
        names = set(re.findall(r"\bNOTIFIER_[A-Z_]*[A-Z]\b", manual.text(page))) - OF_TESTS
        assert not settings.unknown(dict.fromkeys(names, "x")), name_of(page)


def test_the_settings_in_the_readme_are_valid() -> None:
    """The exported settings can be loaded, and the @ of the user name is decoded."""
    exported = dict(
        word.split("=", 1)
        for command in manual.commands()
        if command.startswith("export ")
        for word in [_value(command)]
    )
    found = settings.load(exported)
    (server,) = found.smtp.servers
    assert (server.name, server.username, server.security) == ("smtp.gmail.com:587", "you@gmail.com", "starttls")
    assert len(server.password or "") == 16
    assert found.mail.sender.address == "you@gmail.com"


def _value(command: str) -> str:
    _, word = shlex.split(command)
    return word


@pytest.mark.parametrize("example", [block for _, block in manual.blocks("json")])
def test_every_json_example_is_valid(example: str) -> None:
    """An inbound message can be decoded; a result and its mail have only fields of a result and of a mail."""
    given = json.loads(example)
    if given["type"].startswith("mail."):
        real: dict[str, Any] = json.loads(encode_event("mail.sent", Status.SENDING, mail(), NOW))
        assert given.keys() <= real.keys()
        assert given["data"].keys() == real["data"].keys()
        assert given["data"]["mail"].keys() - {"…"} <= real["data"]["mail"].keys()
    else:
        assert decode(example.encode(), Origin(NOW)).id == given["id"]


@pytest.mark.parametrize("example", [block for _, block in manual.blocks("yaml")])
def test_every_yaml_example_is_valid(example: str) -> None:
    """It can be parsed, and is a mapping."""
    assert isinstance(yaml.safe_load(example), dict)


def test_every_file_that_a_page_names_exists() -> None:
    """This covers sources, scripts, and paths in the folders of the project."""
    for page in PAGES:
        names = re.findall(r"[\w./-]*\w\.(?:py|mjs|java|sql)\b", manual.text(page))
        names += re.findall(r"`((?:notifier|tests|docs|docker|scripts|\.github)/[\w./-]+)`", manual.text(page))
        names += re.findall(r"\./(scripts/\w+)", manual.text(page))
        missing = [name for name in names if not any((ROOT / folder / name).exists() for folder in FOLDERS)]
        # npm installs packages next to the program, so publish.mjs is copied to another folder.
        assert not [name for name in missing if name != "publish.mjs"], name_of(page)


def test_the_walk_of_a_message_names_functions_that_exist() -> None:
    """Every function in the table of CONTRIBUTING is defined in a file of its row."""
    rows = manual.table(ROOT / ".github" / "CONTRIBUTING.md", "step")
    assert len(rows) == 12
    for _, files, functions in rows:
        defined = {name for file in re.findall(r"`([^`]+)`", files) for name in _defined(ROOT / file)}
        named = set(re.findall(r"`([\w.]+)\(\)`", functions))
        assert named
        assert named <= defined


def _defined(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    methods = [f"{cls.name}.{each.name}" for cls in classes for each in cls.body if isinstance(each, functions)]
    return [*methods, *(each.name for each in tree.body if isinstance(each, functions))]


def test_the_readme_names_every_command() -> None:
    """It names no command that does not exist."""
    line = manual.text(ROOT / "README.md").partition("\nCommands: ")[2].partition("; each has")[0]
    named = set(re.findall(r"`(\w+)(?: [\w|]+)?`", line))
    (mails,) = re.findall(r"`mails ([\w|]+)`", line)
    commands: Any = app.commands
    assert named == commands.keys()
    assert set(mails.split("|")) == commands["mails"].load().commands.keys()
