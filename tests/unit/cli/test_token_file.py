"""The token that the service creates at its first start: printed once, readable by its owner, never logged."""

from pathlib import Path

import pytest
from support.cli import run_async, service
from support.parts import changed, next_frame, serving
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.cli import token_file
from notifier.errors import Misconfigured
from notifier.feed.client import FeedClient, Rejected
from notifier.settings import FeedSettings, load_group

FLAGS = ("send", "--to", "a@example.com", "--subject", "Hi", "--text", "Hello.")


def feed(path: Path, **changes: str) -> FeedSettings:
    """Return the settings of a feed that must create its token."""
    environ = {"NOTIFIER_MAKE_TOKEN": str(path), **{f"NOTIFIER_{name}": text for name, text in changes.items()}}
    return load_group(FeedSettings, environ)


async def test_a_token_is_made_once_and_found_by_commands(environ: dict[str, str], tmp_path: Path) -> None:
    """Only the first start prints the token, with the address to open; commands read it from the file."""
    path = tmp_path / "token"
    environ = {**environ, "NOTIFIER_MAKE_TOKEN": str(path)}
    async with service(environ) as (process, client):
        code, _, err = await run_async(*FLAGS, environ=client)
        assert (code, "4401" in err) == (1, True)
        code, _, err = await run_async(*FLAGS, environ={**client, "NOTIFIER_MAKE_TOKEN": str(path)})
        assert code == 0, err
        shown = [line for line in process.log if "token" in line]
    token = path.read_text(encoding="utf-8").strip()
    assert shown == [f"notifier: open {process.url} with the token {token} (kept in {path})"]
    assert len(token) == 24
    assert path.stat().st_mode & 0o777 == 0o600
    async with service(environ) as (process, client):
        code, _, err = await run_async(*FLAGS, environ={**client, "NOTIFIER_OPERATOR_TOKEN": token})
        assert code == 0, err
    assert not [line for line in process.log if token in line]


async def test_everyone_is_rejected_before_there_is_a_token(environ: dict[str, str], tmp_path: Path) -> None:
    """A feed that has yet to create its token rejects everyone."""
    async with serving(changed(environ, MAKE_TOKEN=str(tmp_path / "token"))) as unready:
        with pytest.raises(Rejected, match="4401"):
            async with FeedClient.connect(unready) as client:
                await next_frame(client)


@pytest.mark.parametrize(
    "given", [{"OPERATOR_TOKEN": OPERATOR_TOKEN}, {"VIEWER_TOKEN": VIEWER_TOKEN}, {"INSECURE": "1"}]
)
def test_a_token_that_is_set_wins_over_the_file(tmp_path: Path, given: dict[str, str]) -> None:
    """If a token is set, or none is required, the one in the file is not used."""
    (tmp_path / "token").write_text("kept", encoding="utf-8")
    found = feed(tmp_path / "token", **given)
    assert token_file.given(found) == found


def test_make_token_guards_an_address_beyond_loopback(tmp_path: Path) -> None:
    """Beyond loopback, NOTIFIER_MAKE_TOKEN replaces both tokens; a viewer's token alone is not enough."""
    made = feed(tmp_path / "token", HOST="0.0.0.0")  # noqa: S104 - that is what is tested
    assert (made.lacks_token, made.is_unguarded) == (True, False)
    assert feed(tmp_path / "token", HOST="0.0.0.0", VIEWER_TOKEN=VIEWER_TOKEN).is_unguarded  # noqa: S104


def test_every_token_that_is_made_is_different(tmp_path: Path) -> None:
    """Two services never create the same token, and an empty file counts as no token."""
    (tmp_path / "token").touch()
    empty = token_file.given(feed(tmp_path / "token"))
    assert empty.lacks_token
    assert token_file.made(empty).operator_token != token_file.made(empty).operator_token


def test_a_file_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    """A path that is a folder, a token that is too short, and a folder that does not exist are Misconfigured."""
    with pytest.raises(Misconfigured, match=r"NOTIFIER_MAKE_TOKEN: .* cannot be read: Is a directory"):
        token_file.given(feed(tmp_path))
    (tmp_path / "short").write_text("fifteen-letters\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"NOTIFIER_MAKE_TOKEN: the token in .* is shorter than 16 characters"):
        token_file.given(feed(tmp_path / "short"))
    with pytest.raises(Misconfigured, match=r"NOTIFIER_MAKE_TOKEN: .* cannot be written: No such file"):
        token_file.keep(token_file.made(feed(tmp_path / "none" / "token")))
