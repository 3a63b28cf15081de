"""How From and Reply-To are read and checked. Pure."""

import re
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from notifier.domain.addresses import normalised
from notifier.settings.values import NOT_IN_A_HEADER, BadValue, shown_as

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\([^()]*\)|\[[^\]]*\]')
"""The parts of `Name <address>` that can contain separators: a quoted name, a comment, an IP address behind the @."""


class NamedAddress(NamedTuple):
    """The value of From or Reply-To: a display name, which can be empty, and an address."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """The part behind the @, with which every Message-ID ends."""
        return self.address.rpartition("@")[2]


def _sender(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if NOT_IN_A_HEADER.search(text):
        raise BadValue(
            "contains a control character, or is not UTF-8", "write Name <address> without control characters"
        )
    found = getaddresses([text])
    if len(found) != 1 or re.search("[,;:]", _QUOTED.sub("", text)):
        raise BadValue(
            f"{text!r} is not exactly one address",
            "write Name <address> with one address, and a name with , ; or : in double quotes",
        )
    ((name, address),) = found
    try:
        return NamedAddress(str(Address(name).display_name), normalised(address))
    except ValueError as error:
        raise BadValue(f"{text!r} has no valid address: {str(error).rstrip('.')}", "write Name <address>") from None


def _reply_to(text: Any) -> Any:
    found = _sender(text)
    if isinstance(found, NamedAddress) and not found.address.isascii():
        # Sender and recipient alone decide whether a server is asked for SMTPUTF8.
        raise BadValue(
            f"{text!r} has letters before the @ that many servers do not accept",
            "use an address with only ASCII letters before the @",
        )
    return found


From = Annotated[NamedAddress, BeforeValidator(_sender), shown_as(lambda it: f"{it.name} <{it.address}>".strip())]
ReplyTo = Annotated[NamedAddress, BeforeValidator(_reply_to), shown_as(lambda it: it and it.address)]
