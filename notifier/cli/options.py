"""Options and arguments that several commands share, and the check of their values."""

from typing import Annotated, Any

import msgspec
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


def check_encodable(given: Any) -> None:
    """Raise BadParameter if a value cannot be sent to the service as JSON.

    The reason is an argument that is not UTF-8, a surrogate in a JSON file, or JSON that is nested too deeply.
    """
    try:
        msgspec.json.encode(given)
    except (UnicodeEncodeError, RecursionError) as error:
        raise typer.BadParameter(f"this cannot be written as UTF-8 JSON: {error}") from error
