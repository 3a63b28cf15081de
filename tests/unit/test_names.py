"""The tests of a module are found by its name.

Those of `notifier/ROOM/MODULE.py` are in `tests/unit/ROOM/test_MODULE.py`, or in `test_MODULE_ASPECT.py`.
"""

from collections.abc import Mapping
from pathlib import PurePath

from support.places import ROOT

PACKAGE, TESTS = ROOT / "notifier", ROOT / "tests" / "unit"
WITHOUT_TESTS: Mapping[str, str] = {
    "__main__.py": "one call; tests start `python -m notifier`",
    "domain/claims.py": "declares tuples without behaviour; the tests of claiming check their values",
    "feed/protocol/errors.py": "declares two errors without behaviour",
    "storage/store.py": "declares the port; the tests of `storage/sqlite` check its promises",
}
"""The modules that have no test file of their name, in alphabetical order, and why."""


def modules() -> list[str]:
    """List the modules of the package; a package itself is found by its folder."""
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def files_of(module: str) -> list[str]:
    """List the test files of a module: `test_booking_update.py` is not one of `booking.py`, as it has a module too."""
    path = PurePath(module)
    rivals = [each.stem for each in (PACKAGE / path.parent).glob(f"{path.stem}_*.py")]
    found = sorted(each.stem.removeprefix("test_") for each in (TESTS / path.parent).glob("test_*.py"))
    return [name for name in found if _is_of(name, path.stem) and not any(_is_of(name, rival) for rival in rivals)]


def _is_of(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}_")


def test_every_module_has_tests_of_its_name() -> None:
    """A module without a test file of its name is in the table, with a reason."""
    assert [module for module in modules() if not files_of(module) and module not in WITHOUT_TESTS] == []


def test_no_entry_of_the_table_is_stale() -> None:
    """Each names a module that still exists and still has no test file of its name."""
    known = set(modules())
    assert [module for module in WITHOUT_TESTS if module not in known or files_of(module)] == []
    assert list(WITHOUT_TESTS) == sorted(WITHOUT_TESTS)


def test_a_test_file_belongs_to_one_module() -> None:
    """A module whose name begins with another one's does not count as an aspect of it."""
    assert files_of("domain/booking.py") == ["booking"]
    assert files_of("domain/booking_update.py") == ["booking_update"]
    assert files_of("storage/sqlite/claiming.py") == ["claiming", "claiming_clock", "claiming_quota"]
