"""Several configurations trained one after the other by the same ranks: starting them once keeps tests fast."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from gandist.config.run import RunConfig, validate
from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.forked import on_ranks

TINY: dict[str, Any] = {
    "model": {"width": 4, "classes": 10, "z_dim": 8, "norm": "none"},
    "data": {"channels": 1},
    "optim": {"lr_G": 1e-3, "lr_D": 1e-3},
    "train": {"batch": 12, "total_kimg": 0.12, "tick_kimg": 0.06, "sample_kimg": 1, "checkpoint_kimg": 0.06},
    "launch": {"kind": "local", "threads": 1},
    "telemetry": {"enabled": False},
    "precision": "fp64",
}
"""Ten steps of a small pair without BatchNorm, in float64."""


def tiny(folder: Path, name: str, **changes: Any) -> RunConfig:
    """TINY under another name, with changes written `section__key=value`."""
    tree = json.loads(json.dumps(TINY))
    tree["run"] = {"name": name, "dir": str(folder)}
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            tree.setdefault(section, {})[field] = value
        else:
            tree[section] = value
    return validate(tree)


def train_all(world_size: int, configs: Sequence[RunConfig], folder: Path) -> None:
    """Train the configurations with so many ranks, to their ends."""
    on_ranks(world_size, folder, train_each, [config.resolved() for config in configs])


def train_each(trees: Sequence[dict[str, Any]]) -> None:
    """Train resolved configurations, as a rank that has joined the others."""
    for tree in trees:
        config = validate(tree)
        outcome = train(config, Checkpoints(Storage(run_root(config))), Host())
        assert outcome.status == "done", outcome


def newest(config: RunConfig) -> Path:
    """The newest checkpoint."""
    return sorted((Path(run_root(config)) / "checkpoints").iterdir())[-1]


def final_manifest(config: RunConfig) -> dict[str, Any]:
    """The manifest of the newest checkpoint."""
    return dict(json.loads((newest(config) / "manifest.json").read_text()))


def final_tensors(config: RunConfig) -> dict[str, Tensor]:
    """Every tensor of the newest checkpoint, by file and name."""
    return {
        f"{file.stem}/{name}": tensor
        for file in sorted(newest(config).glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def final_digests(config: RunConfig) -> tuple[str, dict[str, str]]:
    """Name of the newest checkpoint, and the sha256 of its files of tensors."""
    folder = newest(config)
    return folder.name, digests(folder)


def digests(checkpoint: Path) -> dict[str, str]:
    """The sha256 of a checkpoint's files of tensors."""
    files = json.loads((checkpoint / "manifest.json").read_text())["files"]
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
