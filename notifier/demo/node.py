"""A private RabbitMQ node, started from the installed package, that leaves nothing behind when it is closed."""

import os
import random
import secrets
import select
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import urlsplit

START_DEADLINE = 60.0  # seconds; a node takes 4 to 9 on two quiet cores
STOP_DEADLINE = 30.0

# The script in sbin works only for root and the package's own user.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONTROL = SERVER.with_name("rabbitmqctl")

# The node runs as long as this process holds the other end of the shell's standard input, so it shuts down
# gracefully when that is closed, and also if this process is killed. epmd runs in the foreground, because
# otherwise Erlang would leave it running as a daemon.
_GUARD = """
exec 3<&0 </dev/null
epmd -address 127.0.0.1 3<&- & epmd=$!
"$1" 3<&- & node=$!
{ read -r _ <&3; kill -TERM $node; } & reader=$!
exec 3<&-
wait $node; code=$?
kill $reader $epmd 2>/dev/null
wait
exit $code
"""


class BrokerUnavailable(Exception):
    """There is no broker; the text says so in one sentence and names a command that provides one."""


def amqp_answers(url: str, timeout: float = 3.0) -> bool:
    """Return whether an AMQP 0-9-1 broker at `url` answers the protocol header with Connection.Start.

    `timeout` is in seconds and applies to connecting and to the answer separately. No credentials are used.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    try:
        with ExitStack() as stack:
            address = host, parts.port or (5671 if secure else 5672)
            peer = stack.enter_context(socket.create_connection(address, timeout))
            if secure:
                peer = stack.enter_context(ssl.create_default_context().wrap_socket(peer, server_hostname=host))
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            frame = stack.enter_context(peer.makefile("rb")).read(11)
    except (OSError, ValueError):
        return False
    # A method frame on channel 0 whose class and method are both 10.
    return frame[:3] == b"\x01\x00\x00" and frame[7:] == b"\x00\x0a\x00\x0a"


class PrivateNode:
    """A RabbitMQ node with its own name, ports, data and epmd, on loopback only.

    `start()`, `stop()` and `kill()` can be repeated; port and data stay the same until `close()`. As a context manager
    it starts on entry and closes on exit. Its methods block, so an event loop must call them in a thread.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="notifier-broker-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port, dist_port, epmd_port = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.name = f"notifier-{self.port}@localhost"
        self.folder = Path(self._folder.name)
        self.log = self.folder / "node.log"
        self._environ = _node_environ(self.folder, self.name, self.port, dist_port, epmd_port)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the node and return once it answers AMQP. Raises BrokerUnavailable with the end of its log."""
        if self._process:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - fixed script, no input from outside
                ["/bin/sh", "-c", _GUARD, "guard", str(SERVER)],
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in the terminal must not reach the node, which is stopped later
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while not amqp_answers(self.url):
            # Waiting for the process is the pause between two attempts.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            if process.returncode is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise BrokerUnavailable(
                    "the private RabbitMQ node did not start; fix what its log below reports, "
                    f"or set NOTIFIER_AMQP_URL to a running broker\n{tail}"
                )

    def stop(self) -> None:
        """Shut the node down gracefully, or kill it after 30 s. Its data is kept for the next `start()`."""
        if not (process := self._process):
            return
        try:
            self.unpause()
            with _all_gone(process.pid):
                if process.stdin:
                    process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_DEADLINE)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill every process of the node immediately, like a crash; its data stays as it is on disk.

        RabbitMQ 3.10 writes the registration of a new quorum queue with a delay: a queue that was declared in the last
        seconds before a kill exists after the next `start()`, but never answers.
        """
        if not (process := self._process):
            return
        with _all_gone(process.pid):
            self._signal(signal.SIGKILL)
            process.wait()
        if process.stdin:
            process.stdin.close()
        self._process = None

    def pause(self) -> None:
        """Freeze the node: its connections stay open, and it does not answer."""
        self._signal(signal.SIGSTOP)

    def unpause(self) -> None:
        """Continue a paused node."""
        self._signal(signal.SIGCONT)

    def control(self, *command: str) -> None:
        """Run one command of `rabbitmqctl` on the running node. Raises CalledProcessError if it fails."""
        subprocess.run([CONTROL, *command], env=self._environ, check=True, capture_output=True)  # noqa: S603 - our own node

    def close(self) -> None:
        """Stop the node and remove its folder."""
        try:
            self.stop()
        finally:
            self._folder.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


@contextmanager
def _all_gone(pid: int) -> Iterator[None]:
    # Erlang starts its port programs in sessions of their own: a signal to the group does not reach them, and they
    # end a moment later than the node, when their pipe closes.
    with ExitStack() as opened:
        handles = []
        for each in _descendants(pid):
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(each))
                opened.callback(os.close, handles[-1])
        yield
        deadline = time.monotonic() + STOP_DEADLINE
        for handle in handles:
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))


def _descendants(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            for child in listing.read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def free_ports(count: int) -> list[int]:
    """Return that many ports of 127.0.0.1 that are not in use now. Raises BrokerUnavailable if there are too few."""
    # These are below the range that the kernel uses for outgoing connections, so that no client takes the port
    # while the node restarts.
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise BrokerUnavailable("there is no free port between 20000 and 32000; set NOTIFIER_AMQP_URL to a running broker")


def _node_environ(folder: Path, name: str, port: int, dist_port: int, epmd_port: int) -> dict[str, str]:
    cookie = folder / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(20))
    cookie.chmod(0o400)
    config = folder / "rabbitmq.conf"
    config.write_text("disk_free_limit.absolute = 50MB\n")  # the default blocks publishers on a nearly full disk
    # Only the path is inherited: a RABBITMQ_ or ERL_ variable of the user would change the node.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        # Two schedulers that sleep when idle leave the machine to the service.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }
