import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.errors import Misconfigured
from notifier.settings import SLOWEST, Sender, Settings, SmtpServer, is_loopback, load, load_feed, unknown

REQUIRED = {"NOTIFIER_SMTP_URL": "smtp://user:secret@mail.example.com", "NOTIFIER_MAIL_FROM": "Air <fly@example.org>"}


def loaded(**values: str) -> Settings:
    """Load with these on top of what is required; the names come without their prefix."""
    return load({**REQUIRED, **{f"NOTIFIER_{name}": value for name, value in values.items()}})


def faults(**values: str) -> tuple[str, ...]:
    with pytest.raises(Misconfigured) as wrong:
        loaded(**values)
    return wrong.value.faults


def test_what_is_not_set_is_as_the_contract_says() -> None:
    """With only the required settings everything else has its documented default."""
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


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("smtp://user:pass@host:587", SmtpServer("host", 587, "starttls", "user", "pass")),
        ("smtp://host", SmtpServer("host", 587, "starttls", None, None)),
        ("smtp://host:2525/", SmtpServer("host", 2525, "starttls", None, None)),
        ("smtps://user:pass@host", SmtpServer("host", 465, "tls", "user", "pass")),
        ("smtp+plain://host", SmtpServer("host", 25, "plain", None, None)),
        ("smtp+plain://user:pass@localhost", SmtpServer("localhost", 25, "plain", "user", "pass")),
        ("smtp+plain://user:pass@127.0.0.1:1025", SmtpServer("127.0.0.1", 1025, "plain", "user", "pass")),
        ("smtp+plain://user:pass@[::1]:25", SmtpServer("::1", 25, "plain", "user", "pass")),
        ("smtp://us%40er:p%3A%2F%25@host", SmtpServer("host", 587, "starttls", "us@er", "p:/%")),
    ],
)
def test_an_smtp_url_says_how_to_reach_a_server(text: str, server: SmtpServer) -> None:
    """Scheme, port and percent-encoded account are read; the port has its usual value."""
    assert loaded(SMTP_URL=text).smtp.servers == (server,)


def test_several_servers_stand_in_order_of_preference() -> None:
    """A comma separates the servers, and blanks around it do not matter."""
    servers = loaded(SMTP_URL="smtp://a.example, smtps://b.example:4650").smtp.servers
    assert [server.name for server in servers] == ["a.example:587", "b.example:4650"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "required"),
        (",", "at least 1"),
        ("host", "is expected"),
        ("http://host", "is expected"),
        ("smtp://", "is expected"),
        ("smtp://host:70000", "is expected"),
        ("smtp://host:port", "is expected"),
        ("smtp://host/path", "is expected"),
        ("smtp://[::1", "is expected"),
        ("smtp://host:0", "is expected"),
        ("smtp://user:pass@host?rate=30/m", "no parameters"),
        ("smtp://user:pass@host:587#x", "no fragment"),
        ("smtp://user:pass?word@host", "percent-encode @ / : , ? # and %"),
        ("smtp://user:pass#word@host", "percent-encode @ / : , ? # and %"),
        ("smtp://user:pa\nss@host", "without control characters"),
        ("smtp://user@host", "a password"),
        ("smtp://:pass@host", "a password"),
        ("smtp+plain://user:pass@host", "unencrypted"),
        ("smtp+plain://user:pass@127.0.0.1.example.com", "unencrypted"),
        ("smtp+plain://user:pass@192.168.0.1", "unencrypted"),
        ("smtp+plain://:pass@host", "a password"),
        ("smtp://ok.example,ftp://bad.example", "is expected"),
    ],
)
def test_an_smtp_url_that_cannot_be_used_is_a_fault(text: str, says: str) -> None:
    """A wrong URL, and a password that would travel in the clear, are told without showing the URL."""
    (fault,) = faults(SMTP_URL=text)
    assert fault.startswith("NOTIFIER_SMTP_URL: ")
    assert says in fault
    assert "pass@" not in fault


ODD_HOSTS = (
    "..",
    "a" * 64 + ".example",
    "x y",
    "x\r\ny",
    "x\0y",
    "\udcff",
    "user@host",
    "host:80",
    "[::1",
    ":::",
    "a/b",
)


