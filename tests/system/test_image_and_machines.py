"""The container image's recipe and the files of `ray up`: checked by their own tools, and against pyproject.toml."""

import copy
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.helpers.checkout_copy import ROOT

CLUSTER = ROOT / "cluster"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = f"gandist/gandist:{PROJECT['version']}"
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()


def lint(*command: str) -> str:
    """What a linter of this environment has against a file."""
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=CLUSTER, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout


def test_dockerfile() -> None:
    assert lint("hadolint", "Dockerfile") == ""
    assert f"-t {IMAGE} " in DOCKERFILE
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    stages = DOCKERFILE.split("\nFROM ")
    assert [stage.splitlines()[0] for stage in stages[1:]] == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    assert "\nUSER 1000:1000\n" in stages[-1]


def test_the_driver_is_found_on_gke() -> None:
    """GKE mounts it where a slim image's linker doesn't look."""
    final = DOCKERFILE.split("\nFROM ")[-1].replace("\\\n", " ")
    (folders,) = re.findall(r"^ENV .*\bLD_LIBRARY_PATH=(\S+)", final, re.MULTILINE)
    assert "/usr/local/nvidia/lib64" in folders.split(":")


def test_the_document_knows_what_is_in_the_image() -> None:
    (installed,) = re.findall(r"--no-install-recommends ([^\\]+) \\", DOCKERFILE)
    assert {"gcc", "wget"} <= set(installed.split())
    text = (ROOT / "docs/cluster.md").read_text()
    assert "no compiler" not in text
    assert "gcc, for Triton" in " ".join(text.split())


def test_hadolint_would_complain(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("# hadolint ignore=DL3008\n", ""))
    assert "DL3008" in lint("hadolint", str(tmp_path / "Dockerfile"))


def test_what_the_image_installs(tmp_path: Path) -> None:
    """The Dockerfile's own line of Python, run as it is there: the project's dependencies, and the extras'."""
    (script,) = re.findall(r"bin/python -c '(.*?)'", DOCKERFILE.replace("\\\n", "\n"), re.DOTALL)
    command = [sys.executable, "-c", script, "text,video", "boto3"]
    named = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    extras = PROJECT["optional-dependencies"]
    assert named == [*PROJECT["dependencies"], *extras["text"], *extras["video"], "boto3"]
    (default,) = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert set(default.split(",")) <= extras.keys()
    # What the autoscaler needs is pinned by the constraints, or there.
    (launchers,) = re.findall(r'^ARG LAUNCHERS="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert all("==" in name or name in PINS for name in launchers.split())


def test_the_context_has_what_is_copied() -> None:
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    admitted = re.findall(r"^!(.*)$", (CLUSTER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert copied == set(admitted)
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_the_constraints_ray() -> None:
    """Head and workers run one image, and the machine that calls `ray up` the same Ray."""
    import ray

    assert ray.__version__ == PINS["ray"]


@pytest.fixture(params=["aws", "gcp"])
def launcher(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / f"{request.param}.yaml").read_text())
    return loaded


def test_machines(launcher: dict[str, Any]) -> None:
    """Ray's own reading of the file, with its defaults filled in and its schema."""
    config = prepare_config(copy.deepcopy(launcher))
    validate_config(config)
    assert config["docker"]["image"] == IMAGE
    head, gpu = (config["available_node_types"][name] for name in ("head", "gpu"))
    assert head["resources"]["CPU"] == 0
    assert gpu["max_workers"] == config["max_workers"]
    # Not Ray's defaults, which install another Ray.
    for where in ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert config[where] == []
    assert "/home/gandist/.ray/auth_token" in config["file_mounts"]
    assert "RAY_AUTH_MODE=token" in DOCKERFILE
    starts = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert all("--metrics-export-port=8080" in start for start in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("key", ["head_node_typ", "docker.imag"])
def test_a_mistyped_key_is_refused(launcher: dict[str, Any], key: str) -> None:
    section, _, name = key.rpartition(".")
    (launcher[section] if section else launcher)[name] = "?"
    with pytest.raises(Exception, match="Additional properties are not allowed"):
        validate_config(prepare_config(launcher))


def test_machines_on_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray makes key, security group and both kinds of machine, on an AWS of moto's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with mock_aws():
        iam = boto3.client("iam")
        for name in ("gandist-worker", "ray-autoscaler-v1"):  # Ray would wait 15 s for the second one
            iam.create_instance_profile(InstanceProfileName=name)
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        config = prepare_config(yaml.safe_load((CLUSTER / "aws.yaml").read_text()))
        config = bootstrap_aws(config)
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for name, kind in config["available_node_types"].items():
            provider.create_node(kind["node_config"], {"ray-node-type": name}, 1)
        ec2 = boto3.client("ec2")
        machines = [each for one in ec2.describe_instances()["Reservations"] for each in one["Instances"]]
        assert {each["InstanceType"]: each.get("InstanceLifecycle") for each in machines} == {
            "m7i.large": None,
            "g6.2xlarge": "spot",
        }
        named = [{"Name": "group-name", "Values": ["gandist"]}]
        (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
        rules = group["IpPermissions"]
        open_to = {rule.get("FromPort"): [each["CidrIp"] for each in rule["IpRanges"]] for rule in rules}
        assert open_to[9464] == open_to[8080] == ["172.31.0.0/16"]
        # All the world reaches ssh alone.
        assert [port for port, ranges in open_to.items() if "0.0.0.0/0" in ranges] == [22]
