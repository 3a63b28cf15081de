"""How settings are read from variables and files, and how their problems are reported."""

from pathlib import Path

import pytest
from support.configured import REQUIRED, loaded, problems
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.errors import Misconfigured
from notifier.settings import FeedSettings, load, load_group, unknown

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


def test_all_problems_are_listed_at_once() -> None:
    """Every wrong or missing setting of every group is in one list, with a line for each."""
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
    assert sorted(problem.setting for problem in found.value.problems) == sorted([*wrong, "NOTIFIER_SMTP_URL"])
    assert str(found.value).splitlines() == [str(problem) for problem in found.value.problems]


def test_an_empty_environment_lacks_the_required_settings() -> None:
    """Without variables, or with empty ones, exactly the two required settings are missing."""
    expected = [("NOTIFIER_SMTP_URL", "is required"), ("NOTIFIER_MAIL_FROM", "is required")]
    for environ in ({}, {"NOTIFIER_SMTP_URL": " ", "NOTIFIER_MAIL_FROM": ""}):
        with pytest.raises(Misconfigured) as found:
            load(environ)
        assert [problem[:2] for problem in found.value.problems] == expected
        assert all(" such as " in problem.remedy for problem in found.value.problems)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"SEND_RATE": "nan"}, "'nan'"),
        ({"SEND_RATE": "inf"}, "'inf'"),
        ({"SEND_QUOTA": "1000000001"}, "from 0 to 1000000000"),
        ({"RETENTION": "0s"}, "greater than 0"),
        ({"RETENTION": "-1h"}, "not a duration"),
        ({"RETENTION": "1 week"}, "not a duration"),
        ({"RETENTION": "60"}, "not a duration"),
        ({"RETRY_DELAYS": ","}, "not a duration"),
        ({"RETRY_DELAYS": "1s,0s"}, "greater than 0"),
        ({"REMIND_BEFORE": "1h"}, "greater than 1h"),
        ({"SEND_CRON": "* * *"}, "fields"),
        ({"SEND_CRON": "99 * * * *"}, "'99 * * * *'"),
        ({"MAIL_FROM": "Air <fly@>"}, "Name <address>"),
        ({"MAIL_FROM": "Air\udcff <fly@example.org>"}, "not UTF-8"),
        ({"MAIL_FROM": "Air\x07 <fly@example.org>"}, "without control characters"),
        ({"MAIL_FROM": "Air\n <fly@example.org>"}, "without control characters"),
        ({"MAIL_FROM": "fly@example.org, help@example.org"}, "exactly one address"),
        ({"MAIL_FROM": "fly@example.org,"}, "exactly one address"),
        ({"MAIL_FROM": "Team: <fly@example.org>;"}, "exactly one address"),
        ({"MAIL_FROM": "Air: India <fly@example.org>"}, "in double quotes"),
        ({"MAIL_FROM": "<fly@example.org> Air"}, "exactly one address"),
        ({"MAIL_REPLY_TO": "nobody"}, "'nobody'"),
        ({"MAIL_REPLY_TO": "Help <пётр@example.com>"}, "only ASCII letters before the @"),
        ({"DATABASE_URL": "sqlite:///"}, "sqlite:///path"),
        ({"LOG_FORMAT": "xml"}, "'json'"),
        *(({"HOST": host}, "a host name or an IP address") for host in ODD_HOSTS),
        ({"AMQP_URL": "amqp://"}, "amqp://user"),
        ({"AMQP_URL": "amqp://user:secret@host:99999/"}, "amqp://user:password@host"),
        ({"AMQP_URL": "amqp://user:secret@host:port/"}, "amqp://user:password@host"),
        ({"AMQP_URL": "amqp://user:secr\net@host/"}, "a control character"),
        ({"AMQP_EXCHANGE": "notifier.dead"}, "notifier.dead is an exchange that notifier itself publishes to"),
        ({"AMQP_EXCHANGE": "notifier.events"}, "notifier.events is an exchange that notifier itself publishes to"),
        ({"AMQP_QUEUE": "notifier.dead"}, "notifier.dead cannot be consumed"),
        ({"AMQP_EXTRA_QUEUES": "other,notifier.dead"}, "notifier.dead cannot be consumed"),
        ({"AMQP_EXCHANGE": "größe"}, "1 to 127 ASCII letters"),
        ({"AMQP_EXCHANGE": "e" * 128}, "1 to 127 ASCII letters"),
    ],
)
def test_a_problem_says_what_was_given_or_expected(values: dict[str, str], says: str) -> None:
    """There is one problem, it names the variable, and its text says what is wrong or what to write."""
    (problem,) = problems(**values)
    assert problem.setting == f"NOTIFIER_{next(iter(values))}"
    assert says in str(problem)


