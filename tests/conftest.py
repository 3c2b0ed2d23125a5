"""What all tests share: one compute thread, caches that are their own, and in CI no skipping."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist import extensions
from gandist.augment import AUGMENTATIONS
from gandist.networks import NETWORKS
from gandist.objectives import OBJECTIVES
from gandist.penalties import PENALTIES

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of fetched and decoded data, away from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "gandist"


@pytest.fixture(autouse=True)
def own_tables() -> Iterator[None]:
    """What a test's imports add to the tables of methods is gone after it."""
    tables: list[dict[str, Any]] = [NETWORKS, OBJECTIVES, PENALTIES, AUGMENTATIONS, extensions._sources]
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests one of several pytest processes runs together, the longest first: all that start a Ray cluster, for
    two clusters on one machine meet; of the others, each file's, which share its fixtures."""
    for item in items:
        file = item.path.stem
        item.add_marker(pytest.mark.xdist_group("ray" if item.get_closest_marker("ray") else file))
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, item.path.stem != "test_configs"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that would be skipped fails, but for one that needs a GPU, or the schemas of Kubernetes' custom
    resources, which are no part of the repository: a green run has run everything else."""
    report = yield
    may = any(item.get_closest_marker(marker) for marker in ("gpu", "crds"))
    if report.skipped and os.environ.get("CI") and not may:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"in CI nothing is skipped: {reason}"
    return report
