"""The doctor finds this machine sound, and each fault that is provoked here for real."""

import json
import os
import resource
import socket
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gandist.config.sections import Tree
from gandist.doctor import checks, folders, machine, main, software
from gandist.doctor.checks import CHECKS, examine, settings
from gandist.doctor.finding import Finding, ProbeError, asked
from tests.helpers.checkout_copy import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCAL = ["launch.kind=local"]


def only(found: Iterator[Finding] | list[Finding], what: str) -> Finding:
    (one,) = [each for each in found if each.what == what]
    return one


@pytest.mark.nightly
def test_this_machine_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", f"run.dir={tmp_path}", "--json"]) == 0
    found = [Finding(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    named = {each.what for each in found}
    assert {"python", "torch", "memory", "triton", "ray", "cache", "run.dir", "clock", "open files"} <= named
    assert {"shared memory", "loopback", "metrics", "proxies", *(f"[{name}]" for name in software.EXTRAS)} <= named
    assert only(found, "run.dir").says.startswith(f"{tmp_path}: ")
    assert [each.what for each in found if each.state != "ok" and not each.fix] == []
    assert [*tmp_path.iterdir()] == []


def test_knows_what_the_project_asks_for() -> None:
    assert {*software.EXTRAS} == {*PROJECT["optional-dependencies"]} - {"dev", "docs"}
    assert f"torch>={'.'.join(map(str, software.TORCH))}" in PROJECT["dependencies"]


def test_an_unreadable_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "train.batch=many"]) == 2
    assert "demo.yaml: train.batch: " in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    found = only(folders.cache(Tree()), "cache")
    assert found.state == "wrong"
    assert found.says.startswith("/proc/nowhere/gandist (to be made) cannot be written to: ")
    assert "XDG_CACHE_HOME" in found.fix


def test_a_folder_of_runs_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    (found,) = folders.runs(settings("demo", [f"run.dir={tmp_path}/runs/all"]))
    assert (found.state, found.what) == ("wrong", "run.dir")


def test_few_open_files() -> None:
    """In a process of its own, whose limit cannot be raised again."""
    code = (
        "import json, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); "
        "from gandist.doctor import machine; from gandist.doctor.checks import settings; "
        "print(json.dumps([next(machine.open_files(settings('demo', [f'launch.kind={kind}']))) "
        "for kind in ('ray', 'local')]))"
    )
    on_ray, local = asked(code)
    assert on_ray[:3] == ["wrong", "open files", "at most 128 in a process: a local Ray stalls with so few"]
    assert local[0] == "ok"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 128


@pytest.mark.parametrize(
    ("module", "check", "what", "override"),
    [
        ("torch", software.of_torch, "torch", "launch.kind=local"),
        ("soundfile", software.extras, "[audio]", "data.medium=audio"),
        ("ray", software.ray, "ray", "launch.kind=ray"),
    ],
)
def test_a_package_that_does_not_work(
    module: str, check: checks.Check, what: str, override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of that name comes first, and fails as a broken installation does."""
    (tmp_path / f"{module}.py").write_text("raise ImportError('libbroken.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    found = only(check(settings("demo", [override])), what)
    assert found.state == "wrong"
    assert "libbroken.so: cannot open shared object file" in found.says
    assert "pip install" in found.fix


def test_a_ray_that_is_not_used_may_be_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert only(software.ray(settings("demo", LOCAL)), "ray").state == "note"


def test_metrics_whose_port_is_taken_or_whose_address_is_elsewhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        found = only(machine.metrics(settings("demo", [f"telemetry.port={held.getsockname()[1]}"])), "metrics")
    assert (found.state, "is taken" in found.says) == ("note", True)
    found = only(machine.metrics(settings("demo", ["telemetry.host=192.0.2.1"])), "metrics")
    assert (found.state, "is no address of this machine" in found.says) == ("wrong", True)


def test_a_proxy_for_this_machine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    found = only(machine.proxies(Tree()), "proxies")
    assert (found.state, found.fix) == ("note", "export NO_PROXY=127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert only(machine.proxies(Tree()), "proxies").state == "ok"


def test_a_check_that_hangs_is_wrong_and_one_that_fails_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(config: Tree) -> Iterator[Finding]:
        time.sleep(60)
        yield Finding("ok", "slow", "")

    def fails(config: Tree) -> Iterator[Finding]:
        raise ValueError("odd")
        yield

    monkeypatch.setattr(checks, "CHECKS", {"python": CHECKS["python"], "slow": hangs, "odd": fails})
    start = time.monotonic()
    found = examine(Tree(), limit_s=0.5)
    assert time.monotonic() - start < 10
    assert [(each.state, each.what) for each in found] == [("ok", "python"), ("wrong", "slow"), ("note", "odd")]


def test_a_probe_that_crashes_is_told() -> None:
    with pytest.raises(ProbeError, match="ended by signal 9"):
        asked("import os; os.kill(os.getpid(), 9)")


def test_a_fault_ends_the_command_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checks, "CHECKS", {name: CHECKS[name] for name in ("python", "run.dir")})
    assert main([*LOCAL, "run.dir=/proc/nowhere"]) == 1
    assert "\nwrong  run.dir" in capsys.readouterr().out
