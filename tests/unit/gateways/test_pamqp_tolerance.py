"""The replaced functions of pamqp: they are still called, and still needed."""

import struct
import subprocess
import sys

import pytest
from pamqp import decode, frame
from pamqp.header import ContentHeader

from notifier.gateways.pamqp_tolerance import tolerate_malformed_properties, wire

MESSAGE_ID, TIMESTAMP, HEADERS = 0x0080, 0x0040, 0x2000
MALFORMED = {
    "text": struct.pack(">HHQH", 60, 0, 2, MESSAGE_ID) + b"\x01\xff",
    "time": struct.pack(">HHQH", 60, 0, 2, TIMESTAMP) + b"\xff" * 8,
    "headers": struct.pack(">HHQH", 60, 0, 2, HEADERS) + b"\0\0\0\x03\x01a?",
}


def unmarshal(data: bytes) -> ContentHeader:
    """Read a frame with a content header as aiormq does."""
    _, _, found = frame.unmarshal(struct.pack(">BHI", 2, 1, len(data)) + data + b"\xce")
    assert isinstance(found, ContentHeader)
    return found


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_properties_are_tolerated(case: str) -> None:
    """If pamqp stops calling the replaced functions, a single message ends the connection again."""
    tolerate_malformed_properties()
    assert wire(unmarshal(MALFORMED[case])) == MALFORMED[case]
    assert decode.by_type(b"\x01\xff", "shortstr") == (2, "\ufffd")


@pytest.mark.parametrize("case", MALFORMED)
def test_pamqp_itself_does_not_tolerate_them(case: str) -> None:
    """If this fails, pamqp has changed: replacing its functions may no longer be necessary."""
    data = MALFORMED[case]
    framed = struct.pack(">BHI", 2, 1, len(data)) + data + b"\xce"
    program = f"from pamqp import frame; frame.unmarshal({framed!r})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    assert found.returncode == 1
    assert "UnmarshalingException" in found.stderr.splitlines()[-1]
