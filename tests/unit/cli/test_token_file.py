"""The token that the service makes for itself: once, for its owner, and never in a log."""

from pathlib import Path

import pytest
from support.cli import run_async, service
from support.parts import changed, serving
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.cli import token_file
from notifier.errors import Misconfigured
from notifier.feed.client import FeedClient, Rejected
from notifier.settings import FeedSettings, load_feed

FLAGS = ("send", "--to", "a@example.com", "--subject", "Hi", "--text", "Hello.")


def feed(path: Path, **changes: str) -> FeedSettings:
    """Give the settings of a feed that is to make its token."""
    return load_feed({"NOTIFIER_MAKE_TOKEN": str(path), **{f"NOTIFIER_{name}": text for name, text in changes.items()}})


async def test_a_token_is_made_once_and_found_by_commands(environ: dict[str, str], tmp_path: Path) -> None:
    """The first start shows it with the address to open, the next one does not; commands find it in the file."""
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


async def test_nobody_is_let_in_before_there_is_a_token(environ: dict[str, str], tmp_path: Path) -> None:
    """A feed that is to make its token and has none yet is open to no one, rather than to everyone."""
    async with serving(changed(environ, MAKE_TOKEN=str(tmp_path / "token"))) as unready:
        with pytest.raises(Rejected, match="4401"):
            async with FeedClient.connect(unready) as client:
                await client.frame()


@pytest.mark.parametrize(
    "given", [{"OPERATOR_TOKEN": OPERATOR_TOKEN}, {"VIEWER_TOKEN": VIEWER_TOKEN}, {"INSECURE": "1"}]
)
def test_what_is_set_counts_more_than_what_is_kept(tmp_path: Path, given: dict[str, str]) -> None:
    """Where a token is set, or none is wanted, the kept one is not used."""
    (tmp_path / "token").write_text("kept", encoding="utf-8")
    found = feed(tmp_path / "token", **given)
    assert token_file.given(found) == found


def test_an_open_address_is_guarded_by_the_token_to_be_made(tmp_path: Path) -> None:
    """Beyond loopback it stands for both tokens; one of the two alone does not guard."""
    made = feed(tmp_path / "token", HOST="0.0.0.0")  # noqa: S104 - that is what is tested
    assert (made.lacks_token, made.is_unguarded) == (True, False)
    assert feed(tmp_path / "token", HOST="0.0.0.0", VIEWER_TOKEN=VIEWER_TOKEN).is_unguarded  # noqa: S104


def test_every_made_token_is_another(tmp_path: Path) -> None:
    """Two services do not share one, and an empty file holds none."""
    (tmp_path / "token").touch()
    empty = token_file.given(feed(tmp_path / "token"))
    assert empty.lacks_token
    assert token_file.made(empty).operator_token != token_file.made(empty).operator_token


def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    """A folder in its place, or a folder that is not there, is told by the variable's name."""
    with pytest.raises(Misconfigured, match="NOTIFIER_MAKE_TOKEN: cannot be read"):
        token_file.given(feed(tmp_path))
    (tmp_path / "short").write_text("fifteen-letters\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"NOTIFIER_MAKE_TOKEN: .*at least 16 characters"):
        token_file.given(feed(tmp_path / "short"))
    with pytest.raises(Misconfigured, match="NOTIFIER_MAKE_TOKEN: cannot be written"):
        token_file.keep(token_file.made(feed(tmp_path / "none" / "token")))
