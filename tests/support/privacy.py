"""What no log may hold: secrets, and addresses of people. The suite holds every log of a service against it."""

import re
from collections.abc import Iterable
from typing import Any

VIEWER_TOKEN = "viewer-token-7Hq2"  # noqa: S105 - to be looked for
OPERATOR_TOKEN = "operator-token-Zk9w"  # noqa: S105 - to be looked for
PASSWORD = "pass-word-4Xv1"  # noqa: S105 - to be looked for
SECRETS = (VIEWER_TOKEN, OPERATOR_TOKEN, PASSWORD, "s3cret")
"""Whatever tests use as a token or password of a service that they run: one of these, or it is not looked for."""

_ADDRESS = re.compile(r"[^\s<>\"'(),:;=@/]+@[^\s<>\"'(),:;@]+")
_HIDDEN = re.compile(r"(•{3}|(\\u2022){3}|\*{3})@")
_CREDENTIALS = re.compile(r"://[^\s/@]*:(?!\*\*\*@)[^\s/@]+@")


def leaks(lines: Iterable[Any]) -> list[str]:
    """Find the lines of a log, as text or fields, that hold a secret or an address that is not masked."""
    return [text for text in map(_text, lines) if _leak(text)]


def _leak(text: str) -> bool:
    return (
        any(secret in text for secret in SECRETS)
        or bool(_CREDENTIALS.search(text))
        or any(not _HIDDEN.search(found) for found in _ADDRESS.findall(text))
    )


def _text(line: Any) -> str:
    return line.decode(errors="replace") if isinstance(line, bytes) else str(line)
