"""A DNS server for a few names, on the running loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from dns import flags, message, name, rcode, rrset
from dns.asyncresolver import Resolver

Records = Mapping[str, Sequence[str]]


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, zone: str, texts: Records) -> None:
        self._zone = name.from_text(zone)
        self._texts = {name.from_text(each): found for each, found in texts.items()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop has its own transport class, which is not a subclass of asyncio's.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer with the TXT records of a name in the zone; other names do not exist."""
        question = message.from_wire(data)
        asked = question.question[0]
        answer = message.make_response(question)
        answer.flags |= flags.AA
        if not asked.name.is_subdomain(self._zone):
            answer.set_rcode(rcode.NXDOMAIN)
        elif texts := self._texts.get(asked.name):
            answer.answer.append(rrset.from_text(asked.name, 60, "IN", "TXT", *(f'"{text}"' for text in texts)))
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def nameserver(zone: str, texts: Records) -> AsyncIterator[Resolver]:
    """Run a server while the block lasts; yield a resolver that uses it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(zone, texts), ("127.0.0.1", 0))
    resolver = Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    try:
        yield resolver
    finally:
        transport.close()
