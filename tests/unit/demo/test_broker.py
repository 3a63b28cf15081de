import sys
from pathlib import Path

import pytest

from notifier.demo.broker import BrokerUnavailable, PrivateNode, amqp_answers, find_broker

# This replaces the docker client; its "container" is a process that sends one frame of AMQP.
DOCKER = '''#!{python}
import os, signal, subprocess, sys
BROKER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer, _ = server.accept()
    with peer:
        peer.recv(8)
        peer.sendall(bytes([1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 10]))
"""
folder, words = os.path.dirname(sys.argv[0]), sys.argv[1:]
with open(folder + "/calls", "a") as calls:
    print(*words, file=calls)
if words[0] == "run":
    port = words[words.index("-p") + 1].split(":")[1]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    started = subprocess.Popen([sys.executable, "-c", BROKER, port], **quiet)
    with open(folder + "/pid", "w") as pid:
        pid.write(str(started.pid))
elif words[0] == "rm":
    os.kill(int(open(folder + "/pid").read()), signal.SIGKILL)
'''


def test_a_given_broker_that_answers_is_used_as_it_is(demo_node: PrivateNode) -> None:
    """The URL from the environment is yielded unchanged, and nothing is started or reported."""
    said: list[str] = []
    with find_broker({"NOTIFIER_AMQP_URL": demo_node.url}, said.append) as url:
        assert url == demo_node.url
    assert said == []
    assert amqp_answers(demo_node.url)


def test_without_any_means_one_sentence_names_the_command() -> None:
    """Without a broker, package, container and root tools, the error names the command that provides a broker."""
    said: list[str] = []
    with pytest.raises(BrokerUnavailable) as unavailable, find_broker({}, said.append):
        pytest.fail("a broker came out of nowhere")
    assert "`apt-get install rabbitmq-server`" in str(unavailable.value)
    assert "\n" not in str(unavailable.value)
    assert said == []


def test_a_given_broker_that_does_not_answer_is_reported_before_looking_further() -> None:
    """A broker that does not answer is not replaced silently, and its password is not repeated."""
    said: list[str] = []
    environ = {"NOTIFIER_AMQP_URL": "amqp://me:secret@127.0.0.1:1/"}
    with pytest.raises(BrokerUnavailable), find_broker(environ, said.append):
        pytest.fail("a closed port was taken for a broker")
    assert said == ["the broker at NOTIFIER_AMQP_URL does not answer; looking for another one"]


def test_with_a_container_engine_alone_a_container_is_run_and_removed(tmp_path: Path) -> None:
    """The port of the container is published on loopback, its broker is used, and it is removed at the end."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.chmod(0o755)
    with find_broker({"PATH": str(tmp_path)}, lambda _: None) as url:
        assert amqp_answers(url)
    assert not amqp_answers(url)

    calls = (tmp_path / "calls").read_text().splitlines()
    port = url.rstrip("/").rpartition(":")[2]
    name = f"notifier-broker-{port}"
    assert calls[0] == "info"
    assert calls[1] == f"run -d --rm --name {name} -p 127.0.0.1:{port}:5672 rabbitmq:4"
    assert calls[-1] == f"rm -f {name}"
