"""The settings of each peer with their names and defaults, and all of them together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from notifier.settings.amqp import AmqpUrl, Exchange, Queue, Queues
from notifier.settings.senders import From, ReplyTo
from notifier.settings.smtp import SmtpServers
from notifier.settings.values import (
    BadValue,
    Cron,
    Duration,
    Durations,
    Host,
    Rate,
    ReminderTime,
    TextList,
    Token,
    is_loopback,
    whole_number,
)

PREFIX = "NOTIFIER_"
MAX_QUOTA = 1_000_000_000
_SQLITE = "sqlite:///"


def _setting(name: str, default: Any = ..., *, example: str = "") -> Any:
    """Name a setting without its prefix; `example` is what the message about a missing one shows."""
    return Field(default, alias=PREFIX + name, examples=[example])


def _database_url(text: str) -> str:
    if text.startswith(("postgresql:", "postgres:")):
        raise BadValue("this version stores in SQLite only", "use sqlite:///path/of/notifier.db")
    if not text.startswith(_SQLITE) or len(text) == len(_SQLITE):
        raise BadValue("is not the URL of a database file", "use sqlite:///path/of/notifier.db")
    return text


class SettingsGroup(BaseModel):
    """Settings that belong together. The variables of other groups are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True, defer_build=True)

    @classmethod
    def names(cls) -> list[str]:
        """Return the variables of the group, without those ending in `_FILE`."""
        return [field.alias for field in cls.model_fields.values() if field.alias]

    @classmethod
    def example(cls, name: str) -> str:
        """Return an example for a required setting."""
        return next(
            str(field.examples[0]) for field in cls.model_fields.values() if field.alias == name and field.examples
        )


class AmqpSettings(SettingsGroup):
    """The broker.

    `url` is None if messages come from the feed alone. `queue` is ours and bound to `exchange`; `extra_queues` exist
    already and are consumed as well. `prefetch` is the maximum number of unacknowledged deliveries.
    """

    url: AmqpUrl | None = _setting("AMQP_URL", None)
    exchange: Exchange = _setting("AMQP_EXCHANGE", "bookings")
    queue: Queue = _setting("AMQP_QUEUE", "notifier.requests")
    extra_queues: Queues = _setting("AMQP_EXTRA_QUEUES", ())
    prefetch: Annotated[int, whole_number(1, 65535)] = _setting("AMQP_PREFETCH", 500)


class StoreSettings(SettingsGroup):
    """The store.

    `retention` is how long finished mails and their events are kept, `dedup_retention` how long the ids of handled
    messages are. `purge_cron` is when older ones are deleted (UTC).
    """

    url: Annotated[str, BeforeValidator(_database_url)] = _setting("DATABASE_URL", "sqlite:///notifier.db")
    purge_cron: Cron = _setting("PURGE_CRON", "0 3 * * *")
    retention: Duration = _setting("RETENTION", "24h")
    dedup_retention: Duration = _setting("DEDUP_RETENTION", "7d")

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix(_SQLITE))


class SmtpSettings(SettingsGroup):
    """The SMTP accounts, in order of preference, and their limits.

    `ca_file` holds the certificate authorities to trust; None means those of the system. `connections` is per
    account. `timeout` is per reply, `dot_timeout` for the reply to the whole message. `pauses` are the steps of the
    circuit breaker: one per failed attempt, the last one repeats.
    """

    servers: SmtpServers = _setting("SMTP_URL", example="smtp://user:password@smtp.example.org:587")
    ca_file: Path | None = _setting("SMTP_CA_FILE", None)
    connections: Annotated[int, whole_number(1, 1000)] = _setting("SMTP_CONNECTIONS", 8)
    timeout: Duration = _setting("SMTP_TIMEOUT", "60s")
    dot_timeout: Duration = _setting("SMTP_DOT_TIMEOUT", "10m")
    pauses: Durations = _setting("SMTP_PAUSES", "2s,5s,15s,1m,5m,15m")