def test_all_faults_are_listed_at_once() -> None:
    """Every wrong or missing setting of every peer is in one list, by name."""
    wrong = {
        "NOTIFIER_AMQP_URL": "http://host",
        "NOTIFIER_AMQP_PREFETCH": "0",
        "NOTIFIER_DATABASE_URL": "mysql://host",
        "NOTIFIER_PURGE_CRON": "often",
        "NOTIFIER_RETENTION": "a day",
        "NOTIFIER_SMTP_CONNECTIONS": "many",
        "NOTIFIER_SMTP_PAUSES": "1s,,2s",
        "NOTIFIER_MAIL_FROM": "nobody",
        "NOTIFIER_SEND_RATE": "-1",
        "NOTIFIER_REMIND_BEFORE": "30m",
        "NOTIFIER_PORT": "70000",
        "NOTIFIER_INSECURE": "perhaps",
        "NOTIFIER_LOG_LEVEL": "LOUD",
    }
    with pytest.raises(Misconfigured) as found:
        load(wrong)
    assert sorted(fault.partition(":")[0] for fault in found.value.faults) == sorted([*wrong, "NOTIFIER_SMTP_URL"])
    assert str(found.value).splitlines() == list(found.value.faults)


def test_each_queue_with_a_wrong_name_is_a_fault() -> None:
    """The names that the AMQP library cannot write are listed, each with the setting that has it."""
    found = faults(AMQP_QUEUE="a|b", AMQP_EXTRA_QUEUES="ok,b|ro,notifier.dead,{x}")
    assert [fault.partition(":")[0] for fault in found] == ["NOTIFIER_AMQP_QUEUE", *["NOTIFIER_AMQP_EXTRA_QUEUES"] * 3]
    assert ["'a|b'" in found[0], "'b|ro'" in found[1], "notifier.dead cannot" in found[2], "'{x}'" in found[3]] == [
        True
    ] * 4


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except (Misconfigured, ValueError, TypeError):
        return False
    return True


def test_a_name_is_valid_if_the_library_can_write_it() -> None:
    """That of a queue and that of an exchange: all characters up to U+017F, and lengths around the limits."""
    names = [f"q{chr(code)}q" for code in range(0x180)] + ["q" * length for length in (1, 127, 128, 255, 256, 257)]
    for name in names:
        queue, exchange = (
            _written(commands.Queue.Declare, queue=name),
            _written(commands.Exchange.Declare, exchange=name),
        )
        assert _succeeds(partial(loaded, AMQP_QUEUE=name)) == _succeeds(queue), name
        assert _succeeds(partial(loaded, AMQP_EXCHANGE=name)) == _succeeds(exchange), name


def _written(kind: Callable[..., Any], **names: str) -> Callable[[], object]:
    return lambda: kind(**names).marshal()


def test_nothing_set_names_what_is_required() -> None:
    """An empty environment, or empty variables, lack exactly the two required settings."""
    expected = ("NOTIFIER_SMTP_URL: is required", "NOTIFIER_MAIL_FROM: is required")
    for environ in ({}, {"NOTIFIER_SMTP_URL": " ", "NOTIFIER_MAIL_FROM": ""}):
        with pytest.raises(Misconfigured) as found:
            load(environ)
        assert found.value.faults == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"SEND_RATE": "nan"}, "'nan'"),
        ({"SEND_RATE": "inf"}, "'inf'"),
        ({"SEND_QUOTA": "1000000001"}, "less than or equal to 1000000000"),
        ({"RETENTION": "0s"}, "greater"),
        ({"RETENTION": "-1h"}, "a duration"),
        ({"RETENTION": "1 week"}, "a duration"),
        ({"RETENTION": "60"}, "a duration"),
        ({"RETRY_DELAYS": ","}, "a duration"),
        ({"RETRY_DELAYS": "1s,0s"}, "greater"),
        ({"REMIND_BEFORE": "1h"}, "greater"),
        ({"SEND_CRON": "* * *"}, "fields"),
        ({"SEND_CRON": "99 * * * *"}, "'99 * * * *'"),
        ({"MAIL_FROM": "Air <fly@>"}, "Name <address>".lower()),
        ({"MAIL_FROM": "Air\udcff <fly@example.org>"}, "in UTF-8"),
        ({"MAIL_FROM": "Air\x07 <fly@example.org>"}, "without control characters"),
        ({"MAIL_FROM": "Air\n <fly@example.org>"}, "without control characters"),
        ({"MAIL_FROM": "fly@example.org, help@example.org"}, "one address"),
        ({"MAIL_FROM": "fly@example.org,"}, "one address"),
        ({"MAIL_FROM": "Team: <fly@example.org>;"}, "one address"),
        ({"MAIL_FROM": "Air: India <fly@example.org>"}, "in double quotes"),
        ({"MAIL_FROM": "<fly@example.org> Air"}, "one address"),
        ({"MAIL_REPLY_TO": "nobody"}, "'nobody'"),
        ({"MAIL_REPLY_TO": "Help <пётр@example.com>"}, "only ASCII letters before the @"),
        ({"DATABASE_URL": "sqlite:///"}, "sqlite:///path"),
        ({"LOG_FORMAT": "xml"}, "'json'"),
        *(({"HOST": host}, "a host name or an IP address") for host in ODD_HOSTS),
        ({"AMQP_URL": "amqp://"}, "amqp://user"),
        ({"AMQP_URL": "amqp://user:secret@host:99999/"}, "amqp://user:password@host"),
        ({"AMQP_URL": "amqp://user:secret@host:port/"}, "amqp://user:password@host"),
        ({"AMQP_URL": "amqp://user:secr\net@host/"}, "without control characters"),
        ({"AMQP_EXCHANGE": "notifier.dead"}, "notifier.dead is what notifier itself publishes to"),
        ({"AMQP_EXCHANGE": "notifier.events"}, "notifier.events is what notifier itself publishes to"),
        ({"AMQP_QUEUE": "notifier.dead"}, "notifier.dead cannot be consumed"),
        ({"AMQP_EXTRA_QUEUES": "other,notifier.dead"}, "notifier.dead cannot be consumed"),
        ({"AMQP_EXCHANGE": "größe"}, "1 to 127 ASCII letters"),
        ({"AMQP_EXCHANGE": "e" * 128}, "1 to 127 ASCII letters"),
    ],
)
def test_a_fault_says_what_was_given_or_expected(values: dict[str, str], says: str) -> None:
    """One sentence names the variable and what is wrong with it."""
    (fault,) = faults(**values)
    assert fault.startswith(f"NOTIFIER_{next(iter(values))}:")
    assert says in fault


