"""Wrong changes of `notifier/settings`."""

from support.mutation.mutant import Mutant

_LOADING = "tests/unit/settings/test_loading.py"

MUTANTS = (
    Mutant(
        "short-token-taken",
        "notifier/settings/values.py",
        "if len(token) < MIN_TOKEN_LENGTH:",
        "if len(token) < 1:",
        ("tests/unit/settings/test_values.py::test_a_token_that_is_easy_to_guess_is_a_problem",),
    ),
    Mutant(
        "broker-port-not-checked",
        "notifier/settings/amqp.py",
        "and url.hostname and url.port != 0",
        "and url.hostname",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "dead-letters-consumed",
        "notifier/settings/amqp.py",
        "    if queue == DEAD_LETTERS:\n",
        "    if not queue:\n",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "queue-name-not-checked",
        "notifier/settings/amqp.py",
        "if not _NAME.fullmatch(text) or",
        "if",
        ("tests/unit/settings/test_amqp.py::test_each_queue_with_an_invalid_name_is_a_problem",),
    ),
    Mutant(
        "dead-letters-as-the-publishers-exchange",
        "notifier/settings/amqp.py",
        "if exchange in (DEAD_LETTERS, RESULTS):",
        "if exchange == RESULTS:",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "parameters-of-an-account-ignored",
        "notifier/settings/smtp.py",
        """if "?" in text or "#" in text:""",
        """if "#" in text:""",
        ("tests/unit/settings/test_smtp.py::test_an_smtp_url_that_cannot_be_used_is_a_problem",),
    ),
    Mutant(
        "second-sender-ignored",
        "notifier/settings/senders.py",
        "if len(found) != 1 or ",
        "if ",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "query-of-the-broker-shown",
        "notifier/settings/amqp.py",
        """flags=re.DOTALL).partition("?")[0]""",
        "flags=re.DOTALL)",
        ("tests/unit/settings/test_amqp.py::test_the_query_of_a_broker_url_is_not_shown",),
    ),
    Mutant(
        "durations-without-a-bound",
        "notifier/settings/values.py",
        "    if seconds > MAX_LENGTH.total_seconds():\n",
        "    if seconds > 25 * MAX_LENGTH.total_seconds():\n",
        ("tests/unit/settings/test_values.py::test_a_duration_of_more_than_100_years_is_a_problem",),
    ),
    Mutant(
        "rate-close-to-0",
        "notifier/settings/values.py",
        "    if 0 < rate < SLOWEST:\n",
        "    if 0 < rate < SLOWEST / 1000:\n",
        ("tests/unit/settings/test_values.py::test_a_rate_near_0_is_a_problem",),
    ),
    Mutant(
        "reply-to-needs-smtputf8",
        "notifier/settings/senders.py",
        "not found.address.isascii()",
        "not found.address.isprintable()",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "token-that-no-header-carries",
        "notifier/settings/values.py",
        "if not token.isprintable() or token != token.strip():",
        "if token != token.strip():",
        ("tests/unit/settings/test_values.py::test_a_token_that_no_header_can_carry_is_a_problem",),
    ),
    Mutant(
        "sender-that-no-header-carries",
        "notifier/settings/values.py",
        "\\u2028\\u2029\\ud800-\\udfff]",
        "\\u2028\\u2029]",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "any-host-accepted",
        "notifier/settings/values.py",
        "if not _HOST_NAME.fullmatch(encoded):",
        "if False:",
        (f"{_LOADING}::test_a_problem_says_what_was_given_or_expected",),
    ),
    Mutant(
        "first-group-with-a-problem-hides-the-others",
        "notifier/settings/loading.py",
        "        problems += of_group\n",
        "        problems = problems or of_group\n",
        (f"{_LOADING}::test_all_problems_are_listed_at_once",),
    ),
    Mutant(
        "unreadable-file-ignored",
        "notifier/settings/loading.py",
        "    if found is None or problems:\n",
        "    if found is None:\n",
        (f"{_LOADING}::test_an_unreadable_token_is_a_problem_for_a_command_too",),
    ),
)
