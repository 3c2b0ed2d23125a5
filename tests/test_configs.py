"""Every shipped configuration: the commands at its head work, and it trains."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gandist.config import load
from gandist.schedule import images_of
from tests.checkout import ROOT

CONFIGS = sorted(ROOT.glob("configs/*.yaml"))
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def head(config: Path) -> str:
    """The comment that a configuration opens with."""
    found = re.match(r"(#.*\n)+", config.read_text())
    assert found, f"{config.name} does not open with its command, duration and what was seen"
    return found[0]


def commands(config: Path) -> list[list[str]]:
    """The indented commands of that comment."""
    return [line.split() for line in re.findall(r"^#   python (-m gandist\.\S+.*?)(?:\s\s.*)?$", head(config), re.M)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_head(config: Path) -> None:
    assert any(command[1] == "gandist.train" for command in commands(config))
    assert re.search(r"(\d+|two|three) (minutes|hours)", head(config)), "its duration"


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_two_steps(config: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(config.parent)
    plan = load(str(config))
    two_steps_kimg = 2 * plan.train.batch * plan.game.n_critic / 1000
    for command in commands(config):
        if str(DEBIAN) in " ".join(command) and not DEBIAN.exists():
            pytest.skip("Debian's dataset-fashion-mnist is not installed")
        if command[1] == "gandist.train":
            command += ["launch.kind=local", f"train.total_kimg={two_steps_kimg}"]
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout
    images = images_of(two_steps_kimg)
    assert (tmp_path / "runs" / plan.run.name / "checkpoints" / f"{images:08d}").is_dir()
    assert (tmp_path / "runs" / plan.run.name / "samples" / f"{images:08d}.png").is_file()
