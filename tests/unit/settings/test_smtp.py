"""How the URLs of SMTP accounts are read."""

import pytest
from support.configured import loaded, problems

from notifier.settings import SmtpServer


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
    """Scheme, port and percent-encoded account are read; the default port depends on the scheme."""
    assert loaded(SMTP_URL=text).smtp.servers == (server,)


def test_several_servers_are_in_order_of_preference() -> None:
    """A comma separates the servers; blanks around it are ignored."""
    servers = loaded(SMTP_URL="smtp://a.example, smtps://b.example:4650").smtp.servers
    assert [server.name for server in servers] == ["a.example:587", "b.example:4650"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "required"),
        (",", "contains no URL"),
        ("host", "not the URL of an SMTP server"),
        ("http://host", "not the URL of an SMTP server"),
        ("smtp://", "not the URL of an SMTP server"),
        ("smtp://host:70000", "not the URL of an SMTP server"),
        ("smtp://host:port", "not the URL of an SMTP server"),
        ("smtp://host/path", "not the URL of an SMTP server"),
        ("smtp://[::1", "not the URL of an SMTP server"),
        ("smtp://host:0", "not the URL of an SMTP server"),
        ("smtp://user:pass@host?rate=30/m", "no parameters"),
        ("smtp://user:pass@host:587#x", "no fragment"),
        ("smtp://user:pass?word@host", "percent-encode @ / : , ? # and %"),
        ("smtp://user:pass#word@host", "percent-encode @ / : , ? # and %"),
        ("smtp://user:pa\nss@host", "a control character"),
        ("smtp://user@host", "without a password"),
        ("smtp://:pass@host", "without a password"),
        ("smtp+plain://user:pass@host", "unencrypted"),
        ("smtp+plain://user:pass@127.0.0.1.example.com", "unencrypted"),
        ("smtp+plain://user:pass@192.168.0.1", "unencrypted"),
        ("smtp+plain://:pass@host", "without a password"),
        ("smtp://ok.example,ftp://bad.example", "not the URL of an SMTP server"),
    ],
)
def test_an_smtp_url_that_cannot_be_used_is_a_problem(text: str, says: str) -> None:
    """The problem of an invalid URL, or of a password that would be sent unencrypted, does not show the URL."""
    (problem,) = problems(SMTP_URL=text)
    assert problem.setting == "NOTIFIER_SMTP_URL"
    assert says in str(problem)
    assert "pass@" not in str(problem)
