"""Whether two checkouts train the same, bit for bit: what a change of form alone has to show.

    python -m tests.helpers.equal OLD NEW FOLDER [CASE ...]

OLD and NEW are checkouts, each with its .venv; the runs are left in FOLDER.
Each case trains 30 steps in both. Compared are the tensors of all checkpoints, the grids of samples, and the rows of
`metrics.jsonl` without what is measured in time or memory.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

STEPS, BATCH = 30, 16
COMMON = [
    "launch.threads=1", "precision=fp32", f"train.batch={BATCH}", f"train.total_kimg={STEPS * BATCH / 1000}",
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
    "two workers of Ray": "demo launch.workers=2 launch.kind=ray",
}
"""Name -> configuration and overrides; local unless they say otherwise."""
MEASURED = ("_s", "time", "mem", "rss", "wait")
"""Parts of the keys of rows that differ from run to run."""


def trained(checkout: Path, arguments: list[str], folder: Path) -> str:
    """What a run of this checkout came to, in two words; or why it failed."""
    kind = [] if any(each.startswith("launch.kind=") for each in arguments) else ["launch.kind=local"]
    command = [str(checkout / ".venv/bin/python"), "-m", "gandist.train", *arguments, *kind, *COMMON]
    command += [f"run.dir={folder.parent}", f"run.name={folder.name}"]
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if ran.returncode:
        return f"failed: {ran.stderr.strip().splitlines()[-1:]}"
    files = sorted([*folder.glob("checkpoints/*/*.safetensors"), *folder.glob("samples/*.png")])
    state = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if not any(part in k for part in MEASURED)} for row in rows]
    return f"{state[:16]} {hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]}"


def main(old: str, new: str, folder: str, *cases: str) -> int:
    """Print a line for each of these cases, by default all; how many differ or fail."""
    different = 0
    for number, (name, arguments) in enumerate(CASES.items()):
        if cases and name not in cases:
            continue
        a, b = (
            trained(Path(checkout), arguments.split(), Path(folder).absolute() / which / f"case-{number}")
            for which, checkout in (("old", old), ("new", new))
        )
        same = a == b and not a.startswith("failed")
        different += not same
        print(f"{name:20} {a if same else f'DIFFERENT: {a} | {b}'}", flush=True)
    return different


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
