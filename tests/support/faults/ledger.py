"""An SMTP server that records each phase of each dialogue on disk before it answers.

It is a separate program that shares no code with the service: `python ledger.py JOURNAL [DELAY [EXTENSION...]]`, where
DELAY is the time in seconds until the reply to a mail, and the extensions are offered in reply to EHLO. Each line of
the journal is also printed once it is on disk. Every line of
standard input is one command, a JSON object. The program ends when its input ends.

`{"close": true}` closes all connections, and `{"release": true}` continues the dialogues that are held. Any other
command is a fault for the next `times` dialogues that reach `phase` (CONNECT EHLO STARTTLS AUTH MAIL RCPT DATA DOT
RSET): `act` is `reply` (with `reply`, in which lone surrogates stand for bytes), `hang_up`, `silent` (optionally after
a `reply`), `hold`, which waits for the release and then replies or, with `then`, hangs up, `pieces`, which sends the
usual reply byte by byte, or `late`, which sends it together with the next reply. A rejection with `lax` does not keep
the server from accepting DATA afterwards, for a message that must then be empty. With `accept`, or with a
`reply` that begins with 250, a mail is accepted, even if its reply is lost. STARTTLS is offered but fails.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from email import message_from_bytes
from typing import Any

REPLIES = {
    "EHLO": "250-ledger\r\n250-STARTTLS\r\n250 AUTH PLAIN",
    "HELO": "250 ledger",
    "STARTTLS": "454 4.7.0 no TLS here",
    "AUTH": "235 ok",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "RSET": "250 ok",
}
BAD_SEQUENCE = "503 5.5.1 bad sequence of commands"
LONGEST = 1 << 24
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
"""Half a line end. Other servers may treat it as a complete one, and so end a mail at another place."""


class HungUpError(Exception):
    """The connection must be closed."""


class Journal:
    """A file whose lines are on disk when `write` returns."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def write(self, dialogue: int, phase: str, **facts: Any) -> None:
        """Append a line."""
        line = json.dumps({"dialogue": dialogue, "phase": phase, "at": time.monotonic(), **facts}).encode() + b"\n"
        os.write(self._file, line)
        os.fsync(self._file)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


