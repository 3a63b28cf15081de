"""What a service did in which order, read from the output of strace; and the rule that the order must keep."""

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
    """Give the command that runs another one under strace: every thread, descriptors decoded, whole buffers in hex."""
    return (strace, "-f", "-qq", "-yy", "-xx", "-s", "65536", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", output)


def killing(strace: str, output: str, call: str, at: int, *, threads: bool) -> tuple[str, ...]:
    """Give the command that runs another one, and kills it before a thread's `at`-th call of this name.

    strace counts each thread's calls by themselves; it looks at the first one alone, or at all `threads`.
    With --seccomp-bpf, strace 6.1 does not count at all.
    """
    inject = f"inject={call}:signal=SIGKILL:when={at}"
    follow = ("-f",) if threads else ()
    return (strace, *follow, "-q", "-e", f"trace={call}", "-e", inject, "-o", output)


class Call(NamedTuple):
    """One system call: whose it was, when it began and ended (line numbers), on what, with which bytes."""

    thread: str
    name: str
    began: int
    ended: int
    target: str
    content: bytes


def read(trace: Path) -> list[Call]:
    """Read what strace wrote."""
    with trace.open() as lines:
        return list(calls(lines))


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Read the calls, in the order in which they ended."""
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
    """Find the delivery tags of the basic.ack frames in what was written to a broker."""
    at = content.find(_ACK)
    while at >= 0:
        if at >= 7 and content[at - 7] == 1 and content[at + 13 : at + 14] == _FRAME_END:
            yield int.from_bytes(content[at + 4 : at + 12], "big")
        at = content.find(_ACK, at + 1)


def check_order(found: Iterable[Call], port: int, ids: list[str]) -> int:
    """Demand that no acknowledgement begins before what it acknowledges is on disk; the number of acknowledgements.

    The n-th of `ids` is in the delivery with tag n. It is on disk once a sync of the
    write-ahead log has ended that began after the id was written there.
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
