"""The arguments and the value of every command. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from notifier.domain.public_mail import Count, PublicMail
from notifier.feed.protocol.fields import MAX_MAILS, Role
from notifier.feed.protocol.mails import MailList, WholeMail

MAX_ROW = 2**63 - 1
"""The last number that a database row can have; no row ever gets it."""

FILTER_SCHEMA = {"anyOf": [{"$ref": "#/components/schemas/FilterFields"}, {"type": "null"}]}
"""The schema of a filter that is decoded later than the frame around it."""

_MailId = Annotated[str, Meta(description="Id of the mail")]


class NoArgs(Struct, frozen=True):
    """The arguments of a command that takes none."""


class SubmitArgs(Struct, frozen=True, kw_only=True):
    """The arguments of `submit`."""

    message: Annotated[
        msgspec.Raw, Meta(description="A message as on the broker", extra_json_schema={"type": "object"})
    ]


class ListArgs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arguments of `mail.list`."""

    # Viewers send them too, so nothing is built of the filter's unknown fields: see `read_filter`.
    filter: Annotated[
        msgspec.Raw | UnsetType,
        Meta(description="Which mails to list; all by default", extra_json_schema=FILTER_SCHEMA),
    ] = UNSET
    before: Annotated[
        Annotated[int, Meta(ge=0, lt=MAX_ROW)] | None, Meta(description="`next` of the list before; null: the newest")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_MAILS, description="Mails to list at most")] = 100


class ShowArgs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arguments of `mail.show`."""

    id: _MailId
    preview: Annotated[bool | None, Meta(description="Whether to offer the HTML under a path of its own")] = None


class MailArgs(Struct, frozen=True, kw_only=True):
    """The arguments of a command that changes one mail."""

    id: _MailId


class ResolveArgs(Struct, frozen=True, kw_only=True):
    """The arguments of `mail.resolve`."""

    id: _MailId
    outcome: Annotated[
        Literal["sent", "resend"], Meta(description="sent: it was delivered; resend: it was not, so send it again")
    ] = field(name="as")


class EraseArgs(Struct, frozen=True, kw_only=True):
    """The arguments of `address.erase`."""

    email: Annotated[str, Meta(description="The address to forget")]


class Submitted(Struct, frozen=True, kw_only=True):
    """The value of `submit`: the message is stored durably."""

    mails: Annotated[list[str], Meta(description="Ids of the mails that the message has created")]
    repeated: Annotated[bool, Meta(description="Whether the message had been handled before")]


class ErasedAddress(Struct, frozen=True, kw_only=True):
    """The value of `address.erase`."""

    mails: Annotated[Count, Meta(description="Mails that no longer name the address")]
    cancelled: Annotated[Count, Meta(description="Those of them that were waiting and are cancelled now")]
    bookings: Annotated[Count, Meta(description="Bookings that no longer name the address")]
    remaining: Annotated[Count, Meta(description="Mails that are being handed over, and unchanged: erase again")]


class Pausing(Struct, frozen=True, kw_only=True):
    """The value of `send.pause` and `send.resume`."""

    paused: Annotated[bool, Meta(description="Whether sending is paused now")]


class CommandSpec(NamedTuple):
    """A command: the lowest role that may use it, the types of its arguments and value, and what it is for."""

    role: Role
    args: type[Struct]
    value: type[Struct]
    summary: str


COMMANDS: Mapping[str, CommandSpec] = MappingProxyType(
    {
        "submit": CommandSpec(
            "operator", SubmitArgs, Submitted, "Store one message, as if it had come from the broker"
        ),
        "mail.list": CommandSpec("viewer", ListArgs, MailList, "List mails, newest first"),
        "mail.show": CommandSpec("operator", ShowArgs, WholeMail, "Show a mail with its history and its content"),
        "mail.retry": CommandSpec("operator", MailArgs, PublicMail, "Make a failed or retrying mail due now"),
        "mail.cancel": CommandSpec("operator", MailArgs, PublicMail, "Withdraw a pending mail"),
        "mail.resolve": CommandSpec("operator", ResolveArgs, PublicMail, "Settle the outcome of an uncertain mail"),
        "address.erase": CommandSpec("operator", EraseArgs, ErasedAddress, "Remove an address from everything stored"),
        "send.pause": CommandSpec("operator", NoArgs, Pausing, "Begin no mail until send.resume, also after a restart"),
        "send.resume": CommandSpec("operator", NoArgs, Pausing, "Go on sending"),
    }
)
"""Every command by its name."""
