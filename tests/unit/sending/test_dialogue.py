import pytest

from notifier.domain.mail import Reply
from notifier.sending.dialogue import ComposedMail, DialogueResult
from notifier.sending.replies import Phase


@pytest.mark.parametrize(
    ("result", "accepted"),
    [
        (DialogueResult(Phase.DOT, Reply(250, "queued")), True),
        (DialogueResult(Phase.DOT, Reply(450, "later")), False),
        (DialogueResult(Phase.DOT, None, "connection lost"), False),
        (DialogueResult(Phase.RCPT, Reply(250, "OK")), False),
    ],
)
def test_only_a_positive_reply_to_the_message_accepts_it(result: DialogueResult, *, accepted: bool) -> None:
    """A positive reply to an earlier command does not mean that the server has the message."""
    assert result.accepted is accepted


@pytest.mark.parametrize(
    ("result", "closed"),
    [
        (DialogueResult(Phase.MAIL, None, "connection lost"), True),
        (DialogueResult(Phase.RCPT, None, "connection lost"), False),
        (DialogueResult(Phase.MAIL, Reply(421, "4.4.2 idle for too long")), True),
        (DialogueResult(Phase.DATA, Reply(421, "4.4.2 idle for too long")), True),
        (DialogueResult(Phase.DOT, Reply(421, "4.4.2 idle for too long")), False),
        (DialogueResult(Phase.MAIL, Reply(452, "4.5.3 Number of transactions exceeds allowed maximum")), True),
        (DialogueResult(Phase.RCPT, Reply(452, "4.5.3 Number of transactions exceeds allowed maximum")), False),
        (DialogueResult(Phase.MAIL, Reply(450, "4.7.0 not now")), False),
        (DialogueResult(Phase.DOT, Reply(250, "queued")), False),
    ],
)
def test_the_end_of_a_connection_is_no_judgement_of_the_mail(result: DialogueResult, *, closed: bool) -> None:
    """A dialogue that only showed that its connection was closed can begin again, unless the message was sent."""
    assert result.found_connection_closed is closed


@pytest.mark.parametrize(
    ("sender", "recipient", "needed"),
    [
        ("fly@example.org", "asha@example.com", False),
        ("fly@example.org", "jürgen@example.com", True),
        ("josé@example.org", "asha@example.com", True),
    ],
)
def test_an_address_beyond_ascii_needs_smtputf8(sender: str, recipient: str, *, needed: bool) -> None:
    """Either address of the envelope can need it."""
    assert ComposedMail(sender, recipient, b"").needs_smtputf8 is needed