OF_DURATIONS = (
    *("RETENTION", "DEDUP_RETENTION", "SMTP_TIMEOUT", "SMTP_DOT_TIMEOUT", "SMTP_PAUSES"),
    *("REMIND_BEFORE", "RETRY_DELAYS", "GIVE_UP_AFTER"),
)


@pytest.mark.parametrize("text", ["36500.1d", "876001h", "9999999d", "9999999999d", "9" * 400 + "d"])
@pytest.mark.parametrize("name", OF_DURATIONS)
def test_a_duration_of_more_than_100_years_is_a_fault(name: str, text: str) -> None:
    """The longest duration is named in the fault, and can be set."""
    (fault,) = faults(**{name: text})
    assert fault == f"NOTIFIER_{name}: {text!r}: a duration of at most 36500d is expected"
    assert loaded(**{name: "36500d"}).shown()[f"NOTIFIER_{name}"] == "36500d"


def test_every_duration_has_a_bound() -> None:
    """Whatever is shown as a duration is in the list of those whose bound is tested."""
    shown = loaded().shown()
    durations = {name for name, value in shown.items() if re.fullmatch(r"(\d+[smhd],?)+", str(value))}
    assert durations == {f"NOTIFIER_{name}" for name in OF_DURATIONS}


@pytest.mark.parametrize("rate", ["1e-12", "5e-324", "0.0000099"])
def test_a_rate_close_to_0_is_a_fault(rate: str) -> None:
    """It would put the next start beyond the calendar; 0 means no limit, and about one mail a day is the lowest."""
    (fault,) = faults(SEND_RATE=rate)
    assert fault.endswith("0 (no limit) or at least 0.00001 (about one mail a day) is expected")
    assert loaded(SEND_RATE="0.00001").mail.rate == SLOWEST
    assert loaded(SEND_RATE="0").mail.rate == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("48h", 172800), ("7d", 604800), ("1.5h", 5400)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    """Milliseconds, seconds, minutes, hours and days are written with their letter."""
    assert loaded(RETENTION=text).store.retention == timedelta(seconds=seconds)


@given(st.integers(1, 36_500), st.sampled_from(["s", "m", "h", "d"]))
def test_a_shown_duration_can_be_set_again(number: int, unit: str) -> None:
    """What is shown for a duration means the same duration."""
    shown = loaded(RETENTION=f"{number}{unit}").shown()["NOTIFIER_RETENTION"]
    assert loaded(RETENTION=shown).store.retention == loaded(RETENTION=f"{number}{unit}").store.retention


