"""Whether two checkouts train the same, bit for bit: what a change of form alone has to show.

    python -m tests.helpers.equal OLD NEW FOLDER [CASE ...]

OLD and NEW are checkouts, each with its .venv, or commits of this one, which are laid out in FOLDER with this one's
.venv: `python -m tests.helpers.equal HEAD . /tmp/equal "dcgan, rp, r1, r2"`. The runs are left in FOLDER.
Each case trains 30 steps in both. Compared are the tensors of all checkpoints, the grids of samples, and the rows of
`metrics.jsonl` without what is measured in time or memory.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.checkout_copy import ROOT

STEPS, BATCH = 30, 16
COMMON = [
    "launch.kind=local", "launch.threads=1", "precision=fp32", f"train.batch={BATCH}",
    f"train.total_kimg={STEPS * BATCH / 1000}",
    f"train.tick_kimg={STEPS * BATCH / 2000}", f"train.sample_kimg={STEPS * BATCH / 1000}",
    f"train.checkpoint_kimg={STEPS * BATCH / 1000}", f"eval.every_kimg={STEPS * BATCH / 1000}", "eval.n=64",
]  # fmt: skip
CASES = {
    "dcgan, rp, r1, r2": "demo",
    "ada": "demo augment.kind=ada augment.p=0.3",
    "diffaugment": "demo augment.kind=diffaugment",
    "accumulation": "demo train.accumulate=2",
    "mlp, minimax": "configs/gan.yaml",
    "least squares": "configs/lsgan.yaml",
    "clipping": "configs/wgan.yaml",
    "gradient penalty": "configs/wgan-gp.yaml",
    "dragan": "configs/dragan.yaml",
    "classes": "configs/cgan.yaml",
    "sngan, hinge": "configs/hinge-sngan.yaml",
    "r3gan": "configs/r3gan.yaml",
    "vae": "configs/vae.yaml",
    "stackgan, stage 1": "demo model.name=stackgan-1 model.classes=10 "
    "game.penalties.mismatch.weight=1 game.penalties.kl.weight=0.01",
    "stackgan, stage 2": "demo model.name=stackgan-2 model.classes=10 model.resolution=64 "
    "game.penalties.mismatch.weight=1 game.penalties.kl.weight=0.01 "
    "model.stage_1=STAGE_1 model.stage_1_resolution=32",
    "fp16": "demo precision=fp16",
    "two workers of Ray": "demo launch.workers=2 launch.kind=ray",
}
"""Name -> configuration and overrides; local unless they say otherwise. STAGE_1 is where this case's run lies:"""
FIRST = "stackgan, stage 1"
MEASURED = ("_s", "time", "mem", "rss", "wait")
"""Parts of the keys of rows that differ from run to run."""


def checkout_of(name: str, folder: Path) -> Path:
    """A checkout by its folder; or a commit of this one, laid out in `folder`."""
    if Path(name).is_dir():
        return Path(name).absolute()
    laid_out = folder / f"checkout-{name.replace('/', '-')}"
    laid_out.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(laid_out)], input=archive, check=True)
    (laid_out / ".venv").symlink_to(ROOT / ".venv")
    return laid_out


def trained(checkout: Path, arguments: list[str], folder: Path) -> str:
    """What a run of this checkout came to, in two words; or why it failed."""
    command = [str(checkout / ".venv/bin/python"), "-m", "gandist.train", arguments[0], *COMMON, *arguments[1:]]
    command += [f"run.dir={folder.parent}", f"run.name={folder.name}"]
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if ran.returncode:
        return f"failed: {ran.stderr.strip().splitlines()[-1:]}"
    files = sorted([*folder.glob("checkpoints/*/*.safetensors"), *folder.glob("samples/*.png")])
    state = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if not any(part in k for part in MEASURED)} for row in rows]
    return f"{state[:16]} {hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]}"


def run_of(name: str, runs: Path, which: str) -> Path:
    """Where the run of a case lies."""
    return runs / which / f"case-{list(CASES).index(name)}"


def main(old: str, new: str, folder: str, *cases: str) -> int:
    """Print a line for each of these cases, by default all; how many differ or fail."""
    different, runs = 0, Path(folder).absolute()
    checkouts = {"old": checkout_of(old, runs), "new": checkout_of(new, runs)}
    asked = [name for name in CASES if not cases or name in cases or (name == FIRST and "stackgan, stage 2" in cases)]
    for name in asked:
        a, b = (
            trained(
                checkout,
                CASES[name].replace("STAGE_1", str(run_of(FIRST, runs, which))).split(),
                run_of(name, runs, which),
            )
            for which, checkout in checkouts.items()
        )
        same = a == b and not a.startswith("failed")
        different += not same
        print(f"{name:20} {a if same else f'DIFFERENT: {a} | {b}'}", flush=True)
    return different


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
