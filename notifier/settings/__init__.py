"""Settings: one frozen object per peer, read from the environment, with all problems reported at once.

Each setting is the environment variable that its alias names, or a file named by the same variable with `_FILE`
behind it. Durations are written `30s`, `5m`, `48h`, `7d`. Numbers are bounded so that no sum of a setting and a time
exceeds the range of `datetime`.
"""

from notifier.settings.amqp import DEAD_LETTERS, RESULTS
from notifier.settings.groups import (
    AmqpSettings,
    FeedSettings,
    LogSettings,
    MailSettings,
    PreviewSettings,
    Settings,
    SmtpSettings,
    StoreSettings,
)
from notifier.settings.loading import load, load_group, unknown
from notifier.settings.senders import NamedAddress
from notifier.settings.smtp import SmtpServer
from notifier.settings.values import MAX_LENGTH, SLOWEST, BadValue, check_token, is_loopback

__all__ = [
    "DEAD_LETTERS",
    "MAX_LENGTH",
    "RESULTS",
    "SLOWEST",
    "AmqpSettings",
    "BadValue",
    "FeedSettings",
    "LogSettings",
    "MailSettings",
    "NamedAddress",
    "PreviewSettings",
    "Settings",
    "SmtpServer",
    "SmtpSettings",
    "StoreSettings",
    "check_token",
    "is_loopback",
    "load",
    "load_group",
    "unknown",
]
