"""Wrong changes of `notifier/cli`."""

from support.mutation.mutant import Mutant

_SETTINGS = "tests/integration/test_settings_effect.py"
_FIGURES = "tests/unit/observability/test_status.py"
_WIRING = "tests/integration/test_wiring.py"
_STOP = "tests/integration/test_stop.py"
_EXITS = "tests/integration/test_exit_codes.py"
_APP = "tests/unit/cli/test_app.py"

MUTANTS = (
    Mutant(
        "every-command-imports-the-service",
        "notifier/cli/app.py",
        "import typer\n",
        "import typer\n\nimport notifier.service\n",
        (f"{_APP}::test_a_client_command_imports_nothing_of_the_service",),
    ),
    Mutant(
        "list-of-commands-says-something-else",
        "notifier/cli/app.py",
        '"Start sending mails again."',
        '"Continue."',
        (f"{_APP}::test_the_list_says_what_the_help_of_a_command_begins_with",),
    ),
    Mutant(
        "erased-address-taken-from-the-command-line-alone",
        "notifier/cli/mails.py",
        'if address == "-":',
        'if address == "--":',
        ("tests/integration/test_erasure.py::test_the_files_of_the_service_forget_whom_they_knew",),
    ),
    Mutant(
        "log-that-nobody-reads-stops-the-service",
        "notifier/cli/serve.py",
        "    with logs.STDERR.from_a_thread():\n",
        "    if True:\n",
        ("tests/unit/observability/test_logs.py::test_the_service_works_and_ends_if_nobody_reads_its_log",),
    ),
    Mutant(
        "all-mails-in-one-list",
        "notifier/cli/terminal.py",
        "ids[first : first + MAX_MAILS], wanted",
        "ids, wanted",
        ("tests/unit/cli/test_terminal.py::test_send_waits_for_more_mails_than_one_list_has",),
    ),
    Mutant(
        "events-between-two-lists-are-missed",
        "notifier/cli/terminal.py",
        "        list(_newer(frame, wanted, mails))\n",
        "",
        ("tests/unit/feed/test_client.py::test_a_mail_that_is_sent_between_two_lists_is_known_to_be_sent",),
    ),
    Mutant(
        "filter-checked-by-the-service-alone",
        "notifier/cli/mails.py",
        "        read_filter(wanted)\n",
        "        wanted.copy()\n",
        ("tests/integration/test_exit_codes.py::test_wrong_values_are_exit_2",),
    ),
    Mutant(
        "argument-that-cannot-be-encoded",
        "notifier/cli/send.py",
        "    check_encodable(message)\n",
        "",
        ("tests/integration/test_exit_codes.py::test_wrong_values_are_exit_2",),
    ),
    Mutant(
        "deep-json-is-a-traceback",
        "notifier/cli/send.py",
        "    except (ValueError, RecursionError) as error:\n",
        "    except ValueError as error:\n",
        ("tests/integration/test_exit_codes.py::test_invalid_json_is_exit_2",),
    ),
    Mutant(
        "made-token-not-kept",
        "notifier/cli/serve.py",
        "            token_file.keep(settings.feed)\n",
        "",
        (f"{_SETTINGS}::test_a_token_is_made_and_kept",),
    ),
    Mutant(
        "misspelt-settings-not-named",
        "notifier/cli/serve.py",
        "for name in unknown(os.environ):",
        "for name in ():",
        (f"{_WIRING}::test_an_unknown_setting_is_named",),
    ),
    Mutant(
        "second-signal-does-nothing",
        "notifier/cli/serve.py",
        "            os._exit(1)\n",
        "            return\n",
        (f"{_STOP}::test_a_second_signal_ends_the_service_at_once",),
    ),
    Mutant(
        "health-always-well",
        "notifier/cli/control.py",
        "sys.exit(0 if ready else 1)",
        "sys.exit(0)",
        (f"{_FIGURES}::test_a_service_that_cannot_write_is_not_ready_until_it_can",),
    ),
    Mutant(
        "closed-streams-stay-closed",
        "notifier/cli/app.py",
        "    _open_standard_streams()\n    try:",
        "    try:",
        (f"{_EXITS}::test_closed_streams_abort_nothing",),
    ),
    Mutant(
        "full-disk-with-a-traceback",
        "notifier/cli/app.py",
        "        if error.errno not in _WRITE_ERRORS:\n",
        "        if True:\n",
        (f"{_EXITS}::test_a_full_disk_is_exit_1",),
    ),
    Mutant(
        "unreachable-is-a-failure-like-any-other",
        "notifier/cli/app.py",
        "Unreachable: 4}",
        "Unreachable: 1}",
        (f"{_EXITS}::test_each_error_has_its_exit_code",),
    ),
    Mutant(
        "time-of-a-sent-message-ignored",
        "notifier/cli/send.py",
        '"html": html, "send_at": send_at}',
        '"html": html}',
        (f"{_WIRING}::test_every_flag_of_send_has_its_effect",),
    ),
    Mutant(
        "time-of-a-list-ignored",
        "notifier/cli/mails.py",
        '"booking": booking, "since": since}',
        '"booking": booking}',
        (f"{_WIRING}::test_every_option_of_a_list_has_its_effect",),
    ),
)
