"""Several nodes on one machine: two are as good as one; one is lost and comes back, and the run goes on.

`pytest tests/system/test_nodes.py --log-cli-level=INFO` shows the figures of docs/scaling.md.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from gandist.config.run import RunConfig
from gandist.distributed.consensus import Outcome
from gandist.launch.driver import launch
from gandist.launch.resumption import prepare, run_root
from gandist.run import attempt
from gandist.storage.storage import Storage
from tests.helpers.slow_loss import slow_loss
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import digests, final_digests, final_tensors, tiny, train_all

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # Ray's own: files and processes left to the end, and what its dependencies have deprecated.
    pytest.mark.filterwarnings("default"),
]
log = logging.getLogger("tests")


BATCH, EVERY = 24, 480
"""Images of a step, and between two checkpoints."""


class Nodes:
    """A head and a second node, each of one CPU and with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        head = {**self.one("a"), "include_dashboard": False, "include_log_monitor": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = {"b": self.add("b")}
        ray.init(address=self.cluster.address)

    def one(self, name: str) -> dict[str, Any]:
        return {"num_cpus": 1, "env_vars": {"XDG_CACHE_HOME": str(self.folder / name)}}

    def add(self, name: str) -> Any:
        node = self.cluster.add_node(wait=False, **self.one(name))
        self.cluster.wait_for_nodes(timeout=120)
        return node

    def kill(self, name: str) -> None:
        """As by a power cut: all processes of the node."""
        node = self.nodes.pop(name)
        for info in node.all_processes["raylet"]:
            raylet = psutil.Process(info.process.pid)
            for process in [raylet, *raylet.children(recursive=True)]:
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        found = Nodes(tmp_path_factory.mktemp("nodes"))
        yield found
        found.close()


def on_ray(folder: Path, name: str, **changes: Any) -> RunConfig:
    return tiny(folder, name, **{"launch__kind": "ray", "launch__workers": 2, **changes})


class Watched:
    """A run in a thread, and every row that it has shown."""

    def __init__(self, config: RunConfig) -> None:
        self.root = Path(run_root(config))
        self.checkpoints = prepare(config, "auto")
        self.outcome: Outcome | Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(config,), daemon=True)
        self.thread.start()

    def _run(self, config: RunConfig) -> None:
        try:
            self.outcome = launch(config, self.checkpoints)
        except Exception as error:  # for the test to see
            self.outcome = error

    def rows(self) -> list[dict[str, Any]]:
        file = self.root / "metrics.jsonl"
        return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []

    def newest(self) -> int:
        folder = self.root / "checkpoints"
        names = [path.name for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
        return max(map(int, names), default=0)

    def manifest(self, images_seen: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / f"checkpoints/{images_seen:08d}/manifest.json").read_bytes())
        return found

    def until(self, what: str, true: Callable[[], bool], within_s: float) -> float:
        """Wait until something is so; how long that took, in seconds."""
        start = time.monotonic()
        while not true():
            assert self.thread.is_alive(), self.outcome
            assert time.monotonic() - start < within_s, f"{what}: not within {within_s} s"
            time.sleep(0.1)
        log.info("%s: %.1f s", what, time.monotonic() - start)
        return time.monotonic() - start


@pytest.mark.timeout(1500)
def test_two_nodes_are_one_and_one_is_lost_and_comes_back(nodes: Nodes, tmp_path: Path) -> None:
    """Both train what two ranks of one machine do, bit for bit, from images that each decodes for itself. Only what
    came after the last checkpoint is done again, none of it for growth; and the weights at the end are the same."""
    data = make_set(tmp_path, 240, classes=10, channels=1)
    length = {
        "data__path": data.base,
        "train__batch": BATCH,
        "train__tick_kimg": BATCH / 1000,
        "train__checkpoint_kimg": EVERY / 1000,
        "train__keep": 1000,
        "track__tensorboard": False,
    }
    config = on_ray(
        tmp_path, "lost", **length, **slow_loss(tmp_path, 0.15), train__total_kimg=10_000, launch__workers=[1, 2],
        launch__resize_s=5,
    )  # fmt: skip
    run = Watched(config)

    def attempts() -> int:
        return int(json.loads((run.root / "attempt.json").read_bytes())["attempt"])

    def between() -> bool:
        seen = run.rows()[-1]["images_seen"]
        return seen % EVERY in range(BATCH, EVERY // 2) and run.newest() == seen // EVERY * EVERY

    run.until("start", lambda: len(run.rows()) > 0 and run.newest() > 0, 240)
    assert run.rows()[-1]["world_size"] == 2
    run.until("between two checkpoints", between, 120)
    nodes.kill("b")
    safe, lost = run.newest(), run.rows()[-1]["images_seen"]
    run.until("lost: the survivor trains", lambda: run.rows()[-1]["world_size"] == 1, 240)
    assert attempts() == 2
    (resumed, *_) = (row["images_seen"] - BATCH for row in run.rows() if row["world_size"] == 1)
    log.info("lost: %d images of at most %d between checkpoints done again", lost - resumed, EVERY)
    assert run.manifest(resumed)["world_size"] == 2
    assert resumed == safe, "what came after the last checkpoint is done again, and no more"
    assert 0 < lost - resumed < EVERY
    a, b = ([*(nodes.folder / name).glob("gandist/decoded/*/rows")] for name in ("a", "b"))
    assert len(a) == len(b) == 1
    assert a[0].read_bytes() == b[0].read_bytes()

    nodes.nodes["b"] = nodes.add("b")
    most = 0

    def grown() -> bool:
        nonlocal most
        rows = run.rows()
        most = max([most, *(row["images_seen"] for row in rows if row["world_size"] == 1)])
        return bool(rows[-1]["world_size"] == 2) and len(rows) > most // BATCH

    run.until("returned: both train", grown, 240)
    assert attempts() == 3
    assert run.manifest(most)["world_size"] == 1, "a last checkpoint was made for the change, and nothing came after"
    log.info("returned: 0 images done again")
    attempt.ask_to_stop(Storage(str(run.root)))
    run.thread.join(60)
    assert isinstance(run.outcome, Outcome), run.outcome
    assert run.outcome.status == "stopped"

    seen = run.outcome.images_seen
    few_rows = {"train__tick_kimg": EVERY / 1000, "train__checkpoint_kimg": 1000}
    one = tiny(tmp_path, "one", **{**length, **few_rows}, train__total_kimg=safe / 1000)
    train_all(2, [one], tmp_path)
    assert digests(run.root / f"checkpoints/{safe:08d}") == final_digests(one)[1]
    alone = tiny(tmp_path, "alone", **{**length, **few_rows}, train__total_kimg=seen / 1000)
    train_all(1, [alone], tmp_path)
    ours, theirs = final_tensors(config), final_tensors(alone)
    apart = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs if ours[name].numel())
    log.info("%d steps; largest difference of the weights %.1e", seen // BATCH, apart)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6, msg=name)
