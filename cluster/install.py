"""Installer behind `make`: puts gandist into `.venv`, with uv if available, else with pip, under constraints.txt.

    python3 cluster/install.py [EXTRA]     # EXTRA of pyproject.toml: `dev` has everything for the tests

It runs before anything is installed, so it needs Python alone. uv (from the package index, into `.tools`) takes a fifth
of pip's time and uses the package indexes that pip is configured for.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

VENV, TOOLS, CONSTRAINTS = Path(".venv"), Path(".tools"), "constraints.txt"
UV = "uv==0.13.9"
LARGE_MB = 10
"""Minimum size of a download in MB to be shown."""
STAGE = re.compile("(Resolved|Prepared|Installed|Uninstalled) [0-9]+ package|Installing collected packages")
"""Output lines of uv and pip that show progress."""
SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""pip's settings, and uv's environment variables of the same meaning."""
SOURCES = ("index-url", "extra-index-url", "find-links", "no-index")


def main(extras: Sequence[str]) -> int:
    """Install; returns the exit status of a failed command, or 0."""
    start = time.monotonic()
    project = f".[{','.join(extras)}]" if extras else "."
    uv = find_uv()
    print(f"installing {project} into {VENV} with {'uv' if uv else 'pip'}", flush=True)  # noqa: T201
    status = install_with_uv(uv, project) if uv else install_with_pip(project)
    if status == 0:
        for name in ("installed", *(f"installed-{extra}" for extra in extras)):
            (VENV / name).touch()
        print(f"installed in {time.monotonic() - start:.0f} s", flush=True)  # noqa: T201
    return status


def find_uv() -> str | None:
    """Path of the uv in `.tools`, which is installed if missing; None if it is unavailable."""
    uv = TOOLS / "bin" / "uv"
    if not uv.exists():
        shutil.rmtree(TOOLS, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", TOOLS]).returncode == 0
        pip = [str(TOOLS / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        if not made or subprocess.run([*pip, "--only-binary=:all:", UV], stderr=subprocess.DEVNULL).returncode:
            return None
    return str(uv)


def install_with_uv(uv: str, project: str) -> int:
    """Install `project`, editable, and pip for users who add packages to `.venv`."""
    settings = pip_settings()
    env = {**uv_environment(settings), **os.environ}
    if not (VENV / "bin/python").exists():
        made = subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV], env=env)
        if made.returncode:
            return made.returncode
    install = [uv, "pip", "install", "--python", str(VENV / "bin/python"), "--compile-bytecode"]
    install += ["--constraints", CONSTRAINTS, "--build-constraints", CONSTRAINTS, "pip", "--editable", project]
    follow_pip = any(name in settings for name in SOURCES) or "UV_TORCH_BACKEND" in env
    if not follow_pip and not has_gpu():
        # The index would offer torch for CUDA first, 5 GB with its libraries.
        if show([*install, "--torch-backend", "cpu"], env) == 0:
            return 0
        print("torch's CPU packages cannot be had: installing the ones for CUDA (5 GB)", flush=True)  # noqa: T201
    return show(install, env)


def install_with_pip(project: str) -> int:
    """Install with pip alone: the build backend comes first and without isolation, so that its version follows
    constraints.txt too."""
    python = VENV / "bin/python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV])
        if made.returncode:
            return made.returncode
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", "-c", CONSTRAINTS]
    return show([*pip, "hatchling", "editables"]) or show([*pip, "--no-build-isolation", "--editable", project])


def pip_settings() -> dict[str, str]:
    """pip's settings from its files and its environment variables, which take precedence."""
    listing = [str(TOOLS / "bin/python"), "-m", "pip", "config", "list"]
    lines = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for section, name, value in re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", "\n".join(lines), re.M):
        found[section][name] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Environment variables that make uv follow these pip settings."""
    env = {SETTINGS[name]: " ".join(value.split()) for name, value in settings.items() if name in SETTINGS}
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = env["UV_FIND_LINKS"].replace(" ", ",")
    # As in pip: the best version of all indexes, not of the first index that has the package.
    return env | {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never"}


def has_gpu() -> bool:
    """Whether NVIDIA's driver responds."""
    program = shutil.which("nvidia-smi")
    return program is not None and subprocess.run([program, "-L"], capture_output=True).returncode == 0


def show(command: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Run an installer and show only its stages and large downloads; show all output if it fails."""
    said: list[str] = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            size = re.match(r" *Downloading .*\(([\d.]+) ?([MG])i?B\)", line)
            large = size and float(size[1]) * (1000 if size[2] == "G" else 1) >= LARGE_MB
            if large or STAGE.match(line):
                print(f"  {line.strip()[:100]}", flush=True)  # noqa: T201
    if process.returncode:
        print("".join(said), end="", file=sys.stderr)  # noqa: T201
    return process.returncode


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # any Python version may run this file
        sys.exit(f"gandist needs Python 3.11 or newer, not {sys.version.split()[0]}: make PYTHON=python3.11 demo")
    sys.exit(main(sys.argv[1:]))
