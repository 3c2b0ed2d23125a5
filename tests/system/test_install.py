"""`cluster/install.py`, which `make` installs with: uv and pip, on a project without dependencies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import install
from tests.helpers.checkout_copy import ROOT

PROJECT = """
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "tiny"
version = "1.0"
dependencies = ["editables"]

[project.optional-dependencies]
dev = ["pluggy"]
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs uv installs it."""
    return tmp_path_factory.mktemp("tools") / "tools"


@pytest.fixture
def project(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/__init__.py").touch()
    (tmp_path / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(install, "TOOLS", tools)
    return tmp_path


def listed(python: Path) -> set[str]:
    listing = [str(python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    found = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    return {name for name in found.split() if not name.startswith("pip==")}


@pytest.mark.slow
@pytest.mark.nightly  # `make` has installed by it what runs the tests
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_installs(tool: str, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    if tool == "pip":
        monkeypatch.setattr(install, "UV", "uv==0.0.0")  # is not to be had
        monkeypatch.setattr(install, "TOOLS", project / ".tools")
    python = project / ".venv/bin/python"
    assert install.main([]) == 0
    assert f"with {tool}\n" in capfd.readouterr().out
    assert (project / ".venv/installed").exists()
    assert not (project / ".venv/installed-dev").exists()
    pinned = {line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("editables==")}
    assert {"tiny==1.0"} | pinned <= {name.partition(" ")[0] for name in listed(python)}
    assert install.main(["dev"]) == 0
    assert (project / ".venv/installed-dev").exists()
    assert any(name.startswith("pluggy==") for name in listed(python))
    where = [str(python), "-c", "import tiny; print(tiny.__file__)"]
    assert Path(subprocess.check_output(where, text=True, cwd="/").strip()).is_relative_to(project)


@pytest.mark.slow
def test_what_failed_is_shown(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "pyproject.toml").write_text(PROJECT.replace("editables", "editables==0.0.0"))
    assert install.main([]) != 0
    assert "editables==0.0.0" in capfd.readouterr().err
    assert not (project / ".venv/installed").exists()


def test_uv_finds_packages_where_pip_does(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (project / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\ntimeout = 7\n"
        "extra-index-url =\n  https://one.example/simple\n  https://two.example/simple\n"
        "[install]\ntimeout = 8\n[list]\nfind-links = /elsewhere\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(project / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.setattr(install, "TOOLS", Path(sys.prefix))
    assert (
        install.uv_environment(install.pip_settings()).items()
        >= {
            "UV_DEFAULT_INDEX": "https://mirror.example/simple",
            "UV_INDEX": "https://one.example/simple https://two.example/simple",
            "UV_FIND_LINKS": "/wheels,/more",
            "UV_HTTP_TIMEOUT": "8",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_PYTHON_DOWNLOADS": "never",
        }.items()
    )


def test_large_downloads_and_stages_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    said = [
        "Resolved 71 packages in 851ms",
        "Collecting torch",
        "Downloading virtualenv (5.5MiB)",
        "Downloading ray (75.6MiB)",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (2.1 GB)",
        "  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)",
        f"Installing collected packages: {'a' * 500}",
        " + torch==2.13.0",
    ]
    assert install.show([sys.executable, "-c", f"print({chr(10).join(said)!r})"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert [said.index(next(each for each in said if each.strip()[:90] in line)) for line in shown] == [0, 3, 4, 6]
    assert max(map(len, shown)) < 120
    assert install.show([sys.executable, "-c", "print('why'); raise SystemExit(3)"]) == 3
    assert capfd.readouterr().err == "why\n"


def test_an_old_python_is_told(project: Path) -> None:
    code = (ROOT / "cluster/install.py").read_text()
    old = f"import sys; sys.version_info = (3, 10); sys.argv = ['install.py']; exec({code!r})"
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
    assert done.returncode == 1
    assert "gandist needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=python3.11 demo" in done.stderr
