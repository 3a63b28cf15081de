"""`notifier settings` as a process."""

import json

from support.cli import run


def test_secrets_are_hidden_in_the_settings() -> None:
    """Passwords and tokens appear neither in the lines nor in the JSON."""
    environ = {
        "NOTIFIER_SMTP_URL": "smtp://me:s3cret@smtp.example.org",
        "NOTIFIER_MAIL_FROM": "Air <fly@example.org>",
        "NOTIFIER_AMQP_URL": "amqp://me:s3cret@localhost/",
        "NOTIFIER_OPERATOR_TOKEN": "s3cret-of-16-and-more",
    }
    code, out, _ = run("settings", environ=environ)
    assert code == 0
    assert "NOTIFIER_SMTP_URL=smtp://me:***@smtp.example.org:587" in out
    code, as_json, _ = run("settings", "--json", environ=environ)
    assert json.loads(as_json)["NOTIFIER_SEND_RATE"] == 20
    assert "s3cret" not in out + as_json
