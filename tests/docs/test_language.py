"""The search for retired words finds them where people read them, and nowhere else."""

from pathlib import Path

import pytest
from support import language
from support.language import Allowed, Passage, passages, retired
from support.places import ROOT


def words(path: Path) -> list[tuple[int, str]]:
    """Return the retired words of a file with their lines."""
    return [(each.line, each.word) for passage in passages(path) for each in retired(path.name, passage)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("The sender is told.", "told"),
        ("No news yet.", "news"),
        ("The broker is\naway.", "is away"),
        ("It stops in good order.", "in good order"),
        ("It goes on by itself.", "by itself"),
        ("A character that is none.", "that is none"),
        ("An account rests.", "rests"),
        ("How to mend it.", "mend"),
    ],
)
def test_a_retired_word_is_found(text: str, word: str) -> None:
    """It is found anywhere in a sentence, also across lines."""
    assert [each.word for each in retired("x", Passage(1, text))] == [word]


@pytest.mark.parametrize(
    "text", ["The newsletter.", "Right away.", "The rest of them.", "A REST API.", "It gives up.", "mendable"]
)
def test_other_words_are_not_found(text: str) -> None:
    """A word that merely contains a retired one, or has another meaning, is no finding."""
    assert list(retired("x", Passage(1, text))) == []


def test_a_docstring_does_not_begin_with_gives() -> None:
    """The verb is retired at the beginning of a docstring only."""
    assert [each.word for each in retired("x", Passage(1, "Gives a number.", is_docstring=True))] == ["Gives"]
    assert list(retired("x", Passage(1, "Gives a number."))) == []


def test_python_is_searched_for_texts_only(tmp_path: Path) -> None:
    """Docstrings, comments, log and error texts, help texts and names count; identifiers and data do not."""
    path = tmp_path / "code.py"
    path.write_text(
        '"""About news.\n\nIt was told.\n"""\n'
        "news = 1  # no heed\n"
        'DATA = "told"\n'
        "def test_it_is_told():\n"
        '    log.info("in good order")\n'
        '    raise ValueError(f"{news} as the case may be")\n'
        "# It goes on by\n"
        "# itself.\n"
        'option(help="decent")\n'
    )
    assert sorted(words(path)) == [
        (1, "news"),
        (3, "told"),
        (5, "heed"),
        (7, "told"),
        (8, "in good order"),
        (9, "as the case may be"),
        (10, "by itself"),
        (12, "decent"),
    ]


def test_pages_are_searched_outside_code(tmp_path: Path) -> None:
    """Fenced blocks, inline code and targets of links are data; what has been released is history."""
    page = tmp_path / "CHANGELOG.md"
    page.write_text("# News\n\n`told` [x](told.md)\n\n```sh\ntold\n```\n\n## Unreleased\n\ntold\n\n## 1.0\n\ntold\n")
    assert words(page) == [(1, "News"), (11, "told")]


def test_scripts_are_searched_for_comments_and_sentences(tmp_path: Path) -> None:
    """A string of a single word counts as a name, which is not searched."""
    script = tmp_path / "page.js"
    script.write_text('const news = "news"; // told\nshow("it was told", `by itself ${x}`);\n')
    assert words(script) == [(1, "told"), (2, "told"), (2, "by itself")]


def test_an_allowed_place_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are allowed in their file only."""
    monkeypatch.setattr(language, "ALLOWED", (Allowed("a.md", "the news of the day", "a quotation"),))
    passage = Passage(1, "It is the news of the day.")
    assert list(retired("a.md", passage)) == []
    assert [each.word for each in retired("b.md", passage)] == ["news"]


def test_what_is_allowed_is_there() -> None:
    """An entry whose words have left their file can go."""
    for allowed in language.ALLOWED:
        assert allowed.words in (ROOT / allowed.file).read_text(encoding="utf-8"), allowed
