"""Settings: one frozen object per peer, read from the environment, every fault reported at once.

Each setting is the variable that its alias names, or a file named by the same
variable with `_FILE` behind it. Durations are written `30s`, `5m`, `48h`, `7d`. Numbers
are bounded so that no sum of a setting and a time can leave the calendar.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.headerregistry import Address
from email.utils import getaddresses
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from notifier.clock import check_cron
from notifier.domain.addresses import normalised
from notifier.errors import Misconfigured

PREFIX = "NOTIFIER_"
DEAD_LETTERS = "notifier.dead"
"""Exchange and queue for messages that can never be used."""
RESULTS = "notifier.events"
"""Exchange that notifier's own results are published to."""
SHORTEST_TOKEN = 16
"""Characters; of random ones nobody guesses that many."""
MAX_LENGTH = timedelta(days=36_500)
"""The longest duration that a setting can have, about 100 years."""
SLOWEST = 0.00001
"""The lowest limit in mails per second, about one a day; close to 0 the next start would be beyond the calendar."""
MAX_QUOTA = 1_000_000_000
_ENCODE_IN_URL = "percent-encode @ / : , ? # and % in user and password"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NOT_IN_A_HEADER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\([^()]*\)|\[[^\]]*\]')
"""What may contain separators in `Name <address>`: a quoted name, a comment, the IP address behind an @."""
_HOST_NAME = re.compile(rb"[A-Za-z0-9_.-]{1,253}")
_AMQP_NAME = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]+")
"""An exchange or a queue as the AMQP library can write it; RabbitMQ takes more characters."""
_MAX_EXCHANGE = 127
_MAX_QUEUE = 255
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class SmtpServer(NamedTuple):
    """One transport: `security` is `starttls` (required), `tls` (from the first byte) or `plain`."""

    host: str
    port: int
    security: Literal["starttls", "tls", "plain"]
    username: str | None
    password: str | None

    @property
    def name(self) -> str:
        """Name the transport in logs and in the feed: host and port, never the account."""
        return f"{self.host}:{self.port}"

    @property
    def account(self) -> str:
        """Name what a provider counts mails by."""
        return f"{self.username or ''}@{self.name}"


