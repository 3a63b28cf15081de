"""`notifier demo` as a process, on the broker of the tests."""

import os
import signal
import subprocess
import sys

from support.rabbit import Rabbit

PATIENCE = 90


def run(broker: str, *args: str) -> tuple[int, str, str]:
    """Run a module until it ends; return exit code, stdout and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", *args],
        env={**clean, "NOTIFIER_AMQP_URL": broker},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_demo_runs_to_its_end_and_balances(broker_url: str) -> None:
    """The ledger is the first line, the reminders are the second one, and the exit code is 0 because it balances."""
    code, out, err = run(
        broker_url, "notifier", "demo", "--once", "--bookings", "30", "--rate", "60", "--send-rate", "0"
    )
    assert code == 0, err
    assert out.splitlines() == [
        "published 30 = delivered 30 + dead-lettered 0 + pending 0, duplicates 0",
        "reminders scheduled 30",
    ]
    assert "dashboard: http://127.0.0.1:" in err


def test_ctrl_c_ends_the_demo(broker_url: str) -> None:
    """With the signal sent to the whole group, as a terminal does, the ledger is printed and the exit code is 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "notifier", "demo"],
        env={**os.environ, "NOTIFIER_AMQP_URL": broker_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr
        while "dashboard" not in process.stderr.readline():
            assert process.poll() is None
        process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.startswith("published ")


async def test_the_demo_leaves_nothing_on_a_shared_broker(broker_url: str) -> None:
    """Its own exchange and queue are deleted at the end: declaring the queue again finds it empty."""
    async with Rabbit.connected(broker_url) as rabbit:
        declared = await rabbit.channel.queue_declare("notifier.demo.requests", exclusive=True)
        assert declared.message_count == 0
