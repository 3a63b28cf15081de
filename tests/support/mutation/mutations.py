"""Every small wrong change that can be made to one file, one at a time.

The operators are mutmut's, applied to the whole file: mutmut's own runner skips code at the top level, in the body of a
class, or in a decorated function, and so most limits, the tables, and the composition root. Three operators are added
for wiring: leaving out a call, swapping neighbouring arguments, and negating a condition.

Changes that no user could notice are left out: those of annotations, docstrings, log lines, names of tasks, and
sentences for people.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

_SENTENCE = re.compile(r"\w+ .*\w+ .*\w+")
"""A text of three words or more is written for people: no code reads it."""
_EMPTY = cst.Module([])


class Change(NamedTuple):
    """One wrong change: the number of its line, the whole changed text of the file, and the difference."""

    line: int
    text: str
    diff: str


def changes(text: str) -> list[Change]:
    """Return every change to the text of a file, each once, in the order of the file."""
    wrapper = MetadataWrapper(cst.parse_module(text))
    visitor = _Visitor()
    wrapper.visit(visitor)
    given, found = text.encode(), dict[str, Change]()
    for line, start, end, new in visitor.found:
        code = (given[:start] + new.encode() + given[end:]).decode()
        if code != text and code not in found and _compiles(code):
            found[code] = Change(line, code, _diff(text, code))
    return sorted(found.values(), key=lambda change: change.line)


def _compiles(code: str) -> bool:
    try:
        compile(code, "<mutation>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _diff(before: str, after: str) -> str:
    """Return the difference, without indentation."""
    old, new = ([line.strip() for line in text.splitlines()] for text in (before, after))
    lines = difflib.unified_diff(old, new, lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


class _Visitor(cst.CSTVisitor):
    """Collects places in the code, each with its line and a replacement."""

    METADATA_DEPENDENCIES = (PositionProvider, ByteSpanPositionProvider)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int, int, str]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Collect the replacements of a node; return False if nothing in it matters."""
        if _is_beside_the_point(node):
            return False
        for old, new in _instead(node):
            position: Any = self.get_metadata(PositionProvider, old, None)
            span: Any = self.get_metadata(ByteSpanPositionProvider, old, None)
            if position and span:
                code = _EMPTY.code_for_node(new)
                self.found.append((position.start.line, span.start, span.start + span.length, code))
        return True


def _is_beside_the_point(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom | cst.TypeAlias | cst.Raise):
        return True
    if isinstance(node, cst.Assign):
        return isinstance(node.value, cst.Call) and _is_beside_the_point(node.value)
    if isinstance(node, cst.Call):
        called = _EMPTY.code_for_node(node.func)
        return called.startswith(("log.", "structlog.get_logger", "TypeVar", "typer.Option", "typer.Argument"))
    return isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value in ("help", "frozen")


def _instead(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Yield the replacements of a node, or of a part of it."""
    # The type checker finds a field without its default, and an empty value instead of None changes nothing.
    if isinstance(node, cst.Match | cst.AnnAssign):
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind) and operator is not operator_string:
            yield from ((node, new) for new in operator(node) if not _is_a_task_s_name(node, new))
    yield from _other_strings(node)
    yield from _left_out(node)
    yield from _turned_round(node)
    yield from _swapped(node)


def _other_strings(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Change a word; mutmut's changes of case would not affect SQL."""
    if isinstance(node, cst.SimpleString) and not _is_a_sentence(node):
        yield from ((node, new) for new in list(operator_string(node))[:1])


def _is_a_sentence(node: cst.SimpleString) -> bool:
    text = node.evaluated_value
    return isinstance(text, str) and bool(_SENTENCE.search(text)) and text[:1] not in "(<\\["


def _left_out(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Leave out a call whose result is not used."""
    if isinstance(node, cst.Expr):
        value = node.value.expression if isinstance(node.value, cst.Await) else node.value
        if isinstance(value, cst.Call) and not _is_beside_the_point(value):
            yield node, cst.Pass()


def _turned_round(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Negate a condition in which mutmut changes nothing."""
    simple = cst.Name | cst.Attribute | cst.Call | cst.NamedExpr
    if isinstance(node, cst.If | cst.While) and isinstance(node.test, simple):
        bare = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.test, cst.UnaryOperation(cst.Not(), bare)


def _swapped(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Swap neighbouring arguments of a call."""
    if not isinstance(node, cst.Call):
        return
    for place in range(len(node.args) - 1):
        one, other = node.args[place : place + 2]
        if one.keyword or other.keyword or one.star or other.star:
            continue
        if all(isinstance(each.value, cst.Name | cst.Attribute) for each in (one, other)) and not _is_commutative(node):
            swapped = [one.with_changes(value=other.value), other.with_changes(value=one.value)]
            yield node, node.with_changes(args=[*node.args[:place], *swapped, *node.args[place + 2 :]])


def _is_commutative(call: cst.Call) -> bool:
    return isinstance(call.func, cst.Name) and call.func.value in ("min", "max")


def _is_a_task_s_name(node: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Return whether a change of a call concerns only the name of a task."""
    if not (isinstance(node, cst.Call) and isinstance(new, cst.Call)):
        return False
    if not _EMPTY.code_for_node(node.func).endswith("create_task"):
        return False
    gone = [arg for arg in node.args if not any(arg is each for each in new.args)]
    return all(arg.keyword is not None and arg.keyword.value == "name" for arg in gone)
