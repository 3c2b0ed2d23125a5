"""A copy of the checkout as a user has it, and the commands that its README tells them to type."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_checkout(folder: Path) -> Path:
    """What git would commit, in `folder`, with a `.venv` as `make` leaves it: this environment's packages."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    # The working directory comes before it on Python's path, so that the copy's gandist is the one that runs.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for name in ("installed", "installed-dev"):
        (venv / name).touch()
    return folder


def environment(checkout: Path, home: Path) -> dict[str, str]:
    """The environment of a shell in `checkout` with `.venv` active, and neither the user's files nor their Ray."""
    dropped = ("RAY_", "AWS_", "PYTHONPATH", "VIRTUAL_ENV", "CI")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    path = f"{checkout / '.venv/bin'}:{sysconfig.get_path('scripts')}:{env['PATH']}"
    return {**env, "PATH": path, "HOME": str(home), "RAY_TMPDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0"}


def readme_commands(page: str = "README.md") -> list[str]:
    """The commands of the bash blocks of the README, or of another page: a line each, or several that end in a
    backslash."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip() and not line.startswith("#")]
