"""From the command to the first step's end, of a new run and of one that goes on, each a process of its own.

A step's end is the time in the row that it leaves: `train.tick_kimg` is one step. The data is packed and decoded
beforehand, and files are in the page cache; nothing else is warm. What the time goes into is told by a second kind of
process, that does the same parts one after the other and notes the time between them.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gandist.bench.measure import Case, Measurement, changed, use_threads
from gandist.config.run import DEMO, RunConfig
from gandist.data import dataset
from gandist.distributed.ranks import pick_device
from gandist.errors import RunError
from gandist.run.progress import METRICS_FILE, decode

DEFAULT = (DEMO,)
COLUMNS = ("config", "launch", "device", "threads", "first_step_s", "resume_s", "parts")

PARTS = """
import json, sys, time
marks = {"interpreter": time.time() - float(sys.argv[2])}
def mark(name):
    marks[name] = time.time() - float(sys.argv[2]) - sum(marks.values())
import torch
mark("import torch")
import gandist.train
mark("import gandist")
from gandist.bench.measure import use_threads
from gandist.bench.static import Static
mark("bench")
from gandist.data import dataset
from gandist.config.run import load
from gandist.distributed.ranks import join
config = load(sys.argv[1])
ranks = join(config.device)
use_threads(config)
torch.zeros(1, device=ranks.device)
mark("configuration, device")
images = dataset.open_set(config, dataset.open_index(config))
mark("data")
world = Static(config, ranks)
mark("networks")
world()
torch.zeros(1, device=ranks.device).item()
mark("first step")
del marks["bench"]
print(json.dumps(marks))
"""
"""Takes a configuration's file and the time at which it was started; prints seconds by part."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="starts that the median is of (default: %(default)s)")
    parser.add_argument("--ray", action="store_true", help="launch.kind: ray besides, where Ray is installed")


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """A record for each kind of launch. `--seconds` is of no account: a start takes what it takes."""
    config, threads = case.config, use_threads(case.config)
    dataset.open_set(config, dataset.open_index(config))
    kinds = ["local"]
    if options.ray and importlib.util.find_spec("ray") is not None:
        kinds.append("ray")
    parts: dict[str, float] = {}
    for kind in kinds:
        firsts, resumes = [], []
        with tempfile.TemporaryDirectory(prefix="gandist-bench-") as folder:
            if not parts:
                parts = _parts(config, Path(folder), options.repeats)
            for number in range(options.repeats):
                name = f"start-{number}"
                firsts.append(seconds(config, Path(folder), name, kind, steps=1))
                resumes.append(seconds(config, Path(folder), name, kind, steps=2))
        first_s = float(np.median(firsts))
        named = dict(sorted(parts.items(), key=lambda part: -part[1]))
        rest = "outputs, first grid" if kind == "local" else "Ray, outputs, first grid"
        yield case.record(
            "start",
            device=pick_device(config.device).type,
            warmup_s=first_s,
            launch=kind,
            first_step_s=first_s,
            resume_s=float(np.median(resumes)),
            parts={**named, rest: max(0.0, first_s - sum(parts.values()))},
            threads=threads,
        )


def seconds(config: RunConfig, folder: Path, name: str, kind: str, steps: int) -> float:
    """Start a run that ends after so many steps in all; seconds until the last of them was done.

    Raises:
        RunError: it failed.
    """
    images = config.train.batch * config.game.n_critic
    changes: dict[str, Any] = {"run.dir": str(folder), "run.name": name, "launch.kind": kind, "eval.every_kimg": None}
    changes |= {"train.tick_kimg": images / 1000, "train.total_kimg": steps * images / 1000}
    file = _write(changed(config, changes), folder)
    start = time.time()
    _run(["-m", "gandist.train", str(file)])
    rows = decode((folder / name / METRICS_FILE).read_bytes())
    if len(rows) != steps:
        raise RunError(f"bench: the run left {len(rows)} rows, not {steps}")
    return float(rows[-1]["time_s"]) - start


def _parts(config: RunConfig, folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds by part."""
    file = _write(config, folder)
    found = [json.loads(_run(["-c", PARTS, str(file), str(time.time())])) for _ in range(repeats)]
    return {part: float(np.median([each[part] for each in found])) for part in found[0]}


def _write(config: RunConfig, folder: Path) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.resolved(), sort_keys=False))
    return file


def _run(arguments: list[str]) -> str:
    """What a Python process prints.

    Raises:
        RunError: it failed.
    """
    # Modules are found where this one was, from whatever folder the benchmark is started.
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"bench: {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