class MailSettings(SettingsGroup):
    """The sender of mails, their content, and when and how fast they are sent.

    `rate` is in mails per second over all accounts, `quota` in mails per 24 hours and account; 0 means no limit.
    `cron` is when the sender looks for due mail (UTC). A reminder is sent from `remind_before` until one hour later.
    `retry_delays` apply after temporary rejections, the last one repeats; after `give_up_after` a mail without an
    expiry fails. `on_uncertain` says what happens to a mail whose outcome is unknown.
    """

    sender: From = _setting("MAIL_FROM", example="Your Name <you@example.org>")
    reply_to: ReplyTo | None = _setting("MAIL_REPLY_TO", None)
    rate: Rate = _setting("SEND_RATE", 20)
    quota: Annotated[int, whole_number(0, MAX_QUOTA)] = _setting("SEND_QUOTA", 0)
    cron: Cron = _setting("SEND_CRON", "*/2 * * * *")
    remind_before: ReminderTime = _setting("REMIND_BEFORE", "3h")
    retry_delays: Durations = _setting("RETRY_DELAYS", "10s,1m,5m,15m,1h,4h")
    give_up_after: Duration = _setting("GIVE_UP_AFTER", "48h")
    templates: Path | None = _setting("TEMPLATES", None)
    on_uncertain: Literal["resend", "hold"] = _setting("ON_UNCERTAIN", "resend")


class PreviewSettings(SettingsGroup):
    """The part of the mail settings that a preview needs. An example replaces a sender that is not set."""

    sender: From = _setting("MAIL_FROM", "Example Air <fly@example.com>")
    reply_to: ReplyTo | None = _setting("MAIL_REPLY_TO", None)
    templates: Path | None = _setting("TEMPLATES", None)


class FeedSettings(SettingsGroup):
    """The feed: where it listens, and who can use it.

    `port` 0 means any free port. `allowed_origins` are browser origins; without any, the page's own host is allowed.
    `insecure` permits an address beyond loopback without tokens. `make_token` is the file of a token that the first
    start creates if none is set.
    """

    host: Host = _setting("HOST", "127.0.0.1")
    port: Annotated[int, whole_number(0, 65535)] = _setting("PORT", 8025)
    viewer_token: Token | None = _setting("VIEWER_TOKEN", None)
    operator_token: Token | None = _setting("OPERATOR_TOKEN", None)
    allowed_origins: TextList = _setting("ALLOWED_ORIGINS", ())
    insecure: bool = _setting("INSECURE", default=False)
    make_token: Path | None = _setting("MAKE_TOKEN", None)

    @property
    def lacks_token(self) -> bool:
        """Whether the service must create a token before it accepts clients."""
        return bool(self.make_token) and not (self.insecure or self.viewer_token or self.operator_token)

    @property
    def is_unguarded(self) -> bool:
        """Whether a service with these settings would accept clients of other machines without a token."""
        has_tokens = self.lacks_token or (self.viewer_token and self.operator_token)
        return not (is_loopback(self.host) or self.insecure or has_tokens)


class LogSettings(SettingsGroup):
    """How the service logs to stderr."""

    format: Literal["console", "json"] = _setting("LOG_FORMAT", "console")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("LOG_LEVEL", "INFO")


class Settings(NamedTuple):
    """All settings of the service."""

    amqp: AmqpSettings
    store: StoreSettings
    smtp: SmtpSettings
    mail: MailSettings
    feed: FeedSettings
    log: LogSettings

    def shown(self) -> dict[str, Any]:
        """Return the effective values by variable name, in order of the names, with secrets hidden."""
        found = {name: value for group in self for name, value in group.model_dump(by_alias=True, mode="json").items()}
        return dict(sorted(found.items()))


GROUPS: Mapping[str, type[SettingsGroup]] = {
    name: group for name, group in Settings.__annotations__.items() if issubclass(group, SettingsGroup)
}
"""The groups of Settings by the name of their field."""
