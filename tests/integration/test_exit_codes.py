"""How every command exits if something is wrong. The table must contain every command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest
from support.parts import PATIENCE
from typer.core import TyperGroup

from notifier.cli import app
from notifier.demo.node import free_ports
from notifier.errors import Misconfigured, NotifierError, Problem, Refused, StoreUnusable, Unreachable

MAIL = "3f2c1b0a-0000-5000-8000-000000000001"


class Use(NamedTuple):
    """A valid use of a command: its arguments, the peer that it needs, and one of the settings that it reads."""

    args: tuple[str, ...] = ()
    asks: str = ""
    reads: str = ""


USES = {
    "serve": Use(reads="SEND_RATE"),
    "send": Use(("--example",), asks="service", reads="PORT"),
    "watch": Use(asks="service", reads="PORT"),
    "mails list": Use(asks="service", reads="PORT"),
    "mails show": Use((MAIL,), asks="service", reads="PORT"),
    "mails retry": Use((MAIL,), asks="service", reads="PORT"),
    "mails cancel": Use((MAIL,), asks="service", reads="PORT"),
    "mails resolve": Use((MAIL, "--as", "sent"), asks="service", reads="PORT"),
    "mails erase": Use(("a@example.com", "--yes"), asks="service", reads="PORT"),
    "pause": Use(asks="service", reads="PORT"),
    "resume": Use(asks="service", reads="PORT"),
    "health": Use(asks="service", reads="PORT"),
    "preview": Use(("booking.confirmation", "--out", "/nowhere"), reads="MAIL_REPLY_TO"),
    "doctor": Use(reads="SEND_RATE"),
    "topology": Use(("check",), asks="broker", reads="AMQP_PREFETCH"),
    "settings": Use(reads="SEND_RATE"),
    "demo": Use(),
    "contract": Use(),
    "version": Use(),
}


def known(group: TyperGroup, before: str = "") -> Iterator[str]:
    """Yield the names of all commands; a subcommand follows the name of its group."""
    for name, command in group.commands.items():
        command = command.load() if isinstance(command, app.LazyCommand) else command  # noqa: PLW2901 - the same one
        if isinstance(command, TyperGroup):
            yield from known(command, f"{name} ")
        else:
            yield f"{before}{name}"


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> object:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["notifier", *args])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    return exit_.value.code


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the required settings, with addresses where neither a service nor a broker listens."""
    smtp, feed, broker = free_ports(3)
    monkeypatch.setenv("NOTIFIER_SMTP_URL", f"smtp+plain://127.0.0.1:{smtp}")
    monkeypatch.setenv("NOTIFIER_MAIL_FROM", "fly@example.org")
    monkeypatch.setenv("NOTIFIER_PORT", str(feed))
    monkeypatch.setenv("NOTIFIER_AMQP_URL", f"amqp://127.0.0.1:{broker}/")


@pytest.fixture
def environ_of_service(environ: None) -> dict[str, str]:  # noqa: ARG001 - sets the variables
    """Return the environment of a process with the settings above."""
    return dict(os.environ)


