"""Read groups of settings from the environment, and report all of their problems at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from notifier.errors import Misconfigured, Problem
from notifier.settings.groups import GROUPS, PREFIX, FeedSettings, Settings, SettingsGroup
from notifier.settings.values import BadValue

Group = TypeVar("Group", bound=SettingsGroup)


def load(environ: Mapping[str, str]) -> Settings:
    """Return all settings. Raises Misconfigured with a Problem for every setting that is missing or wrong."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, group in GROUPS.items():
        found[name], of_group = _read(group, environ)
        problems += of_group
    feed: FeedSettings | None = found["feed"]
    if feed and feed.is_unguarded:
        problems.append(_unguarded(feed.host))
    if problems:
        raise Misconfigured(problems)
    return Settings(**found)


def load_group(group: type[Group], environ: Mapping[str, str]) -> Group:
    """Return the settings of one group, for a command that needs no others.

    Raises Misconfigured with every Problem in that group; the variables of other groups are not read.
    """
    found, problems = _read(group, environ)
    if found is None or problems:
        raise Misconfigured(problems)
    return found


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return the names that begin with `NOTIFIER_` and are no settings of this version, in order."""
    known = {name for group in GROUPS.values() for name in group.names()}
    ours = [name for name in environ if name.startswith(PREFIX)]
    return sorted(name for name in ours if name not in known and name.removesuffix("_FILE") not in known)


def _read(group: type[Group], environ: Mapping[str, str]) -> tuple[Group | None, list[Problem]]:
    """Return a group, or None if it has a value that cannot be used, and its problems."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    unreadable = set[str]()
    for name in group.names():
        try:
            if (value := _given(name, environ)) is not None:
                values[name] = value
        except (OSError, UnicodeDecodeError) as error:
            problems.append(_unreadable(f"{name}_FILE", environ, error))
            unreadable.add(name)
    try:
        return group.model_validate(values), problems
    except ValidationError as error:
        found = (_problem(group, each) for each in error.errors())
        return None, [*problems, *(problem for problem in found if problem.setting not in unreadable)]


def _given(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of a setting: the content of its file, else the variable; None if neither is set.

    An empty variable counts as not set. An empty file is an empty value. Raises OSError and UnicodeDecodeError.
    """
    file = environ.get(f"{name}_FILE", "")
    if file.strip():
        return Path(file).read_text(encoding="utf-8").strip()
    text = environ.get(name, "")
    return text if text.strip() else None


def _problem(group: type[SettingsGroup], error: Any) -> Problem:
    """Translate an error of pydantic. Only the values of settings that hold no secret are repeated."""
    name = next((str(part) for part in error["loc"] if str(part).startswith(PREFIX)), "")
    reason = error.get("ctx", {}).get("error")
    match error["type"]:
        case "value_error" if isinstance(reason, BadValue):
            return Problem(name, reason.wrong, reason.remedy)
        case "missing":
            return Problem(name, "is required", f"set it to a value such as {group.example(name)}")
        case "literal_error":
            return Problem(name, f"{error['input']!r} is not a known value", f"use {error['ctx']['expected']}")
        case "bool_parsing":
            return Problem(name, f"{error['input']!r} is neither yes nor no", "use 1 or 0")
        case _:
            message = str(error["msg"])
            return Problem(name, f"{message[:1].lower()}{message[1:]}")


def _unreadable(name: str, environ: Mapping[str, str], error: OSError | UnicodeDecodeError) -> Problem:
    reason = error.strerror if isinstance(error, OSError) else "its content is not UTF-8"
    return Problem(name, f"{environ[name]} cannot be read: {reason}", "name a text file that this user can read")


def _unguarded(host: str) -> Problem:
    return Problem(
        f"{PREFIX}HOST",
        f"{host} can be reached from other machines, and clients would need no token",
        f"set {PREFIX}VIEWER_TOKEN and {PREFIX}OPERATOR_TOKEN, or {PREFIX}INSECURE=1",
    )
