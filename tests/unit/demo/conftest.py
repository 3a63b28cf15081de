from collections.abc import Iterator

import psutil
import pytest

from notifier.demo.broker import PrivateNode


@pytest.fixture(scope="session")
def demo_node() -> Iterator[PrivateNode]:
    """Yield a running node; closing it must leave no process and no folder."""
    before = set(psutil.Process().children(recursive=True))
    with PrivateNode() as node:
        yield node
        processes = set(psutil.Process().children(recursive=True)) - before
        assert {"epmd", "beam.smp"} <= {each.name() for each in processes}
    assert not node.folder.exists()
    # A zombie belongs to the init process, which can take its time.
    assert [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
