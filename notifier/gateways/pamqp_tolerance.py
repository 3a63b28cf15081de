"""Makes pamqp tolerate malformed properties; the only place that replaces functions of a library.

RabbitMQ does not validate properties. If one is malformed, pamqp raises inside aiormq's reader, and aiormq closes the
whole connection. That does not concern deliveries, which pamqp does not decode, but dead letters that the broker
returns. pamqp has no option for that, so two of its functions are replaced.
`tests/unit/gateways/test_pamqp_tolerance.py` fails if pamqp no longer calls them, or no longer needs it.
"""

import struct
from typing import Any

from pamqp import decode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from notifier.gateways.properties import DECODING_ERRORS, decode_short_string, split_properties


def tolerate_malformed_properties() -> None:
    """Let pamqp decode invalid UTF-8 to U+FFFD and any other invalid property to None, in the whole process.

    Headers are not decoded at all; `wire` returns them as bytes.
    """
    decode.METHODS["shortstr"] = decode_short_string
    ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]


def wire(header: ContentHeader) -> bytes:
    """Return a received content header as it was on the wire."""
    found: bytes = header.__dict__["wire"]
    return found


def _unmarshal(self: ContentHeader, data: bytes) -> None:
    """Decode a content header without raising, because any error would end the connection."""
    self.__dict__["wire"] = data
    self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:12].ljust(12, b"\0"))
    self.properties = Basic.Properties()
    for name, value in split_properties(data).items():
        setattr(self.properties, name, _decoded(Basic.Properties.amqp_type(name), value))


def _decoded(type_: str, value: bytes) -> Any:
    match type_:
        case "shortstr":
            return decode_short_string(value)[1]
        case "timestamp":
            return _timestamp(value)
        case "table":
            return None
        case _:
            return value[0]


def _timestamp(value: bytes) -> Any:
    try:
        return decode.timestamp(value)[1]
    except DECODING_ERRORS:
        return None
