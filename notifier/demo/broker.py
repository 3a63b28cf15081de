"""Find a RabbitMQ broker for the demo, the load script and the tests, or provide one for as long as it is needed."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from notifier.demo.node import SERVER, START_DEADLINE, BrokerUnavailable, PrivateNode, amqp_answers, free_ports

__all__ = ["BrokerUnavailable", "PrivateNode", "amqp_answers", "find_broker"]

_SYSTEMD = Path("/run/systemd/system")  # exists only where systemd is the running init
_IMAGE = "rabbitmq:4"
_UNITS = ("rabbitmq-server.service", "epmd.service", "epmd.socket")


@contextmanager
def find_broker(environ: Mapping[str, str], say: Callable[[str], None]) -> Iterator[str]:
    """Yield the URL of a broker that answers, and stop at the end what was started for it.

    It tries in this order: `NOTIFIER_AMQP_URL`, a private node of the installed package, a container, the
    distribution's package. `say` is called with one line about each step that takes time. Raises BrokerUnavailable.
    """
    given = environ.get("NOTIFIER_AMQP_URL", "")
    if given and amqp_answers(given):
        yield given
        return
    if given:
        say("the broker at NOTIFIER_AMQP_URL does not answer; looking for another one")
    search = environ.get("PATH", "")
    with ExitStack() as started:
        yield _start_broker(started, search, say)


def _start_broker(started: ExitStack, search: str, say: Callable[[str], None]) -> str:
    if _package_installed(search):
        return _start_node(started, say)
    if docker := _docker(search):
        say("starting RabbitMQ in a container")
        return started.enter_context(_container(docker))
    if (root := _root_prefix(search)) is not None:
        say("installing the package rabbitmq-server with apt-get; its system service stays off")
        _install(root)
        return _start_node(started, say)
    raise BrokerUnavailable(
        "there is no RabbitMQ broker, and none could be started; provide one with `apt-get install rabbitmq-server` "
        "as root, or set NOTIFIER_AMQP_URL to a running broker"
    )


def _package_installed(search: str) -> bool:
    return SERVER.exists() and shutil.which("erl", path=search) is not None


def _start_node(started: ExitStack, say: Callable[[str], None]) -> str:
    say("starting a private RabbitMQ node")
    return started.enter_context(PrivateNode()).url


def _docker(search: str) -> str | None:
    docker = shutil.which("docker", path=search)
    return docker if docker and _succeeds(docker, "info", timeout=5) else None


@contextmanager
def _container(docker: str) -> Iterator[str]:
    (port,) = free_ports(1)
    name = f"notifier-broker-{port}"
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    try:
        if not _succeeds(docker, "run", "-d", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:5672", _IMAGE):
            raise BrokerUnavailable(f"the RabbitMQ container did not start; `docker run --rm {_IMAGE}` shows why")
        deadline = time.monotonic() + START_DEADLINE
        while not amqp_answers(url):
            # Asking the engine takes long enough to be the pause. With `--rm` an ended container no longer exists.
            if not _succeeds(docker, "inspect", name) or time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"RabbitMQ in the container does not answer; `docker run --rm {_IMAGE}` shows why"
                )
        yield url
    finally:
        _succeeds(docker, "rm", "-f", name)


def _root_prefix(search: str) -> list[str] | None:
    """Return what to put before a command to run it as root on a Debian system, or None if that is not possible."""
    if not (Path("/etc/debian_version").exists() and shutil.which("apt-get", path=search)):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo", path=search)
    return [sudo, "-n"] if sudo and _succeeds(sudo, "-n", "true", timeout=5) else None


def _install(root: list[str]) -> None:
    # If systemd is not init, the package's start script obeys the runlevel, and in level 1 it does nothing.
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-qq"]
    with _units_masked(root):
        _succeeds(*apt, "update")  # can fail in part and still know the package
        if not _succeeds(*apt, "install", "-y", "--no-install-recommends", "rabbitmq-server"):
            raise BrokerUnavailable("installing RabbitMQ failed; `apt-get install rabbitmq-server` as root shows why")


@contextmanager
def _units_masked(root: list[str]) -> Iterator[None]:
    # systemd starts the services of a new package, whatever the runlevel, unless they are masked. A runtime mask ends
    # at the next boot, even if this process is killed; disabling the new services keeps them off after that.
    if not _SYSTEMD.exists():
        yield
        return
    new = [unit for unit in _UNITS if not _succeeds("systemctl", "cat", unit)]  # existing units stay as they are
    _succeeds(*root, "systemctl", "mask", "--runtime", *new)
    try:
        yield
    finally:
        _succeeds(*root, "systemctl", "unmask", "--runtime", *new)
        _succeeds(*root, "systemctl", "disable", *new)


def _succeeds(*command: str, timeout: float | None = None) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
