"""Secrets and personal addresses that no log may contain. Every log of a service in the tests is checked for them."""

import re
from collections.abc import Iterable
from typing import Any

VIEWER_TOKEN = "viewer-token-7Hq2"  # noqa: S105 - logs are searched for it
OPERATOR_TOKEN = "operator-token-Zk9w"  # noqa: S105 - logs are searched for it
PASSWORD = "pass-word-4Xv1"  # noqa: S105 - logs are searched for it
SECRETS = (VIEWER_TOKEN, OPERATOR_TOKEN, PASSWORD, "s3cret")
"""The tokens and passwords of all services that tests run; others would not be found in a log."""

_ADDRESS = re.compile(r"[^\s<>\"'(),:;=@/]+@[^\s<>\"'(),:;@]+")
_HIDDEN = re.compile(r"(•{3}|(\\u2022){3}|\*{3})@")
_CREDENTIALS = re.compile(r"://[^\s/@]*:(?!\*\*\*@)[^\s/@]+@")


def leaks(lines: Iterable[Any]) -> list[str]:
    """Return the lines of a log, as text or fields, that contain a secret or an address that is not masked."""
    return [text for text in map(_text, lines) if _leak(text)]


def _leak(text: str) -> bool:
    return (
        any(secret in text for secret in SECRETS)
        or bool(_CREDENTIALS.search(text))
        or any(not _HIDDEN.search(found) for found in _ADDRESS.findall(text))
    )


def _text(line: Any) -> str:
    return line.decode(errors="replace") if isinstance(line, bytes) else str(line)