class Ledger:
    """The state that all dialogues share: the journal, and the faults that were commanded."""

    def __init__(self, journal: Journal, delay: float) -> None:
        self.journal = journal
        self.delay = delay
        self._faults: list[dict[str, Any]] = []
        self._dialogues = 0
        self._open: dict[int, asyncio.StreamWriter] = {}
        self.released = asyncio.Event()

    def command(self, command: dict[str, Any]) -> None:
        """Execute one command."""
        if command.get("close"):
            for writer in self._open.values():
                writer.close()
        elif command.get("release"):
            self.released.set()
        else:
            self._faults.append(command)
        self.journal.write(0, "COMMAND", command=command)

    def fault(self, phase: str) -> Mapping[str, Any] | None:
        """Return the next fault of a phase and use it up; None if there is none."""
        for fault in self._faults:
            if fault["phase"] == phase:
                fault["times"] = fault.get("times", 1) - 1
                if not fault["times"]:
                    self._faults.remove(fault)
                return fault
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self._dialogues += 1
        number = self._dialogues
        self._open[number] = writer
        try:
            await Dialogue(self, number, reader, writer).run()
        except (HungUpError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._open[number]
            writer.close()
            self.journal.write(number, "CLOSED")


class Dialogue:
    """One connection."""

    def __init__(self, ledger: Ledger, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ledger = ledger
        self._number = number
        self._reader = reader
        self._writer = writer
        self._late = b""
        self._is_rejected = False
        self._is_lax = False

    async def run(self) -> None:
        """Answer until one side closes the connection."""
        await self._step("CONNECT", "220 ledger")
        while line := await self._reader.readline():
            verb = line.split(b" ")[0].strip().decode("latin-1").upper()
            if verb == "QUIT":
                await self._say("221 bye")
                return
            if verb not in REPLIES:
                await self._say("502 5.5.1 no such command")
                continue
            if verb in ("RCPT", "DATA") and self._is_rejected and not (verb == "DATA" and self._is_lax):
                # It came together with the command that was rejected.
                await self._say(BAD_SEQUENCE)
                continue
            said = await self._step("EHLO" if verb == "HELO" else verb, REPLIES[verb])
            if verb == "DATA" and said.startswith("354"):
                await self._take_message()
            self._is_rejected = verb in ("MAIL", "RCPT") and said[:1] in ("4", "5")

    async def _step(self, phase: str, reply: str) -> str:
        """Record that the dialogue reached a phase, answer, and return the reply."""
        fault = self._ledger.fault(phase)
        if phase != "DATA":
            self._is_lax = bool(fault and fault.get("lax"))
        self._write(phase, fault)
        await self._answer(reply, fault)
        return str(fault.get("reply", reply)) if fault else reply

    async def _take_message(self) -> None:
        first = await self._reader.readline()
        if self._is_rejected and first == b".\r\n":
            await self._say("554 5.5.1 no valid recipients")
            return
        await self._take(first + await self._reader.readuntil(b"\r\n.\r\n"))

    async def _take(self, message: bytes) -> None:
        """Record a mail, and answer."""
        fault = self._ledger.fault("DOT")
        accepted = fault is None or bool(fault.get("accept"))
        headers = message_from_bytes(message)
        self._write(
            "ACCEPTED" if accepted else "DOT",
            fault,
            sha256=hashlib.sha256(message).hexdigest(),
            message_id=headers["Message-ID"],
            event=headers["X-Notifier-Event"],
            subject=" ".join(headers["Subject"].split()),
            mail=headers["X-Notifier-Mail"],
            bare=bool(BARE.search(message)),
        )
        await asyncio.sleep(self._ledger.delay)
        await self._answer("250 2.0.0 taken over", fault)
        if accepted:
            self._write("ANSWERED", None, mail=headers["X-Notifier-Mail"])

    async def _answer(self, reply: str, fault: Mapping[str, Any] | None) -> None:
        act = fault["act"] if fault else "reply"
        if fault and act == "hold":
            await self._ledger.released.wait()
            act = fault.get("then", "reply")
        if act == "hang_up":
            raise HungUpError
        if act == "late":
            self._late += f"{reply}\r\n".encode()
            return
        if act == "pieces":
            for byte in f"{reply}\r\n".encode():
                self._writer.write(bytes([byte]))
                await self._writer.drain()
                await asyncio.sleep(0.001)
            return
        if act == "silent":
            if fault and "reply" in fault:
                await self._say(fault["reply"])
            while await self._reader.read(LONGEST):
                pass
            raise HungUpError
        await self._say(fault.get("reply", reply) if fault else reply)

    async def _say(self, reply: str) -> None:
        self._writer.write(self._late + f"{reply}\r\n".encode(errors="surrogateescape"))
        self._late = b""
        await self._writer.drain()

    def _write(self, phase: str, fault: Mapping[str, Any] | None, **facts: Any) -> None:
        self._ledger.journal.write(self._number, phase, **facts, **({"fault": fault["act"]} if fault else {}))


async def main(journal: str, delay: float, *extensions: str) -> None:
    """Serve until standard input ends."""
    REPLIES["EHLO"] = REPLIES["EHLO"].replace("250 ", "".join(f"250-{each}\r\n" for each in extensions) + "250 ")
    ledger = Ledger(Journal(journal), delay)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    server = await asyncio.start_server(ledger.serve, "127.0.0.1", 0, limit=LONGEST)
    ledger.journal.write(0, "LISTENING", port=server.sockets[0].getsockname()[1])
    while line := await commands.readline():
        ledger.command(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float((sys.argv[2:] or ["0"])[0]), *sys.argv[3:]))
