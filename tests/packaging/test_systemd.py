"""The systemd unit matches the settings, the exit codes and the longest possible shutdown."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest
from support.places import DOCS

from notifier import service
from notifier.cli import app
from notifier.errors import Misconfigured, StoreUnusable
from notifier.feed import session
from notifier.settings import Settings, load, unknown

UNIT = DOCS / "notifier.service"
TEXT = UNIT.read_text(encoding="utf-8")
REPLIES = 9
"""Replies before the last one: greeting, EHLO, STARTTLS and its handshake, EHLO, AUTH, MAIL, RCPT, DATA."""


def directives() -> dict[str, list[str]]:
    """Return the values of every directive, in order."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in TEXT.splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def environ(credentials: Path) -> dict[str, str]:
    """Return the environment of the service: `%d` is the folder of its credentials."""
    return dict(each.replace("%d", str(credentials)).split("=", 1) for each in directives()["Environment"])


def settings(credentials: Path) -> Settings:
    """Return the settings of a service installed as the first lines of the unit explain."""
    written = re.findall(
        r"printf '%s' '?(\S+?)'? >/etc/notifier/(\S+)", TEXT.replace('"$(openssl rand -hex 16)"', "abc" * 6)
    )
    for value, name in written:
        (credentials / name).write_text(value, encoding="utf-8")
    (given,) = re.findall(r'Environment="(NOTIFIER_MAIL_FROM=.*)"', TEXT)
    return load({**environ(credentials), **dict([given.split("=", 1)])})


def test_every_variable_is_a_setting(tmp_path: Path) -> None:
    """No name is misspelt, also in the comments, and a service installed as explained has valid settings."""
    found = settings(tmp_path)
    assert (found.smtp.servers[0].username, found.feed.operator_token) == ("you@gmail.com", "abc" * 6)
    assert not unknown(dict.fromkeys(re.findall(r"NOTIFIER_[A-Z_]+", TEXT), ""))


def test_secrets_come_as_credentials() -> None:
    """Every file in the folder of credentials is loaded by the unit, and no secret is in the environment."""
    loaded = {each.split(":", 1)[0] for each in directives()["LoadCredential"]}
    variables = [each.split("=", 1) for each in directives()["Environment"]]
    used = {value.removeprefix("%d/") for name, value in variables if name.endswith("_FILE")}
    assert loaded == used == {"smtp-url", "operator-token"}
    assert not [name for name, _ in variables if re.search(r"_(TOKEN|SMTP_URL|AMQP_URL)$", name)]


def test_permanent_errors_are_not_restarted() -> None:
    """Invalid settings and an unusable store end the service; any other failure restarts it without limit."""
    found = directives()
    (never,) = found["RestartPreventExitStatus"]
    assert sorted(map(int, never.split())) == sorted(app.EXIT_CODES[error] for error in (Misconfigured, StoreUnusable))
    assert (found["Restart"], found["StartLimitIntervalSec"]) == (["on-failure"], ["0"])


def test_the_stop_timeout_covers_the_longest_dialogue(tmp_path: Path) -> None:
    """SIGTERM leaves time for every reply of a dialogue, and for publishing the last events."""
    found = directives()
    smtp = settings(tmp_path).smtp
    longest = REPLIES * smtp.timeout + smtp.dot_timeout
    longest += timedelta(seconds=service.REPORT_GRACE + session.CLOSE_TIMEOUT)
    (given,) = found["TimeoutStopSec"]
    assert timedelta(minutes=int(given.removesuffix("min"))) > longest
    assert (found["KillSignal"], found["KillMode"]) == (["SIGTERM"], ["mixed"])


def test_the_service_can_write_only_to_its_own_folder(tmp_path: Path) -> None:
    """The database is in the folder that systemd creates for it; the rest of the disk is read-only."""
    found = directives()
    (folder,) = found["StateDirectory"]
    assert settings(tmp_path).store.path.parent == Path("/var/lib") / folder
    expected = {"ProtectSystem": "strict", "NoNewPrivileges": "yes", "DynamicUser": "yes", "PrivateTmp": "yes"}
    assert {name: found[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert found["CapabilityBoundingSet"] == [""]
    assert "ReadWritePaths" not in found


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Every directive is known to systemd, which rates the exposure as good."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    command = Path(sys.executable).with_name("notifier")
    unit = tmp_path / "notifier.service"
    unit.write_text(TEXT.replace("/opt/notifier/bin/notifier", str(command)), encoding="utf-8")
    for judge in (["verify", "--man=no"], ["security", "--offline=yes", "--threshold=20"]):
        done = subprocess.run([analyze, *judge, unit], capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
        assert done.returncode == 0, done.stdout + done.stderr
        assert "notifier.service:" not in done.stderr, done.stderr
