"""Replies of SMTP servers: bytes in, replies out. Pure.

A server is free to send a reply in many pieces, or several replies in one piece, and whatever it sends
must not cost more than a bounded amount of memory.
"""

import re

from notifier.domain.mail import Reply

MAX_REPLY = 1000
"""Characters of a server's text that are kept; longer texts end with an ellipsis."""
MAX_LINE_BYTES = 8192
"""Bytes of one line of a reply, with its line end. RFC 5321 section 4.5.3.1.5 allows 512."""
MAX_REPLY_BYTES = 32_768
"""Bytes of all lines of a reply, and of a line that has not ended yet."""

_LINE = re.compile(rb"([2-5][0-9]{2})(.?)(.*)", re.DOTALL)
# U+FFFD for what would break a terminal or a database; a reply of several lines keeps its line ends.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class MalformedReplyError(Exception):
    """What a server has sent is no SMTP reply (RFC 5321 section 4.2); nothing after it can be read as one."""


class ReplyParser:
    """Reads the replies of one connection, however they are split or joined."""

    def __init__(self) -> None:
        self._unread = b""
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def has_begun(self) -> bool:
        """Whether a part of a reply has arrived."""
        return bool(self._unread or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """Take the next bytes; return the replies that are complete with them, in order.

        A reply of several lines has the code of its last line. Raises MalformedReplyError if the bytes are no reply,
        or one that is too long; the replies before it are in the error's `args[1]`. The parser is of no use after that.
        """
        replies: list[Reply] = []
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._size += len(line) + 1
            if len(line) >= MAX_LINE_BYTES or self._size > MAX_REPLY_BYTES:
                raise MalformedReplyError("Response too long", replies)
            found = _LINE.fullmatch(line.rstrip(b"\r"))
            if found is None:
                raise MalformedReplyError(f"no SMTP reply: {_text(line)}", replies)
            code, separator, text = found.groups()
            self._lines.append(text.strip(b" \t\r"))
            if separator != b"-":
                replies.append(Reply(int(code), clean(_text(b"\n".join(self._lines)))))
                self._lines.clear()
                self._size = 0
        if self._size + len(self._unread) > MAX_REPLY_BYTES:
            raise MalformedReplyError("Response too long", replies)
        return replies


def clean(text: str) -> str:
    """Make a server's text fit to be stored, encoded and shown: valid Unicode, no control characters, not too long.

    Bytes that are not UTF-8 can be lone surrogates (`surrogateescape`), which neither SQLite nor JSON can take.
    """
    if not text.isprintable():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)
    return text if len(text) <= MAX_REPLY else f"{text[: MAX_REPLY - 1]}…"


def error_text(error: BaseException) -> str:
    """Describe an error in one line, without control characters; the server's own words are in it if there are any."""
    return " ".join(clean(str(error)).split()) or type(error).__name__


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
