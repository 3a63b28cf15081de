import re
from typing import get_args

from notifier import errors
from notifier.errors import DeadLetterCode, Misconfigured, NotifierError, Problem, Refused, Unreachable


def test_every_error_is_in_the_drawing() -> None:
    """The tree at the top of the file has each error and what its catcher must do."""
    drawn = re.findall(r"── (\w+) +\S", str(errors.__doc__))
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, NotifierError)]
    assert drawn == [each.__name__ for each in found if each is not NotifierError]


def test_a_problem_is_one_line_with_its_setting() -> None:
    """The remedy follows what is wrong, if there is one."""
    assert str(Problem("NOTIFIER_PORT", "must be a number")) == "NOTIFIER_PORT: must be a number"
    assert str(Problem("--port", "is in use", "choose another one")) == "--port: is in use; choose another one"


def test_all_problems_of_the_settings_are_listed() -> None:
    """The text has a line for each, in their order."""
    problems = [Problem("A", "is missing"), Problem("B", "is empty", "set it")]
    error = Misconfigured(problems)
    assert str(error) == "A: is missing\nB: is empty; set it"
    assert error.problems == tuple(problems)


def test_an_unreachable_peer_is_a_connection_error() -> None:
    """Code that catches the errors of connections catches it too; what the peer said is separate from the text."""
    error = Unreachable("mail.example.com does not answer", said="421 busy")
    assert isinstance(error, ConnectionError)
    assert (str(error), error.said, Unreachable("x").said) == ("mail.example.com does not answer", "421 busy", "")


def test_a_refused_message_has_a_code_and_a_detail() -> None:
    """Programs read the code, and people the detail; a log line has both."""
    error = Refused("invalid", "data.booking: is missing")
    assert (error.code, error.detail, str(error)) == (
        "invalid",
        "data.booking: is missing",
        "invalid: data.booking: is missing",
    )


def test_the_codes_of_dead_letters_are_promised() -> None:
    """Users match on them, so none is renamed or removed."""
    codes = ("not_utf8", "not_json", "invalid", "unknown_type", "too_large", "internal_error")
    assert get_args(DeadLetterCode) == codes