def process(
    *args: str, environ: dict[str, str], shell: str = "", stdout: int | BinaryIO = subprocess.DEVNULL
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command line as a process, with a redirection of the shell."""
    command = f'exec "$0" -m notifier "$@" {shell}'
    call = ["/bin/sh", "-c", command, sys.executable, *args]
    return subprocess.run(call, env=environ, stdout=stdout, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)  # noqa: S603 - our own command


def test_no_command_is_forgotten() -> None:
    """The table contains exactly the commands of the command line."""
    assert set(USES) == set(known(app.app))


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.asks])
def test_an_unreachable_peer_is_exit_4(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """One line on stderr names the address that does not answer, and stdout is empty."""
    assert run(monkeypatch, *name.split(), *USES[name].args) == 4
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines()), "127.0.0.1:" in err) == ("", 1, True)


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.reads])
def test_wrong_settings_are_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """One line on stderr names the setting, and stdout is empty."""
    monkeypatch.setenv(f"NOTIFIER_{USES[name].reads}", "nonsense")
    assert run(monkeypatch, *name.split(), *USES[name].args) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"notifier: NOTIFIER_{USES[name].reads}: ")


@pytest.mark.parametrize("name", list(USES))
def test_unknown_options_are_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """An unknown option is named on stderr."""
    assert run(monkeypatch, *name.split(), *USES[name].args, "--unheard-of") == 2
    out, err = capfd.readouterr()
    assert (out, "--unheard-of" in err) == ("", True)


NOT_UTF8 = os.fsdecode(b"\xff")
FLAGS = ("send", "--to", "a@example.com", "--subject", "Hi", "--text")


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("mails", "list", "--status", "nope"), "pending"),
        (("mails", "list", "--kind", "nope"), "flight.reminder"),
        (("mails", "list", "--since", "yesterday"), "is not a time such as"),
        (("mails", "list", "--since", "2026-12-01T09:30:00"), "needs an offset"),
        (("mails", "list", "--before", "-1"), "--before"),
        (("mails", "list", "--before", "9" * 30), "--before"),
        (("mails", "list", "--booking", NOT_UTF8), "surrogates not allowed"),
        (("mails", "show", NOT_UTF8), "surrogates not allowed"),
        (("mails", "erase", NOT_UTF8, "--yes"), "surrogates not allowed"),
        ((*FLAGS, NOT_UTF8), "surrogates not allowed"),
    ],
)
def test_wrong_values_are_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], args: tuple[str, ...], says: str
) -> None:
    """A value that is wrong whatever the service answers is explained on stderr."""
    assert run(monkeypatch, *args) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in " ".join(err.replace("│", " ").split())


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize(
    "body",
    [b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b'{"a":NaN}', b"9" * 5000, b""],
    ids=["bytes", "surrogate", "deep", "closed", "NaN", "number", "nothing"],
)
def test_invalid_json_is_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, body: bytes
) -> None:
    """A message that cannot be read or sent as JSON is rejected without a traceback."""
    (tmp_path / "message").write_bytes(body)
    code = run(monkeypatch, "send", str(tmp_path / "message"))
    out, err = capfd.readouterr()
    # Nesting that Python can still parse is for the service to reject, and no service listens here.
    assert (code, out) == (4 if body.startswith(b'{"a":{') else 2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotifierError("x\ny"), 1),
        (Refused("invalid", "x\ny"), 1),
        (Misconfigured([Problem("x", "y"), Problem("y", "z", "use a")]), 2),
        (StoreUnusable("x\ny"), 3),
        (Unreachable("x\ny"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    """Each line of the error is a line on stderr; Ctrl-C prints nothing."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(app, "app", fail)
    assert run(monkeypatch) == code
    lines = [] if code == 130 else [f"notifier: {word}" for word in str(error).split("\n")]
    assert capfd.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_exit_1(environ_of_service: dict[str, str], unbuffered: str) -> None:
    """If stdout cannot be written, the reason is one line on stderr, without a traceback."""
    with Path("/dev/full").open("wb") as full:
        done = process("settings", environ={**environ_of_service, "PYTHONUNBUFFERED": unbuffered}, stdout=full)
    said = b"notifier: the output cannot be written: [Errno 28] No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(("args", "closed", "code"), [("mails list", "<&- >&- 2>&-", 4), ("send -", "<&-", 2)])
def test_closed_streams_abort_nothing(environ_of_service: dict[str, str], args: str, closed: str, code: int) -> None:
    """With closed streams an event loop works as usual, and `send -` reads an empty file."""
    assert process(*args.split(), environ=environ_of_service, shell=closed).returncode == code


@pytest.mark.parametrize("name", ["contract", "version", "settings"])
@pytest.mark.usefixtures("environ")
def test_success_is_exit_0(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """The output is on stdout, and stderr is empty."""
    assert run(monkeypatch, name) == 0
    out, err = capfd.readouterr()
    assert (bool(out), err) == (True, "")