def test_a_setting_can_come_from_a_file(tmp_path: Path) -> None:
    """`NAME_FILE` names a file with the value; line ends around it are ignored, and it wins over `NAME`."""
    secret = tmp_path / "smtp"
    secret.write_text("smtps://user:fromfile@host\n", encoding="utf-8")
    found = loaded(SMTP_URL_FILE=str(secret)).smtp.servers[0]
    assert (found.security, found.password) == ("tls", "fromfile")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are problems of the variable that names them."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    found = problems(OPERATOR_TOKEN_FILE=str(tmp_path / "none"), VIEWER_TOKEN_FILE=str(tmp_path / "bytes"))
    assert sorted(problem.setting for problem in found) == [
        "NOTIFIER_OPERATOR_TOKEN_FILE",
        "NOTIFIER_VIEWER_TOKEN_FILE",
    ]
    assert all("cannot be read" in problem.wrong for problem in found)


def test_the_ca_file_is_a_setting_of_its_own(tmp_path: Path) -> None:
    """`NOTIFIER_SMTP_CA_FILE` is a path, and is not read as the value of another setting."""
    assert loaded(SMTP_CA_FILE=str(tmp_path / "ca.pem")).smtp.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize("name", ["SMTP_URL", "AMQP_URL", "DATABASE_URL"])
def test_a_problem_of_a_url_does_not_show_its_password(name: str) -> None:
    """The problem of a URL does not repeat the URL."""
    (problem,) = problems(**{name: "ftp://user:topsecret@host"})
    assert "topsecret" not in str(problem)


def test_a_command_reads_the_settings_of_the_feed_only() -> None:
    """A command for the running service does not need the settings that sending requires."""
    given = {"NOTIFIER_PORT": "9000", "NOTIFIER_SMTP_URL": "nonsense", "NOTIFIER_OPERATOR_TOKEN": OPERATOR_TOKEN}
    found = load_group(FeedSettings, given)
    assert (found.port, found.operator_token) == (9000, OPERATOR_TOKEN)


def test_a_command_needs_one_token_only() -> None:
    """A command for a service on another machine needs only one of the two tokens."""
    found = load_group(FeedSettings, {"NOTIFIER_HOST": "notifier.example.com", "NOTIFIER_VIEWER_TOKEN": VIEWER_TOKEN})
    assert (found.host, found.viewer_token) == ("notifier.example.com", VIEWER_TOKEN)


def test_a_wrong_setting_is_a_problem_for_a_command_too() -> None:
    """A wrong port is a problem for a command too."""
    with pytest.raises(Misconfigured, match="NOTIFIER_PORT"):
        load_group(FeedSettings, {"NOTIFIER_PORT": "many"})


def test_an_unreadable_token_is_a_problem_for_a_command_too(tmp_path: Path) -> None:
    """A token file that cannot be read is a problem for a command too."""
    with pytest.raises(Misconfigured, match="NOTIFIER_OPERATOR_TOKEN_FILE"):
        load_group(FeedSettings, {"NOTIFIER_OPERATOR_TOKEN_FILE": str(tmp_path / "none")})


def test_unknown_names_are_returned() -> None:
    """Unknown variables with our prefix are returned in order; other variables are ignored."""
    environ = {"NOTIFIER_SMTP_URLS": "x", "NOTIFIER_COLOUR_FILE": "x", "PATH": "x", **REQUIRED}
    assert unknown(environ) == ["NOTIFIER_COLOUR_FILE", "NOTIFIER_SMTP_URLS"]


def test_known_names_are_not_returned() -> None:
    """Every setting is known by its name and with `_FILE` behind it."""
    names = list(loaded().shown())
    assert unknown(dict.fromkeys([*names, *(f"{name}_FILE" for name in names)], "x")) == []
