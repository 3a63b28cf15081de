"""Reading the replies of SMTP servers, in whatever pieces they arrive."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.mail import Reply
from notifier.gateways.smtp_replies import (
    MAX_LINE_BYTES,
    MAX_REPLY,
    MAX_REPLY_BYTES,
    MalformedReplyError,
    ReplyParser,
    clean,
)

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20)
REPLIES = st.tuples(st.integers(200, 599), st.lists(WORDS, min_size=1, max_size=3))


def on_the_wire(code: int, lines: Sequence[str]) -> bytes:
    """Write a reply as a server does."""
    *first, last = lines
    return "".join([*(f"{code}-{line}\r\n" for line in first), f"{code} {last}\r\n"]).encode()


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Split bytes at some places."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def read(pieces: Sequence[bytes]) -> list[Reply]:
    """Feed all pieces to one parser."""
    parser = ReplyParser()
    return [reply for piece in pieces for reply in parser.feed(piece)]


@given(st.lists(REPLIES, max_size=5), st.lists(st.integers(min_value=0), max_size=8))
def test_replies_are_read_however_they_are_split_or_joined(
    replies: Sequence[tuple[int, list[str]]], cuts: Sequence[int]
) -> None:
    """Each reply comes out once, in order, with all of its lines."""
    data = b"".join(on_the_wire(*reply) for reply in replies)
    assert read(cut(data, cuts)) == [Reply(code, clean("\n".join(lines))) for code, lines in replies]


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=8))
def test_any_bytes_are_replies_or_malformed(data: bytes, cuts: Sequence[int]) -> None:
    """Where the bytes are cut makes no difference to what is read before the first bytes that are no reply."""

    def outcome(pieces: Sequence[bytes]) -> tuple[list[Reply], str | None]:
        parser, replies = ReplyParser(), list[Reply]()
        for piece in pieces:
            try:
                replies += parser.feed(piece)
            except MalformedReplyError as error:
                return replies + error.args[1], error.args[0]
        return replies, None

    whole = outcome([data])
    assert outcome(cut(data, cuts)) == whole
    assert all(200 <= reply.code <= 599 for reply in whole[0])
    assert all(reply.text.encode() for reply in whole[0] if reply.text)


@pytest.mark.parametrize("line", [b"hello", b"", b"-12 x", b"999 x", b"007 x", b"25", b"\xff\xfe", b"+25 x"])
def test_a_line_without_a_code_is_malformed(line: bytes) -> None:
    """The replies before it are kept, because they belong to earlier commands."""
    with pytest.raises(MalformedReplyError) as caught:
        ReplyParser().feed(b"250 OK\r\n" + line + b"\r\n250 OK\r\n")
    assert caught.value.args[1] == [Reply(250, "OK")]


@pytest.mark.parametrize(
    "data",
    [
        b"250 " + b"x" * MAX_LINE_BYTES + b"\r\n",
        b"x" * (MAX_REPLY_BYTES + 1),
        (b"250-" + b"x" * 1000 + b"\r\n") * 40,
    ],
    ids=["line", "no line end", "lines"],
)
def test_a_reply_has_a_bounded_size(data: bytes) -> None:
    """A server that sends without an end costs no more memory than that."""
    parser = ReplyParser()
    with pytest.raises(MalformedReplyError, match="Response too long"):
        for start in range(0, len(data), 1000):
            parser.feed(data[start : start + 1000])


def test_a_reply_that_has_begun_is_seen() -> None:
    """So a connection on which an unasked reply has begun is not used again."""
    parser = ReplyParser()
    assert not parser.has_begun
    for piece in (b"2", b"50-", b"a\r\n"):
        assert parser.feed(piece) == []
        assert parser.has_begun
    assert parser.feed(b"250 b\r\n") == [Reply(250, "a\nb")]
    assert not parser.has_begun


def test_a_text_has_a_bounded_length_and_no_control_characters() -> None:
    """What is kept can be stored, encoded and shown."""
    (reply,) = ReplyParser().feed(b"550-5.1.1 \x1b[31mno\t\x00\xff\r\n550 " + b"x" * 2000 + b"\r\n")
    assert reply.text.startswith("5.1.1 \ufffd[31mno\t\ufffd\ufffd\nxxx")
    assert len(reply.text) == MAX_REPLY
    assert reply.text.endswith("x…")
