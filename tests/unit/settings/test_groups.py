"""The defaults of the settings, and what is shown of them."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configured import loaded, problems
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN


def test_the_defaults_are_those_of_the_contract() -> None:
    """With only the required settings, every other one has its documented default."""
    found = loaded()
    assert (found.amqp.url, found.amqp.exchange, found.amqp.queue) == (None, "bookings", "notifier.requests")
    assert (found.amqp.extra_queues, found.amqp.prefetch) == ((), 500)
    assert (found.store.url, found.store.path) == ("sqlite:///notifier.db", Path("notifier.db"))
    assert (found.store.purge_cron, found.store.retention) == ("0 3 * * *", timedelta(hours=24))
    assert found.store.dedup_retention == timedelta(days=7)
    assert (found.smtp.ca_file, found.smtp.connections) == (None, 8)
    assert (found.smtp.timeout, found.smtp.dot_timeout) == (timedelta(seconds=60), timedelta(minutes=10))
    assert [each.total_seconds() for each in found.smtp.pauses] == [2, 5, 15, 60, 300, 900]
    assert (found.mail.reply_to, found.mail.rate, found.mail.cron) == (None, 20, "*/2 * * * *")
    assert (found.mail.remind_before, found.mail.give_up_after) == (timedelta(hours=3), timedelta(hours=48))
    assert [each.total_seconds() for each in found.mail.retry_delays] == [10, 60, 300, 900, 3600, 14400]
    assert (found.feed.host, found.feed.port, found.feed.allowed_origins) == ("127.0.0.1", 8025, ())
    assert (found.feed.viewer_token, found.feed.operator_token, found.feed.insecure) == (None, None, False)
    assert (found.log.format, found.log.level) == ("console", "INFO")


SECRET = st.text("abcXYZ019-_.~", min_size=6, max_size=20)


@given(SECRET, SECRET, SECRET, SECRET)
def test_secrets_are_never_shown(smtp: str, amqp: str, viewer: str, operator: str) -> None:
    """The effective values hide every password and token."""
    found = loaded(
        SMTP_URL=f"smtp://user:{smtp}!@host,smtp+plain://other:{smtp}!@localhost",
        AMQP_URL=f"amqp://user:{amqp}!@host:5672/vhost",
        VIEWER_TOKEN=f"{viewer}!" + "v" * 16,
        OPERATOR_TOKEN=f"{operator}!" + "o" * 16,
    ).shown()
    assert not [secret for secret in (smtp, amqp, viewer, operator) if f"{secret}!" in str(found)]
    assert found["NOTIFIER_SMTP_URL"] == "smtp://user:***@host:587,smtp+plain://other:***@localhost:25"
    assert found["NOTIFIER_AMQP_URL"] == "amqp://user:***@host:5672/vhost"
    assert (found["NOTIFIER_VIEWER_TOKEN"], found["NOTIFIER_OPERATOR_TOKEN"]) == ("***", "***")


def test_values_are_shown_by_variable_name() -> None:
    """The effective values are sorted by variable name."""
    shown = loaded(MAIL_REPLY_TO="Help <help@example.org>", AMQP_EXTRA_QUEUES="a, b").shown()
    assert list(shown) == sorted(shown)
    assert all(name.startswith("NOTIFIER_") for name in shown)
    assert (shown["NOTIFIER_MAIL_FROM"], shown["NOTIFIER_MAIL_REPLY_TO"]) == (
        "Air <fly@example.org>",
        "help@example.org",
    )
    assert shown["NOTIFIER_AMQP_EXTRA_QUEUES"] == "a,b"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "mail.example.com"])  # noqa: S104 - that is what is tested
@pytest.mark.parametrize("tokens", [{}, {"VIEWER_TOKEN": VIEWER_TOKEN}, {"OPERATOR_TOKEN": OPERATOR_TOKEN}])
def test_beyond_loopback_both_tokens_are_needed(host: str, tokens: dict[str, str]) -> None:
    """A feed that other machines can reach needs a viewer's and an operator's token."""
    (problem,) = problems(HOST=host, **tokens)
    assert host in problem.wrong
    assert "NOTIFIER_VIEWER_TOKEN" in problem.remedy
    assert "NOTIFIER_OPERATOR_TOKEN" in problem.remedy


@pytest.mark.parametrize(
    "values",
    [
        {"HOST": "0.0.0.0", "VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN},  # noqa: S104 - that is what is tested
        {"HOST": "0.0.0.0", "INSECURE": "1"},  # noqa: S104
        {"HOST": "localhost"},
        {"HOST": "127.0.0.2"},
        {"HOST": "::1"},
    ],
)
def test_a_guarded_feed_can_listen(values: dict[str, str]) -> None:
    """The feed can listen on loopback, with both tokens, or with NOTIFIER_INSECURE."""
    assert loaded(**values).feed.host == values["HOST"]
