"""The ledger, run and read by a test."""

import asyncio
import json
import sys
from bisect import bisect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from support.parts import PATIENCE

Entry = dict[str, Any]

PROGRAM = Path(__file__).with_name("ledger.py")


class Sink:
    """A running ledger; `entries` are the lines of its journal, `accepted` those of the mails that it accepted."""

    def __init__(self, process: asyncio.subprocess.Process, journal: Path) -> None:
        self.entries: list[Entry] = []
        self.accepted: list[Entry] = []
        self.port = 0
        self._process = process
        self._journal = journal
        self._grown = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def running(cls, journal: Path, delay: float = 0.0, *extensions: str) -> AsyncIterator[Self]:
        """Run a ledger that offers some SMTP extensions while the block lasts."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), str(journal), str(delay), *extensions),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        sink = cls(process, journal)
        reading = asyncio.create_task(sink._read(), name="ledger")
        try:
            await sink.wait(lambda: bool(sink.entries))
            sink.port = sink.entries[0]["port"]
            yield sink
        finally:
            if process.stdin:
                process.stdin.close()
            await process.wait()
            await reading

    @property
    def unanswered(self) -> Counter[str]:
        """Count by mail the acceptances whose reply was not sent."""
        answered = Counter(entry["mail"] for entry in self.entries if entry["phase"] == "ANSWERED")
        return Counter(entry["mail"] for entry in self.accepted) - answered

    def busiest(self) -> int:
        """Return the number of mails that started in the busiest second."""
        begun = [entry["at"] for entry in self.entries if entry["phase"] == "MAIL"]
        return max((bisect(begun, at + 1) - number for number, at in enumerate(begun)), default=0)

    async def command(self, **command: Any) -> None:
        """Send a command to the ledger, and wait until it is in effect."""
        before = self._commands_done
        if self._process.stdin:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.wait(lambda: self._commands_done > before)

    async def wait(self, wanted: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until a condition holds; it is checked whenever the journal grows."""
        async with asyncio.timeout(patience), self._grown:
            await self._grown.wait_for(wanted)

    async def wait_grown(self, entries: int) -> None:
        """Wait until the journal has at least `entries` entries."""
        await self.wait(lambda: len(self.entries) >= entries)

    async def wait_accepted(self, count: int, patience: float = PATIENCE) -> None:
        """Wait until at least `count` mails were accepted, repeats included."""
        await self.wait(lambda: len(self.accepted) >= count, patience)

    async def wait_idle(self) -> None:
        """Wait until every connection is closed and all of its lines are in `entries`."""
        await self.wait(lambda: not (self._dialogues("CONNECT") - self._dialogues("CLOSED")))

    def read(self) -> list[Entry]:
        """Read the journal from its file."""
        return [json.loads(line) for line in self._journal.read_bytes().splitlines()]

    @property
    def _commands_done(self) -> int:
        return sum(entry["phase"] == "COMMAND" for entry in self.entries)

    def _dialogues(self, phase: str) -> set[int]:
        return {entry["dialogue"] for entry in self.entries if entry["phase"] == phase}

    async def _read(self) -> None:
        stdout = self._process.stdout
        while stdout and (line := await stdout.readline()):
            async with self._grown:
                entry = json.loads(line)
                self.entries.append(entry)
                if entry["phase"] == "ACCEPTED":
                    self.accepted.append(entry)
                self._grown.notify_all()
