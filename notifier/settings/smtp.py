"""How the URLs of SMTP accounts are read, checked and shown. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from notifier.settings.values import NOT_IN_A_HEADER, BadValue, is_loopback, shown_as, words

Security = Literal["starttls", "tls", "plain"]
_SCHEMES: Mapping[str, tuple[Security, int]] = {
    "smtp": ("starttls", 587),
    "smtps": ("tls", 465),
    "smtp+plain": ("plain", 25),
}
_ENCODE = "percent-encode @ / : , ? # and % in user and password"
_FORM = "use smtp://user:password@host:587, smtps://user:password@host:465 or smtp+plain://host:25"


class SmtpServer(NamedTuple):
    """One SMTP account.

    `security` is `starttls` (required before anything else), `tls` (from the first byte) or `plain` (none).
    `username` and `password` are both None if the server needs no login.
    """

    host: str
    port: int
    security: Security
    username: str | None
    password: str | None

    @property
    def name(self) -> str:
        """Host and port: the account's name in logs and in the feed, where its user must not appear."""
        return f"{self.host}:{self.port}"

    @property
    def account(self) -> str:
        """User, host and port: what a provider counts mails by."""
        return f"{self.username or ''}@{self.name}"


def _servers(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    servers = tuple(_server(part) for part in words(text))
    if not servers:
        raise BadValue("contains no URL", f"{_FORM} ({_ENCODE})")
    return servers


def _server(text: str) -> SmtpServer:
    if NOT_IN_A_HEADER.search(text):
        raise BadValue("contains a control character", _ENCODE)
    if "?" in text or "#" in text:
        raise BadValue("contains ? or #, but takes no parameters and no fragment", _ENCODE)
    wrong = BadValue("is not the URL of an SMTP server", f"{_FORM} ({_ENCODE})")
    try:
        url = urlsplit(text)
        security, default_port = _SCHEMES[url.scheme]
        port = default_port if url.port is None else url.port
    except (KeyError, ValueError):
        raise wrong from None
    if not (url.hostname and port) or url.path not in ("", "/"):
        raise wrong
    if security == "plain" and url.username and not is_loopback(url.hostname):
        raise BadValue("smtp+plain:// would send the password unencrypted", "use smtp:// or smtps://")
    if bool(url.username) != bool(url.password):
        raise BadValue("has a user without a password, or a password without a user", f"write both ({_ENCODE})")
    username, password = (unquote(part) if part else None for part in (url.username, url.password))
    return SmtpServer(url.hostname, port, security, username, password)


def _server_text(server: SmtpServer) -> str:
    scheme = next(name for name, (security, _) in _SCHEMES.items() if security == server.security)
    account = f"{server.username}:***@" if server.username else ""
    return f"{scheme}://{account}{server.name}"


SmtpServers = Annotated[
    tuple[SmtpServer, ...],
    BeforeValidator(_servers),
    shown_as(lambda servers: ",".join(map(_server_text, servers))),
]
