"""From the command to the end of the first step, for a new run and for a resumed one, each in its own process.

The end of a step is the time in its row: `train.tick_kimg` is one step. The data is packed and decoded beforehand,
and files are in the page cache; nothing else is warm. A second kind of process performs the same parts one after the
other and measures each.
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
import gandist.train.course
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
"""Takes a configuration's file and the start time; prints seconds by part."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="starts for a median (default: %(default)s)"
    )
    parser.add_argument("--ray", action="store_true", help="also start with launch.kind=ray, if Ray is installed")


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """A record for each kind of launch. It ignores `--seconds`: a start takes its own time."""
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
    """Start a run that ends after `steps` steps in total; return the seconds until the last step was done.

    Raises:
        RunError: the run failed.
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
    """Run a Python process and return its output.

    Raises:
        RunError: the process failed.
    """
    # The process finds modules where this process found them, from any working directory.
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"bench: {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
