"""The order of a service's system calls, read from the output of strace, and the rule for this order."""

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CALLS = "write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync"
_LINE = re.compile(r"(\d+) +(?:(\w+)\((\d+)<(.*?)>(?=[,)\s])|<\.\.\. (\w+) resumed>)")
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_ACK = struct.pack(">HH", 60, 80)
_FRAME_END = b"\xce"


def command(strace: str, output: str) -> tuple[str, ...]:
    """Return the command that traces another one: all threads, decoded descriptors, whole buffers in hex."""
    return (strace, "-f", "-qq", "-yy", "-xx", "-s", "65536", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", output)


def killing(strace: str, output: str, call: str, at: int, *, threads: bool) -> tuple[str, ...]:
    """Return the command that runs another one, and kills it before the `at`-th call of this name.

    strace counts the calls of each thread separately. It follows only the first thread, or all with `threads`. With
    --seccomp-bpf, strace 6.1 does not count at all.
    """
    inject = f"inject={call}:signal=SIGKILL:when={at}"
    follow = ("-f",) if threads else ()
    return (strace, *follow, "-q", "-e", f"trace={call}", "-e", inject, "-o", output)


class Call(NamedTuple):
    """One system call: its thread, begin and end (line numbers), target, and bytes."""

    thread: str
    name: str
    began: int
    ended: int
    target: str
    content: bytes


def read(trace: Path) -> list[Call]:
    """Read the output of strace."""
    with trace.open() as lines:
        return list(calls(lines))


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls in the order in which they ended."""
    unfinished: dict[str, Call] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if not match:
            continue
        thread, name, _, target, resumed = match.groups()
        if resumed:
            if begun := unfinished.pop(thread, None):
                yield begun._replace(ended=number)
            continue
        content = b"".join(_unhexed(part) for part in _BYTES.findall(line))
        path = _unhexed(target).decode() if target.startswith("\\x") else target
        call = Call(thread, name, number, number, path, content)
        if "<unfinished ...>" in line:
            unfinished[thread] = call
        else:
            yield call


def _unhexed(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def acknowledged(content: bytes) -> Iterator[int]:
    """Yield the delivery tags of the basic.ack frames in bytes written to a broker."""
    at = content.find(_ACK)
    while at >= 0:
        if at >= 7 and content[at - 7] == 1 and content[at + 13 : at + 14] == _FRAME_END:
            yield int.from_bytes(content[at + 4 : at + 12], "big")
        at = content.find(_ACK, at + 1)


def check_order(found: Iterable[Call], port: int, ids: list[str]) -> int:
    """Assert that no acknowledgement begins before its messages are on disk; return the number of acknowledgements.

    The n-th of `ids` is in the delivery with tag n. It is on disk once a sync of the write-ahead log has ended that
    began after the id was written to the log.
    """
    history = sorted(found, key=lambda call: call.began)
    written = [call for call in history if call.name == "pwrite64" and call.target.endswith("-wal")]
    synced = [call for call in history if call.name in ("fdatasync", "fsync") and call.target.endswith("-wal")]
    first = {id_: next((call.ended for call in written if id_.encode() in call.content), None) for id_ in ids}
    count = 0
    for call in history:
        if f":{port}]" not in call.target or call.name not in ("write", "writev", "sendto", "sendmsg"):
            continue
        for tag in acknowledged(call.content):
            count += 1
            for id_ in ids[:tag]:
                at = first[id_]
                assert at is not None, f"{id_} was acknowledged and never written"
                durable = any(at < sync.began and sync.ended < call.began for sync in synced)
                assert durable, f"{id_} was acknowledged (line {call.began + 1}) before it was on disk"
    return count
