"""What users of the image rely on; `--image` builds and runs it, which takes minutes."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from support import image as images
from support.image import Container, Image
from support.parts import PATIENCE, request
from support.rabbit import Rabbit

from notifier.demo.inbox import Inbox
from notifier.demo.node import free_ports

SEND = ("notifier", "send", "--to", "a@example.com", "--subject", "Hi", "--text", "Hello.", "--wait")
MOST_BYTES = 150 * 10**6


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    """Build the image once."""
    if not request.config.getoption("--image"):
        pytest.skip("building the image takes minutes: --image does it")
    with images.built() as image:
        yield image


@pytest.fixture
def given(image: Image, inbox: Inbox) -> Mapping[str, str]:  # noqa: ARG001 - skips before anything else if there is no image
    """Return the two required settings, and a free port of this machine."""
    (port,) = free_ports(1)
    return {
        "NOTIFIER_SMTP_URL": inbox.url,
        "NOTIFIER_MAIL_FROM": "Example Air <fly@example.org>",
        "NOTIFIER_PORT": str(port),
    }


@pytest.fixture
def volume(image: Image, tmp_path: Path) -> Path:
    """Create an empty volume."""
    return image.new_volume(tmp_path / "volume")


@pytest.fixture
async def container(image: Image, volume: Path, given: Mapping[str, str]) -> AsyncIterator[Container]:
    """Run a container that has started."""
    async with images.running(image, volume, given) as container:
        await container.said("notifier is running")
        yield container


def owners(volume: Path) -> dict[str, str]:
    """Return the files on a volume with the user and group of each."""
    return {path.name: f"{path.stat().st_uid}:{path.stat().st_gid}" for path in volume.iterdir()}


def test_the_image_is_small(image: Image) -> None:
    """It adds less than 150 MB to its base."""
    print(f"the image takes {image.size / 10**6:.0f} MB beyond its base")  # noqa: T201 - shown with -s
    assert 0 < image.size < MOST_BYTES


def test_the_image_contains_no_build_tools(image: Image) -> None:
    """It contains no compiler, no pip, and no copy of pip that could be installed."""
    names = {path.name for folder in image.root.glob("**/bin") for path in folder.iterdir()}
    assert "python3" in names
    assert not names & {"pip", "pip3", "gcc", "cc", "c++", "ld", "make"}
    assert not [*image.root.glob("**/site-packages/pip"), *image.root.glob("**/dist-packages/pip")]
    assert not [*image.root.glob("**/pip-*.whl"), *image.root.glob("**/ensurepip")]


def test_the_image_has_metadata(image: Image) -> None:
    """It has labels, port, volume, user and health check, and contains no secret."""
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "notifier"
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert set(image.config["ExposedPorts"]) == {"8025/tcp"}
    assert set(image.config["Volumes"]) == {"/data"}
    assert all(int(number) > 0 for number in image.user.split(":"))
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    assert not [each for each in image.config["Env"] if "PIP" in each or "NOTIFIER_OPERATOR_TOKEN" in each]


async def test_two_settings_are_enough(container: Container, inbox: Inbox, volume: Path) -> None:
    """With a read-only root it runs as PID 1 without root, prints a token, takes in a message and mails it."""
    assert container.main.cmdline()[-2:] == ["/opt/notifier/bin/notifier", "serve"]
    assert set(container.main.uids()) == {int(container.image.user.split(":")[0])}
    token = (volume / "token").read_text(encoding="utf-8").strip()
    assert f":{container.environ['NOTIFIER_PORT']} with the token {token}" in await container.said("token")
    assert (volume / "token").stat().st_mode & 0o777 == 0o600
    code, output = await container.run(*SEND)
    assert (code, "sent" in output) == (0, True), output
    assert [mail.to for mail in inbox.received] == ["a@example.com"]
    code, output = await container.run("touch", "/opt/notifier/x", "/etc/x")
    assert (code, output.count("Read-only file system")) == (1, 2), output


async def test_other_hosts_can_connect_with_the_token(container: Container) -> None:
    """It listens on every address, its health check passes, and clients without the token are rejected."""
    listening = {each.laddr for each in container.main.net_connections() if each.status == "LISTEN"}
    assert listening == {("0.0.0.0", int(container.environ["NOTIFIER_PORT"]))}  # noqa: S104 - as intended
    code, output = await container.run(*container.image.config["Healthcheck"]["Test"][1:])
    assert (code, "store ok" in output) == (0, True), output
    code, output = await container.run("env", "NOTIFIER_MAKE_TOKEN=/data/another", *SEND)
    assert (code, "4401" in output) == (1, True), output


async def test_sigterm_stops_it_gracefully_and_the_volume_keeps_the_data(
    container: Container, volume: Path, given: Mapping[str, str]
) -> None:
    """It exits with 0; the next container has the same token and mails, and does not print the token."""
    code, output = await container.run(*SEND)
    assert code == 0, output
    assert await container.stop() == 0, container.lines[-5:]
    token = (volume / "token").read_bytes()
    async with images.running(container.image, volume, given) as second:
        await second.said("notifier is running")
        code, output = await second.run("notifier", "mails", "list", "--json")
        assert (code, output.count('"status":"sent"') + output.count('"status": "sent"')) == (0, 1), output
        assert await second.stop() == 0
    assert (volume / "token").read_bytes() == token
    assert not [line for line in second.lines if "token" in line]
    assert set(owners(volume).values()) == {container.image.user}


async def test_with_a_broker_it_consumes_messages(
    image: Image, volume: Path, given: Mapping[str, str], rabbit: Rabbit, inbox: Inbox
) -> None:
    """A message that is published on the broker becomes a mail."""
    await rabbit.prepare()
    await rabbit.publish(request(1, to="b@example.com"))
    async with images.running(image, volume, {**given, **rabbit.environ}) as container:
        await inbox.wait_for(1, PATIENCE)
        assert await container.stop() == 0
    assert [mail.to for mail in inbox.received] == ["b@example.com"]


async def test_a_missing_setting_is_named(image: Image, volume: Path) -> None:
    """Without the two settings it names both, exits with 2, and creates no token."""
    async with images.running(image, volume, {}) as container:
        await container.said("NOTIFIER_MAIL_FROM: is required")
        assert await container.starter.wait() == 2
    assert [line.split(":")[1].strip() for line in container.lines] == ["NOTIFIER_SMTP_URL", "NOTIFIER_MAIL_FROM"]
    assert not owners(volume)
