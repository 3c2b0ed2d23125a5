"""The package by itself: built as a wheel, installed into an environment of its own, run far from the checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output and error of a command that must succeed."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # The build backend is of this environment: nothing is fetched.
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
    ]
    run(*build, str(ROOT), cwd=folder)
    (wheel,) = folder.glob("gandist-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and this one's packages for its dependencies."""
    venv = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    (site,) = venv.glob("lib/python*/site-packages")
    # A folder named in a .pth comes last, and its own .pth files (the checkout's among them) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=site)
    return python.parent


def test_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    data = "gandist/assets/fashion-10k"
    assert "gandist/assets/classifier.safetensors" in names
    assert {"gandist/configs/demo.yaml", f"{data}/t10k-images-idx3-ubyte.xz", f"{data}/LICENSE"} <= set(names)
    assert {f"gandist/assets/words/{name}" for name in ("words.txt.xz", "LICENSE", "SHA256SUMS")} <= set(names)
    assert {f"gandist/schemas/{kind}.schema.json" for kind in ("run", "sweep", "comparison")} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"gandist", f"gandist-{wheel.name.split('-')[1]}.dist-info"}
    assert wheel.stat().st_size < 6e6


def test_imports_itself(installed: Path) -> None:
    where = run(installed / "python", "-c", "import gandist; print(gandist.__file__)", cwd=installed)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_trains_the_demo(installed: Path, tmp_path: Path) -> None:
    overrides = ["launch.kind=local", "train.total_kimg=0.2"]
    run(installed / "gandist", "train", *overrides, cwd=tmp_path)
    assert (tmp_path / "runs/demo/checkpoints/00000256/manifest.json").exists()
    assert (tmp_path / "runs/demo/samples/00000256.png").exists()
