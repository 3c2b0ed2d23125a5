"""What all tests share: one compute thread, caches that are their own, and in CI no skipping."""

import gc
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Before torch and numpy are imported, here and in the processes that tests start: threads of several processes on few
# cores wait for each other by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from gandist.config import extensions
from gandist.data import builtin, moving
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.networks import NETWORKS
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES
from gandist.media.kinds import MEDIA

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of fetched and decoded data, away from the user's own: one for all of the session's processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "gandist"


@pytest.fixture(scope="session")
def few_moving_garments(own_cache: Path) -> None:
    """`builtin:moving-fashion` with 40 clips a class: a thousand take half a minute to make and to decode."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "PER_CLASS", 40)
        builtin.builtin("moving-fashion", own_cache)


@pytest.fixture(autouse=True)
def own_tables() -> Iterator[None]:
    """What a test's imports add to the tables of methods is gone after it."""
    tables: list[dict[str, Any]] = [NETWORKS, OBJECTIVES, PENALTIES, AUGMENTATIONS, MEDIA, extensions.executed]
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


@pytest.fixture(autouse=True)
def own_logger() -> None:
    """Messages reach caplog, whatever commands set up in this process before."""
    log = logging.getLogger("gandist")
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)


TESTS = Path(__file__).parent
RAY = {str(file.relative_to(TESTS.parent)) for file in TESTS.rglob("test_*.py") if "mark.ray" in file.read_text()}
"""Files that start Ray clusters, two of which meet on one machine."""
LONG = ("test_configs", "test_ddp_equals_single", "test_scraped_run")
"""Files of minutes, in which the last of several processes would be alone."""


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """What one of several pytest processes runs together: all of `RAY`, or another file, whose tests share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if file in RAY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """None of what is collected is garbage, and to look for it takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups first."""

    def rank(item: pytest.Item) -> tuple[bool, int]:
        stem = item.path.stem
        return item.nodeid.split("::")[0] not in RAY, LONG.index(stem) if stem in LONG else len(LONG)

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that would be skipped fails, but for one that needs a GPU, network namespaces, a mount, or the
    schemas of Kubernetes' custom resources, which are not in the repository: a green run has run everything else."""
    report = yield
    may = any(item.get_closest_marker(marker) for marker in ("gpu", "crds", "mounts", "netns"))
    if report.skipped and os.environ.get("CI") and not may:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"in CI nothing is skipped: {reason}"
    return report
