"""The compose file matches the image, the settings and the commands. No container engine is needed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from support.places import DOCKER

from notifier.cli.app import app
from notifier.settings import FeedSettings, Settings, load, load_group, unknown

DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Mapping[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "notifier"}
TAKEN = {"rabbitmq": 5672, "mailpit": 1025}
"""The ports on which the other images receive messages and mail."""


def environ(name: str) -> dict[str, str]:
    """Return the environment of one of our services: the image's variables, then those of the file."""
    of_image = dict(re.findall(r"(NOTIFIER_\w+)=(\S+)", DOCKERFILE.split("ENV PATH", 1)[1].split("WORKDIR", 1)[0]))
    given = SERVICES[name]["environment"]
    assert all(isinstance(value, str) for value in given.values()), "YAML parsed a value as something other than text"
    return {**of_image, **given}


def settings() -> Settings:
    """Return the settings of the service."""
    return load(environ("notifier"))


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    """No name is misspelt, and every value is valid."""
    assert not unknown(environ(name))
    load_group(FeedSettings, environ(name))
    assert set(OURS) == {"notifier", "example"}


def test_the_peers_are_services_of_the_file() -> None:
    """Broker and mail server are reached by name, at the ports where they listen, and with their password."""
    found = settings()
    (server,) = found.smtp.servers
    assert TAKEN[server.host] == server.port
    broker = re.fullmatch(r"amqp://(\w+):(\w+)@(\w+):(\d+)/", found.amqp.url or "")
    assert broker
    user, password, host, port = broker.groups()
    assert TAKEN[host] == int(port)
    given = SERVICES[host]["environment"]
    assert (given["RABBITMQ_DEFAULT_USER"], given["RABBITMQ_DEFAULT_PASS"]) == (user, password)
    assert SERVICES[host]["image"] == "rabbitmq:4"


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_wait_for_health_checks(name: str) -> None:
    """Each condition is the health of a service that has a health check, its own or its image's."""
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[needed] or needed in OURS
    assert re.search(r'^HEALTHCHECK .* CMD \["notifier", "health"\]$', DOCKERFILE, re.MULTILINE)


def test_services_start_in_the_order_of_their_dependencies() -> None:
    """The service starts after broker and mail server, and the example after the service."""
    assert set(SERVICES["notifier"]["depends_on"]) == set(TAKEN)
    assert set(SERVICES["example"]["depends_on"]) == {"notifier"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    """Every port is on loopback, and no two are the same."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    published = [port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published)) == 3


def test_the_published_port_is_the_port_of_the_service() -> None:
    """The image exposes it, the service listens on it beyond loopback, and the file publishes it."""
    found = settings().feed
    assert (found.host, SERVICES["example"]["environment"]["NOTIFIER_HOST"]) == ("0.0.0.0", "notifier")  # noqa: S104 - in a container
    assert f"EXPOSE {found.port}" in DOCKERFILE.splitlines()
    assert SERVICES["notifier"]["ports"] == [f"127.0.0.1:{found.port}:{found.port}"]


def test_data_is_on_a_volume() -> None:
    """The database is on a declared volume; besides that only /tmp can be written."""
    service = SERVICES["notifier"]
    (volume,) = service["volumes"]
    name, _, folder = volume.partition(":")
    assert f"VOLUME {folder}" in DOCKERFILE.splitlines()
    assert settings().store.path.parent == Path(folder)
    assert name in COMPOSE["volumes"]
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])  # noqa: S108 - the container's own
    mounted = {each.partition(":")[0] for each in SERVICES.values() for each in each.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


def test_the_image_is_built_from_the_repository() -> None:
    """Context and file exist; every file that the build copies passes the ignore file."""
    build = SERVICES["notifier"]["build"]
    context = (DOCKER / build["context"]).resolve()
    assert (context / build["dockerfile"]).is_file()
    let_through = {
        line[1:] for line in (context / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        name
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert copied <= let_through
    assert all((context / name).exists() for name in copied)


def test_the_example_is_a_command() -> None:
    """The command of the one-shot service and its option exist."""
    command, option = SERVICES["example"]["command"]
    known = cast("Any", app.commands[command]).load()
    assert option in {name for parameter in known.params for name in parameter.opts}
    assert 'ENTRYPOINT ["notifier"]' in DOCKERFILE.splitlines()


def test_the_passwords_in_comments_are_the_ones_in_use() -> None:
    """A reader who follows the first lines can sign in."""
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8").split("name:", 1)[0]
    found = settings()
    assert f"(token: {found.feed.operator_token})" in text
    assert (found.amqp.url or "").replace("@rabbitmq", "@127.0.0.1").rstrip("/") in text.replace("\n# ", " ")