def test_a_setting_can_come_from_a_file(tmp_path: Path) -> None:
    """`NAME_FILE` names a file with the value; line ends around it do not count, and the file wins."""
    secret = tmp_path / "smtp"
    secret.write_text("smtps://user:fromfile@host\n", encoding="utf-8")
    found = loaded(SMTP_URL_FILE=str(secret)).smtp.servers[0]
    assert (found.security, found.password) == ("tls", "fromfile")


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """A missing file and one that is no text are told by the variable that names them."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    found = faults(OPERATOR_TOKEN_FILE=str(tmp_path / "none"), VIEWER_TOKEN_FILE=str(tmp_path / "bytes"))
    assert sorted(fault.partition(":")[0] for fault in found) == [
        "NOTIFIER_OPERATOR_TOKEN_FILE",
        "NOTIFIER_VIEWER_TOKEN_FILE",
    ]
    assert all("cannot be read" in fault for fault in found)


def test_the_ca_file_is_a_file_itself(tmp_path: Path) -> None:
    """`NOTIFIER_SMTP_CA_FILE` is a setting of its own and is not read as the value of another."""
    assert loaded(SMTP_CA_FILE=str(tmp_path / "ca.pem")).smtp.ca_file == tmp_path / "ca.pem"


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


@pytest.mark.parametrize("password", ["top:secret", "secret@home", "a:secret@b:c", "s%40secret", "a/secret"])
def test_an_odd_password_is_hidden_whole(password: str) -> None:
    """Characters that should have been percent-encoded give no part of a password away."""
    try:
        shown = loaded(AMQP_URL=f"amqp://user:{password}@host/vhost").shown()["NOTIFIER_AMQP_URL"]
    except Misconfigured as wrong:
        assert "secret" not in str(wrong)  # noqa: PT017 - both ends are allowed
    else:
        assert shown == "amqp://user:***@host/vhost"


def test_the_query_of_a_broker_url_is_not_shown() -> None:
    """A password may be in it too."""
    shown = loaded(AMQP_URL="amqps://user:secret@host/vhost?password=secret").shown()["NOTIFIER_AMQP_URL"]
    assert shown == "amqps://user:***@host/vhost"


@pytest.mark.parametrize("name", ["SMTP_URL", "AMQP_URL", "DATABASE_URL"])
def test_a_fault_in_a_url_does_not_show_its_password(name: str) -> None:
    """What is wrong with a URL is told without the URL."""
    (fault,) = faults(**{name: "ftp://user:topsecret@host"})
    assert "topsecret" not in fault


def test_replies_can_go_to_a_domain_in_any_script() -> None:
    """The domain is written in its ASCII form and the name is encoded, so no server needs SMTPUTF8 for them."""
    found = loaded(MAIL_REPLY_TO="Bücher <help@bücher.example>").mail.reply_to
    assert found == Sender("Bücher", "help@xn--bcher-kva.example")


def test_what_is_shown_is_named_like_the_variables() -> None:
    """The effective values are sorted by variable name and hold every setting once."""
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
    """A feed that others can reach needs a viewer's and an operator's token."""
    (fault,) = faults(HOST=host, **tokens)
    assert host in fault
    assert "NOTIFIER_VIEWER_TOKEN" in fault
    assert "NOTIFIER_OPERATOR_TOKEN" in fault


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
def test_a_guarded_feed_may_listen(values: dict[str, str]) -> None:
    """On loopback, with both tokens, or where insecurity is asked for, the feed listens."""
    assert loaded(**values).feed.host == values["HOST"]


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::1%lo", "::1%lo"), ("localhost.", "localhost."), ("bücher.example", "bücher.example")],
)
def test_a_host_is_a_name_or_an_address(text: str, host: str) -> None:
    """The brackets of a URL are no part of an IPv6 address."""
    assert load_feed({"NOTIFIER_HOST": text}).host == host


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("localhost.example.com", False)],  # noqa: S104 - that is what is tested
)
def test_loopback_is_this_machine_alone(host: str, own: bool) -> None:  # noqa: FBT001 - a column of the table
    """Only the loopback addresses and `localhost` are this machine's own."""
    assert is_loopback(host) is own


