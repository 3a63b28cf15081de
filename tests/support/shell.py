"""A shell for the commands of the documentation."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from support.parts import PATIENCE
from support.places import ROOT


class Shell:
    """Runs commands as a reader would: with these variables, in a folder that looks like a clone."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
        programs = os.pathsep.join((str(Path(sys.prefix) / "bin"), clean.get("PATH", os.defpath)))
        self._environ = {**clean, "PATH": programs, **environ}
        for name, place in ((".venv", Path(sys.prefix)), ("docs", ROOT / "docs")):
            (folder / name).symlink_to(place)

    async def run(self, *commands: str, mail: str = "ID") -> str:
        """Run commands in one shell, all of which must succeed; return their stdout."""
        script = "\n".join(re.sub(r"\bID\b", mail, command) for command in commands)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            cwd=self.folder,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE * 2):
            out, err = await process.communicate()
        assert process.returncode == 0, f"{script}\n{out.decode()}\n{err.decode()}"
        return out.decode()
