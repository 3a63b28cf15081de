"""The `notifier` command: the table of its commands, and how it ends.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 invalid
usage or settings, 3 the store is unusable, 4 the service or the broker cannot be reached.
"""

import errno
import gc
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from notifier.errors import Misconfigured, NotifierError, StoreUnusable, Unreachable

EXIT_CODES: Mapping[type[NotifierError], int] = {Misconfigured: 2, StoreUnusable: 3, Unreachable: 4}
"""Any other NotifierError ends with 1."""

GC_THRESHOLD = 50_000
"""Objects after which Python looks for cycles among new ones. Its own 700 cost an eighth of the start, which makes tens
of thousands of objects that all stay, and a twentieth of every mail: what a mail leaves behind has no cycles."""
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a redirected stdout. The store and the gateways raise errors of their own."""


class LazyCommand(TyperCommand):
    """A command of the list, whose module is imported when the command is used.

    `module` is in `notifier.cli` and has a function, or a Typer with subcommands, of the command's name. `help` is what
    the list says about it, the first paragraph of its own help.
    """

    def __init__(self, name: str, module: str, help: str) -> None:  # noqa: A002 - the library's name
        super().__init__(name, help=help)
        self._module = module

    def load(self) -> TyperCommand | TyperGroup:
        """Return the command itself, with its options or subcommands."""
        found = getattr(import_module(f"notifier.cli.{self._module}"), self.name or "")
        if isinstance(found, typer.Typer):
            return cast("TyperGroup", typer.main.get_command(found))
        single = typer.Typer(add_completion=False)
        single.command(self.name)(found)
        return cast("TyperCommand", typer.main.get_command(single))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments of the command itself, which the context then invokes."""
        return self.load().make_context(info_name, args, parent, **extra)


# A table instead of imports: all modules together take longer than any command.
app = TyperGroup(
    name="notifier",
    help="A reminder and notification mailer for services that talk over RabbitMQ.",
    no_args_is_help=True,
    commands=[
        LazyCommand("serve", "serve", "Run the service until SIGTERM or SIGINT; a second signal ends it immediately."),
        LazyCommand(
            "send", "send", "Submit one message to the running service: from a file, from flags, or an example."
        ),
        LazyCommand("watch", "control", "Show every change of every mail as it happens, until Ctrl-C."),
        LazyCommand("pause", "control", "Stop sending mails until `resume`, even if the service restarts."),
        LazyCommand("resume", "control", "Start sending mails again."),
        LazyCommand(
            "health",
            "control",
            "Show the state of the running service; exit 0 if it is ready, otherwise 1. No token is needed.",
        ),
        LazyCommand(
            "preview",
            "preview",
            "Write a sample mail as HTML, text, .eml and .ics, using your templates if NOTIFIER_TEMPLATES is set.",
        ),
        LazyCommand(
            "doctor",
            "doctor",
            "Check everything that mail delivery depends on and explain how to fix problems; "
            "exit 1 if there is a fault.",
        ),
        LazyCommand(
            "topology",
            "topology",
            "Show the exchanges and queues on the broker; exit 1 if one is missing or has other arguments.",
        ),
        LazyCommand("settings", "settings", "Print the effective settings, with secrets hidden."),
        LazyCommand(
            "demo", "demo", "Run the service with a broker, a publisher and a local inbox, and show the dashboard live."
        ),
        LazyCommand(
            "contract", "contract", "Print the AsyncAPI 3 document of all messages and frames, as YAML or JSON."
        ),
        LazyCommand("version", "version", "Print the version."),
        LazyCommand("mails", "mails", "List and show mails, and decide what happens to them."),
    ],
)


def main() -> None:
    """Run the command line. Each known error ends in one line per problem on stderr and an exit code."""
    gc.set_threshold(GC_THRESHOLD)
    _open_standard_streams()
    try:
        app()
    except NotifierError as error:
        fail(error)
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        # Python would write the rest of its buffer at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        fail(NotifierError(f"the output cannot be written: {error}"))
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    The operating system assigns the descriptors 0 to 2 first. If they are free, the event loop gets them, and aborts
    when it is closed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - as long as the process


def fail(error: NotifierError) -> NoReturn:
    """Print the error on stderr and exit with its exit code."""
    for line in str(error).splitlines():
        typer.echo(f"notifier: {line}", err=True)
    sys.exit(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1))
