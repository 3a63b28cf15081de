"""The image, built by Debian's buildah on a base made by debootstrap, and run as a container engine would run it."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from support.places import ROOT
from support.provided import installed

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS = Path("/etc/pip.conf")
STOP_TIMEOUT = 60.0

# What an engine does for `docker run --read-only --tmpfs /tmp -v VOLUME:/data`. The mounts end with the namespaces.
_START = r"""
set -e
root=$1 volume=$2 user=$3 group=$4; shift 4
mount --bind "$root" "$root"
mount --bind "$volume" "$root/data"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid="$user" --regid="$group" --clear-groups --pdeathsig=KILL \
    env -i --chdir=/data "$@"
"""


@dataclass
class Image:
    """A built image: the folder of its files, its configuration, and its bytes on disk in addition to the base."""

    root: Path
    config: Mapping[str, Any]
    size: int

    @property
    def user(self) -> str:
        """The user and group that it runs as, as numbers."""
        return str(self.config["User"])

    def new_volume(self, path: Path) -> Path:
        """Create a folder as an engine creates a new named volume: with the owner of the image's own folder."""
        path.mkdir()
        like = (self.root / "data").stat()
        os.chown(path, like.st_uid, like.st_gid)
        path.chmod(like.st_mode)
        return path


@dataclass
class Container:
    """A running container; `lines` is its stderr so far."""

    image: Image
    environ: Mapping[str, str]
    starter: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def main(self) -> psutil.Process:
        """The process that is PID 1 in the container, as this machine sees it."""
        (found,) = psutil.Process(self.starter.pid).children()
        return found

    async def said(self, words: str) -> str:
        """Wait for a line that contains these words."""
        async with asyncio.timeout(STOP_TIMEOUT), self.grown:
            await self.grown.wait_for(lambda: self.starter.returncode is not None or self._with(words))
        assert self._with(words), "\n".join(self.lines)
        return self._with(words)[0]

    async def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the container, like `docker exec`; return its exit code and output."""
        user, _, group = self.image.user.partition(":")
        inside = ("nsenter", f"--target={self.main.pid}", "--mount", "--pid", "--root", f"-S{user}", f"-G{group}")
        process = await asyncio.create_subprocess_exec(
            *(*inside, "env", "-i", "--chdir=/data", *_assignments(self.environ), *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def stop(self) -> int:
        """Send SIGTERM, like `docker stop`, and return the exit code."""
        self.main.terminate()
        async with asyncio.timeout(STOP_TIMEOUT):
            return await self.starter.wait()

    async def read(self) -> None:
        """Collect stderr until the container ends."""
        while self.starter.stderr and (line := await self.starter.stderr.readline()):
            async with self.grown:
                self.lines.append(line.decode().rstrip())
                self.grown.notify_all()
        await self.starter.wait()
        async with self.grown:
            self.grown.notify_all()

    def _with(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]


@contextmanager
def built() -> Iterator[Image]:
    """Build the image, and remove it and its base afterwards."""
    for package in ("buildah", "debootstrap"):
        _provide(package)
    with TemporaryDirectory(prefix="notifier-image-") as name:
        folder = Path(name)
        base = folder / "base"
        _run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", "bookworm", str(base))
        buildah = (
            *("buildah", "--storage-driver=vfs"),
            *(f"--root={folder / 'storage'}", f"--runroot={folder / 'state'}"),
        )
        made = _run(*buildah, "from", "scratch")
        _run(*buildah, "add", "--quiet", made, str(base), "/")
        _run(*buildah, "commit", "--quiet", "--rm", made, "base")
        _run(*buildah, "bud", *_build_options(), f"--file={ROOT / 'docker/Dockerfile'}", str(ROOT))
        root = Path(_run(*buildah, "mount", _run(*buildah, "from", "notifier")))
        config = json.loads(_run(*buildah, "inspect", "--type=image", "notifier"))["Docker"]["config"]
        yield Image(root, config, _bytes(root) - _bytes(base))


@asynccontextmanager
async def running(image: Image, volume: Path, given: Mapping[str, str]) -> AsyncIterator[Container]:
    """Run the image with these settings as PID 1, with a read-only root file system except /data and /tmp."""
    environ = {**dict(each.split("=", 1) for each in image.config["Env"]), **given}
    command = (*image.config["Entrypoint"], *image.config["Cmd"])
    starter = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--pid", "--fork", "sh", "-c", _START, "start"),
        *(str(image.root), str(volume), *image.user.split(":"), *_assignments(environ), *command),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    container = Container(image, environ, starter)
    reading = asyncio.create_task(container.read(), name="container's output")
    try:
        yield container
    finally:
        if starter.returncode is None:
            starter.kill()
        await reading


def _build_options() -> Sequence[str]:
    """Return build options as for Docker, with this machine's certificates and pip settings during the build."""
    mounts = [f"--volume={path}:{path}:ro" for path in (AUTHORITIES, PIP_SETTINGS) if path.exists()]
    arguments = ["BASE=localhost/base", "VERSION=1.2.3", "REVISION=abc", f"PIP_CERT={AUTHORITIES}"]
    return [
        *("--quiet", "--format=docker", "--isolation=chroot", "--tag=notifier", "--pull-never"),
        *(*mounts, *(f"--build-arg={each}" for each in arguments)),
    ]


def _assignments(environ: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environ.items()]


def _provide(package: str) -> None:
    if os.geteuid() or not installed(package, package):
        pytest.fail(f"building the image needs {package}: run `apt-get install {package}`, and run this test as root")


def _run(*command: str) -> str:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)  # noqa: S603 - fixed commands
    assert done.returncode == 0, f"{' '.join(command[:6])} …\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout.strip()


def _bytes(folder: Path) -> int:
    return int(_run("du", "--summarize", "--block-size=1", "--one-file-system", str(folder)).split()[0])