@pytest.mark.parametrize("read", [load, load_feed])
@pytest.mark.parametrize("name", ["NOTIFIER_VIEWER_TOKEN", "NOTIFIER_OPERATOR_TOKEN"])
def test_a_token_that_is_easy_to_guess_is_refused(read: Callable[[Any], Any], name: str, tmp_path: Path) -> None:
    """One of less than 16 characters is a fault that says how to make one, also in a file, also for commands."""
    file, empty = tmp_path / "token", tmp_path / "empty"
    file.write_text("fifteen-letters\n", encoding="utf-8")
    empty.touch()
    for short in ({name: "fifteen-letters"}, {f"{name}_FILE": str(file)}, {f"{name}_FILE": str(empty)}):
        with pytest.raises(Misconfigured, match=f"^{name}: at least 16 .*openssl rand -hex 24") as wrong:
            read({**REQUIRED, **short})
        assert "fifteen" not in str(wrong.value)
    read({**REQUIRED, name: "sixteen-letters!"})


@pytest.mark.parametrize("read", [load, load_feed])
@pytest.mark.parametrize(
    "token", ["two-lines-of-it\nand-more", "tabulator\tand-more", " space-at-the-start", "\udcff" * 16]
)
def test_a_token_that_no_header_can_carry_is_refused(read: Callable[[Any], Any], token: str) -> None:
    """Control characters, bytes that are not UTF-8, and a space at an end are a fault that does not show the token."""
    with pytest.raises(Misconfigured) as wrong:
        read({**REQUIRED, "NOTIFIER_VIEWER_TOKEN": token})
    assert wrong.value.faults == (
        "NOTIFIER_VIEWER_TOKEN: only printable characters, and no space at either end, are expected",
    )


def test_a_command_needs_the_feed_s_settings_only() -> None:
    """What talks to the running service is not stopped by what is missing for sending."""
    given = {"NOTIFIER_PORT": "9000", "NOTIFIER_SMTP_URL": "nonsense", "NOTIFIER_OPERATOR_TOKEN": OPERATOR_TOKEN}
    found = load_feed(given)
    assert (found.port, found.operator_token) == (9000, OPERATOR_TOKEN)


def test_a_command_needs_one_token_only() -> None:
    """Whoever may only watch reaches a service on another machine with the viewer's token alone."""
    found = load_feed({"NOTIFIER_HOST": "notifier.example.com", "NOTIFIER_VIEWER_TOKEN": VIEWER_TOKEN})
    assert (found.host, found.viewer_token) == ("notifier.example.com", VIEWER_TOKEN)


def test_a_command_s_faults_are_told() -> None:
    """A wrong port is a fault for a command too."""
    with pytest.raises(Misconfigured, match="NOTIFIER_PORT"):
        load_feed({"NOTIFIER_PORT": "many"})


def test_a_command_does_not_go_on_without_its_token(tmp_path: Path) -> None:
    """A token file that cannot be read is a fault for a command too."""
    with pytest.raises(Misconfigured, match="NOTIFIER_OPERATOR_TOKEN_FILE"):
        load_feed({"NOTIFIER_OPERATOR_TOKEN_FILE": str(tmp_path / "none")})


def test_unknown_names_are_told() -> None:
    """A variable with our prefix that means nothing is named; those of others are not ours."""
    environ = {"NOTIFIER_SMTP_URLS": "x", "NOTIFIER_COLOUR_FILE": "x", "PATH": "x", **REQUIRED}
    assert unknown(environ) == ["NOTIFIER_COLOUR_FILE", "NOTIFIER_SMTP_URLS"]


def test_known_names_are_not_told() -> None:
    """Every setting is known, by its name and with `_FILE` behind it."""
    names = list(loaded().shown())
    assert unknown(dict.fromkeys([*names, *(f"{name}_FILE" for name in names)], "x")) == []


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("Air <fly@example.org>", Sender("Air", "fly@example.org")),
        ("fly@Example.ORG", Sender("", "fly@example.org")),
        ('"Air, Inc." <fly@example.org>', Sender("Air, Inc.", "fly@example.org")),
        ('"Air: India; \\"The\\" (1)" <fly@example.org>', Sender('Air: India; "The" (1)', "fly@example.org")),
        ("Air (EU, UK) <fly@example.org>", Sender("Air (EU, UK)", "fly@example.org")),
        ("Größe <fly@bücher.example>", Sender("Größe", "fly@xn--bcher-kva.example")),
    ],
)
def test_a_sender_is_a_name_and_an_address(text: str, sender: Sender) -> None:
    """The name may be missing or quoted, the address is brought into its one form, and the domain is its end."""
    found: Any = loaded(MAIL_FROM=text).mail.sender
    assert found == sender
    assert found.domain == sender.address.split("@")[1]