class Sender(NamedTuple):
    """Who a mail comes from: the display name (may be empty) and the address."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """The part behind the @, which also ends every Message-ID."""
        return self.address.rpartition("@")[2]


def check_token(token: str) -> str:
    """Raise ValueError if a token is too short to be hard to guess, or cannot be carried by an HTTP header."""
    if not token.isprintable() or token != token.strip():
        raise ValueError("only printable characters, and no space at either end, are expected")
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"at least {SHORTEST_TOKEN} characters are expected; openssl rand -hex 24 makes such a token")
    return token


def _duration(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("a duration such as 30s, 5m, 48h or 7d is expected")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_LENGTH.total_seconds():
        raise ValueError(f"a duration of at most {MAX_LENGTH.days}d is expected")
    return timedelta(seconds=seconds)


def _durations(text: Any) -> Any:
    return tuple(_duration(part) for part in text.split(",")) if isinstance(text, str) else text


def _rate(rate: float) -> float:
    if 0 < rate < SLOWEST:
        raise ValueError(f"0 (no limit) or at least {SLOWEST:.5f} (about one mail a day) is expected")
    return rate


def _words(text: Any) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _cron(text: str) -> str:
    check_cron(text)
    return text


def _amqp_url(text: str) -> str:
    expected = "amqp://user:password@host:5672/vhost is expected"
    if _NOT_IN_A_HEADER.search(text):  # `urlsplit` leaves out some of these, in a password too
        raise ValueError("a URL without control characters is expected")
    try:
        url = urlsplit(text)
        usable = url.scheme in ("amqp", "amqps") and url.hostname and url.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable:
        raise ValueError(expected)
    return text


def _amqp_name(most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not _AMQP_NAME.fullmatch(text) or len(text) > most:
            raise ValueError(f"1 to {most} ASCII letters, digits, spaces and -_.:@#,/+ are expected in {text!r}")
        return text

    return check


def _not_dead_letters(queue: str) -> str:
    if queue == DEAD_LETTERS:
        raise ValueError(f"{DEAD_LETTERS} cannot be consumed: each of its messages would become a dead letter again")
    return queue


def _of_publishers(exchange: str) -> str:
    if exchange in (DEAD_LETTERS, RESULTS):
        raise ValueError(
            f"{exchange} is what notifier itself publishes to: each dead letter would come back as a message"
        )
    return exchange


def _database_url(text: str) -> str:
    if text.startswith(("postgresql:", "postgres:")):
        raise ValueError("this version stores in SQLite only: sqlite:///path/of/notifier.db is expected")
    if not text.startswith("sqlite:///") or len(text) == len("sqlite:///"):
        raise ValueError("sqlite:///path/of/notifier.db is expected")
    return text


def _smtp_servers(text: Any) -> Any:
    return tuple(_smtp_server(part) for part in _words(text)) if isinstance(text, str) else text


def _smtp_server(text: str) -> SmtpServer:
    schemes: dict[str, tuple[Literal["starttls", "tls", "plain"], int]] = {
        "smtp": ("starttls", 587),
        "smtps": ("tls", 465),
        "smtp+plain": ("plain", 25),
    }
    expected = (
        "smtp://user:password@host:587, smtps://user:password@host:465 or smtp+plain://host:25 is expected "
        f"({_ENCODE_IN_URL})"
    )
    if _NOT_IN_A_HEADER.search(text):
        raise ValueError("a URL without control characters is expected")
    if "?" in text or "#" in text:
        raise ValueError(f"no parameters (?…) and no fragment (#…) are expected ({_ENCODE_IN_URL})")
    try:
        url = urlsplit(text)
        security, default_port = schemes[url.scheme]
        port = default_port if url.port is None else url.port
    except (KeyError, ValueError):
        raise ValueError(expected) from None
    if not (url.hostname and port) or url.path not in ("", "/"):
        raise ValueError(expected)
    if security == "plain" and url.username and not is_loopback(url.hostname):
        raise ValueError("smtp+plain:// would send the password unencrypted: use smtp:// or smtps://")
    if bool(url.username) != bool(url.password):
        raise ValueError(f"a user needs a password, and a password a user ({_ENCODE_IN_URL})")
    username, password = (unquote(part) if part else None for part in (url.username, url.password))
    return SmtpServer(url.hostname, port, security, username, password)


def _sender(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if _NOT_IN_A_HEADER.search(text):
        raise ValueError("a name without control characters, in UTF-8, is expected")
    found = getaddresses([text])
    if len(found) != 1 or re.search("[,;:]", _QUOTED.sub("", text)):
        raise ValueError("Name <address> with one address is expected (a name with , ; or : in double quotes)")
    ((name, address),) = found
    try:
        return Sender(str(Address(name).display_name), normalised(address))
    except ValueError as error:
        raise ValueError(f"Name <address> is expected: {error}") from None


def _reply_to(text: Any) -> Any:
    found = _sender(text)
    if isinstance(found, Sender) and not found.address.isascii():
        # Whether a server is asked for SMTPUTF8 depends on sender and recipient alone.
        raise ValueError(
            "an address with only ASCII letters before the @ is expected: servers may not take another one"
        )
    return found


def _host(text: Any) -> Any:
    """Check the form of a host name or IP address, so that no look-up can fail but with OSError."""
    if not isinstance(text, str):
        return text
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        encoded = host.encode("idna")
    except UnicodeError:
        encoded = b""
    if not _HOST_NAME.fullmatch(encoded):
        raise ValueError("a host name or an IP address, without a port, is expected")
    return host


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hide(secret: str | None) -> str | None:
    return "***" if secret else secret


def _hide_secrets(url: str | None) -> str | None:
    """Hide the password, and leave out the query, in which a password may be too."""
    return re.sub(r"(://[^:]*:).*@", r"\1***@", url, flags=re.DOTALL).partition("?")[0] if url else url


def _duration_text(value: timedelta) -> str:
    seconds = value.total_seconds()
    unit = next((u for u in ("d", "h", "m") if seconds and seconds % _UNITS[u] == 0), "s")
    return f"{seconds / _UNITS[unit]:.15g}{unit}"


def _server_text(server: SmtpServer) -> str:
    scheme = {"starttls": "smtp", "tls": "smtps", "plain": "smtp+plain"}[server.security]
    account = f"{server.username}:***@" if server.username else ""
    return f"{scheme}://{account}{server.name}"


def _shown_as(show: Callable[[Any], str | None]) -> PlainSerializer:
    return PlainSerializer(show)


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0)), _shown_as(_duration_text)]
Durations = Annotated[
    tuple[Annotated[timedelta, Field(gt=timedelta(0))], ...],
    BeforeValidator(_durations),
    Field(min_length=1),
    _shown_as(lambda value: ",".join(map(_duration_text, value))),
]
TextList = Annotated[tuple[str, ...], BeforeValidator(_words), _shown_as(",".join)]
Exchange = Annotated[str, AfterValidator(_amqp_name(_MAX_EXCHANGE)), AfterValidator(_of_publishers)]
Queue = Annotated[str, AfterValidator(_amqp_name(_MAX_QUEUE)), AfterValidator(_not_dead_letters)]
Token = Annotated[str, AfterValidator(check_token), _shown_as(_hide)]
Cron = Annotated[str, BeforeValidator(_cron)]
From = Annotated[Sender, BeforeValidator(_sender), _shown_as(lambda it: f"{it.name} <{it.address}>".strip())]
SmtpServers = Annotated[
    tuple[SmtpServer, ...],
    BeforeValidator(_smtp_servers),
    Field(min_length=1),
    _shown_as(lambda servers: ",".join(map(_server_text, servers))),
]


def _setting(name: str, default: Any = ...) -> Any:
    return Field(default, alias=PREFIX + name)


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)


class AmqpSettings(_Group):
    """The broker: where it is and what we consume there."""

    url: Annotated[str, BeforeValidator(_amqp_url), _shown_as(_hide_secrets)] | None = _setting("AMQP_URL", None)
    exchange: Exchange = _setting("AMQP_EXCHANGE", "bookings")
    queue: Queue = _setting("AMQP_QUEUE", "notifier.requests")
    extra_queues: Annotated[tuple[Queue, ...], BeforeValidator(_words), _shown_as(",".join)] = _setting(
        "AMQP_EXTRA_QUEUES", ()
    )
    prefetch: Annotated[int, Field(ge=1, le=65535)] = _setting("AMQP_PREFETCH", 500)


class StoreSettings(_Group):
    """The store: where it is and how long it remembers."""

    url: Annotated[str, BeforeValidator(_database_url)] = _setting("DATABASE_URL", "sqlite:///notifier.db")
    purge_cron: Cron = _setting("PURGE_CRON", "0 3 * * *")
    retention: Duration = _setting("RETENTION", "24h")
    dedup_retention: Duration = _setting("DEDUP_RETENTION", "7d")

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix("sqlite:///"))


class SmtpSettings(_Group):
    """The transports, in order of preference, and the patience with them."""

    servers: SmtpServers = _setting("SMTP_URL")
    ca_file: Path | None = _setting("SMTP_CA_FILE", None)
    connections: Annotated[int, Field(ge=1, le=1000)] = _setting("SMTP_CONNECTIONS", 8)
    timeout: Duration = _setting("SMTP_TIMEOUT", "60s")
    dot_timeout: Duration = _setting("SMTP_DOT_TIMEOUT", "10m")
    pauses: Durations = _setting("SMTP_PAUSES", "2s,5s,15s,1m,5m,15m")


class MailSettings(_Group):
    """Whom mails come from, what they say, and when and how fast they go."""

    sender: From = _setting("MAIL_FROM")
    reply_to: Annotated[Sender, BeforeValidator(_reply_to), _shown_as(lambda it: it and it.address)] | None = _setting(
        "MAIL_REPLY_TO", None
    )
    rate: Annotated[float, Field(ge=0, le=100_000), AfterValidator(_rate)] = _setting("SEND_RATE", 20)
    quota: Annotated[int, Field(ge=0, le=MAX_QUOTA)] = _setting("SEND_QUOTA", 0)
    cron: Cron = _setting("SEND_CRON", "*/2 * * * *")
    remind_before: Annotated[Duration, Field(gt=timedelta(hours=1))] = _setting("REMIND_BEFORE", "3h")
    retry_delays: Durations = _setting("RETRY_DELAYS", "10s,1m,5m,15m,1h,4h")
    give_up_after: Duration = _setting("GIVE_UP_AFTER", "48h")
    templates: Path | None = _setting("TEMPLATES", None)
    on_uncertain: Literal["resend", "hold"] = _setting("ON_UNCERTAIN", "resend")


class FeedSettings(_Group):
    """The feed: where it listens and who may watch."""

    host: Annotated[str, BeforeValidator(_host)] = _setting("HOST", "127.0.0.1")
    port: Annotated[int, Field(ge=0, le=65535)] = _setting("PORT", 8025)
    viewer_token: Token | None = _setting("VIEWER_TOKEN", None)
    operator_token: Token | None = _setting("OPERATOR_TOKEN", None)
    allowed_origins: TextList = _setting("ALLOWED_ORIGINS", ())
    insecure: bool = _setting("INSECURE", default=False)
    make_token: Path | None = _setting("MAKE_TOKEN", None)

    @property
    def lacks_token(self) -> bool:
        """Whether the service is to make itself a token before it lets anybody in."""
        return bool(self.make_token) and not (self.insecure or self.viewer_token or self.operator_token)

    @property
    def is_unguarded(self) -> bool:
        """Whether a service that listens there would let in others who have shown no token."""
        has_tokens = self.lacks_token or (self.viewer_token and self.operator_token)
        return not (is_loopback(self.host) or self.insecure or has_tokens)


class LogSettings(_Group):
    """How the service reports on stderr."""

    format: Literal["console", "json"] = _setting("LOG_FORMAT", "console")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("LOG_LEVEL", "INFO")


class Settings(NamedTuple):
    """Everything that can be set."""

    amqp: AmqpSettings
    store: StoreSettings
    smtp: SmtpSettings
    mail: MailSettings
    feed: FeedSettings
    log: LogSettings

    def shown(self) -> dict[str, Any]:
        """Give the effective values by variable name, secrets hidden."""
        found = {name: value for group in self for name, value in group.model_dump(by_alias=True, mode="json").items()}
        return dict(sorted(found.items()))


_GROUPS: Mapping[str, type[_Group]] = {
    name: group for name, group in Settings.__annotations__.items() if issubclass(group, _Group)
}


def load(environ: Mapping[str, str]) -> Settings:
    """Read all settings; Misconfigured lists every wrong or missing one with what is expected."""
    values, faults = _values(environ)
    groups: dict[str, Any] = {}
    for name, group in _GROUPS.items():
        try:
            groups[name] = group.model_validate(values)
        except ValidationError as error:
            faults += [_fault(each, values) for each in error.errors()]
    if (feed := groups.get("feed")) and feed.is_unguarded:
        faults.append(
            f"NOTIFIER_HOST {feed.host} is open to others: NOTIFIER_VIEWER_TOKEN and NOTIFIER_OPERATOR_TOKEN "
            "are expected (or NOTIFIER_INSECURE=1)"
        )
    if faults:
        raise Misconfigured(faults)
    return Settings(**groups)


def load_feed(environ: Mapping[str, str]) -> FeedSettings:
    """Read only what a command needs that talks to the running service, which may be elsewhere; one token is enough."""
    values, faults = _values(environ)
    try:
        found = FeedSettings.model_validate(values)
    except ValidationError as error:
        raise Misconfigured([*faults, *(_fault(each, values) for each in error.errors())]) from None
    mattering = [fault for fault in faults if fault.startswith(("NOTIFIER_VIEWER", "NOTIFIER_OPERATOR"))]
    if mattering:
        raise Misconfigured(mattering)
    return found


def load_amqp(environ: Mapping[str, str]) -> AmqpSettings:
    """Read only what a command needs that talks to the broker."""
    values, faults = _values(environ)
    try:
        found = AmqpSettings.model_validate(values)
    except ValidationError as error:
        raise Misconfigured([_fault(each, values) for each in error.errors()]) from None
    if faults := [fault for fault in faults if fault.startswith(f"{PREFIX}AMQP")]:
        raise Misconfigured(faults)
    return found


def load_look(environ: Mapping[str, str]) -> MailSettings:
    """Read only what makes the look of a mail; where nobody is set to send it, an example does."""
    values, _ = _values(environ)
    names = (f"{PREFIX}MAIL_FROM", f"{PREFIX}MAIL_REPLY_TO", f"{PREFIX}TEMPLATES")
    given = {name: values[name] for name in names if name in values}
    try:
        return MailSettings.model_validate({f"{PREFIX}MAIL_FROM": "Example Air <fly@example.com>", **given})
    except ValidationError as error:
        raise Misconfigured([_fault(each, values) for each in error.errors()]) from None


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Name the variables that look like ours and mean nothing to this version."""
    known = {field.alias for group in _GROUPS.values() for field in group.model_fields.values()}
    ours = [name for name in environ if name.startswith(PREFIX)]
    return sorted(name for name in ours if name not in known and name.removesuffix("_FILE") not in known)


def _values(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Resolve `NAME_FILE`; an empty variable counts as not set."""
    values = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text.strip()}
    faults: list[str] = []
    for name in [name for name in values if name.endswith("_FILE") and name != "NOTIFIER_SMTP_CA_FILE"]:
        try:
            values[name.removesuffix("_FILE")] = Path(values[name]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name}: cannot be read: {error}")
    return values, faults


def _fault(error: Any, values: Mapping[str, str]) -> str:
    name = next((str(part) for part in error["loc"] if str(part).startswith(PREFIX)), "")
    if error["type"] == "missing":
        return f"{name}: is required"
    what = str(error["msg"]).removeprefix("Value error, ")
    if not name:
        return what
    given = values.get(name, "")
    shown = "" if any(word in name for word in ("URL", "TOKEN")) else f" {given!r}:"
    return f"{name}:{shown} {what[:1].lower()}{what[1:]}"
