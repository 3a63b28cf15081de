"""The `notifier` command: the list of its commands, and how it ends.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 invalid
usage or settings, 3 the store is unusable, 4 the service or the broker cannot be reached.
"""

import errno
import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import typer

from notifier.cli import control, demo, doctor, documents, mails, preview, send, serve, topology
from notifier.errors import Misconfigured, NotifierError, StoreUnusable, Unreachable

EXIT_CODES: Mapping[type[NotifierError], int] = {Misconfigured: 2, StoreUnusable: 3, Unreachable: 4}
"""Any other NotifierError ends with 1."""

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a redirected stdout. The store and the gateways raise errors of their own."""

app = typer.Typer(
    help="A reminder and notification mailer for services that talk over RabbitMQ.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    serve.serve,
    send.send,
    control.watch,
    control.pause,
    control.resume,
    control.health,
    preview.preview,
    doctor.doctor,
    topology.topology,
    documents.settings,
    demo.demo,
    documents.contract,
    documents.version,
):
    app.command()(_command)
app.add_typer(mails.mails, name="mails")


def main() -> None:
    """Run the command line. Each known error ends in one line per problem on stderr and an exit code."""
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
