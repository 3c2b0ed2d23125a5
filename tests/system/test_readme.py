"""The commands of the README and of two pages beside it, each as it is written, in a copy of the checkout."""

import contextlib
import importlib
import io
import math
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from gandist.data.builtin import builtin
from gandist.launch.ray_output import HARMLESS
from tests.helpers.checkout_copy import ROOT, commands_of, copy_checkout, environment

NOT_HERE = {
    "ray get-auth-token --generate": "tests/system/test_ray_job.py runs it",
    "RAY_AUTH_MODE=token ray start --head": "needs a cluster; tests/system/test_ray_job.py starts one on free ports",
    "RAY_AUTH_MODE=token ray job submit --working-dir . -- python -m gandist.train configs/demo.yaml "
    "run.dir=/shared/runs": "needs a cluster; tests/system/test_ray_job.py runs it",
    "kubectl apply -f k8s/setup/ -f k8s/": "needs Kubernetes; tests/system/test_manifests.py checks what it applies",
}
"""Commands that this test leaves out, and why."""
PAGES = ("README.md", "docs/train.md", "docs/images.md")
WRITTEN = list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))
COMMANDS = [command for command in WRITTEN if command not in NOT_HERE]
KIMG, LONGER_KIMG = 0.2, 0.4
OF_OTHER_THINGS = ("run.name=photos", "run.name=mixed", "run.name=far", "run.name=wide")
"""Commands that show something else than Ray: they train without it, which takes a fraction of the time."""
IN_PROCESS = ("pack", "train", "sample", "evaluate", "report", "tune", "bench", "export")
"""Modules that this process, whose imports are made, runs as well as a new one, on a Ray that is there already. `make
demo` starts both anew."""


def test_what_is_left_out_is_there() -> None:
    assert NOT_HERE.keys() <= set(WRITTEN)


def test_links() -> None:
    """Files that README and the documents name are there."""
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


@pytest.fixture(scope="module")
def bucket(own_cache: Path) -> Iterator[dict[str, str]]:
    """The environment that reaches an object store with `my-bucket`, the demo's shards in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    store = pafs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        endpoint_override=f"{host}:{port}",
        scheme="http",
        allow_bucket_creation=True,
    )
    store.create_dir("my-bucket")
    shards = builtin("fashion-10k", own_cache)
    pafs.copy_files(shards, "my-bucket/shards", pafs.LocalFileSystem(), store)
    yield {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, and the folder of photographs that the README speaks of."""
    folder = copy_checkout(tmp_path_factory.mktemp("readme") / "gandist")
    pixels = np.random.default_rng(0).integers(0, 256, (36, 80, 60, 3), np.uint8)
    for i, image in enumerate(pixels):
        path = folder / "photos" / "abc"[i % 3] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture(scope="module")
def shell(checkout: Path, bucket: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment that the commands run in. Its home has a short name, for Ray keeps sockets there."""
    home = Path(tempfile.mkdtemp(prefix="gandist-"))
    yield {**environment(checkout, home), **bucket}
    shutil.rmtree(home, ignore_errors=True)


def in_process(command: str) -> bool:
    words = shlex.split(command)
    return words[:2] == ["python", "-m"] and words[2].removeprefix("gandist.") in IN_PROCESS


def run_here(command: str, checkout: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of a command's `main`, called in the checkout."""
    words, output = shlex.split(command), io.StringIO()
    main = importlib.import_module(words[2]).main
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.chdir(checkout),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        return main(words[3:]), output.getvalue()


def run_in_shell(command: str, checkout: Path, shell: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of a command as it is typed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=checkout,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=550,
    )
    return done.returncode, done.stdout


def shortened(command: str) -> str:
    """The command as written, with an override at its end that makes it a matter of seconds."""
    kimg = LONGER_KIMG if "total_kimg" in command else KIMG
    if "gandist.train" in command:
        local = " launch.kind=local" if any(name in command for name in OF_OTHER_THINGS) else ""
        return f"{command} train.total_kimg={kimg}{local}"
    if "gandist.tune" in command:
        return (
            f"{command} trials=2 concurrent=1 scheduler=none train.total_kimg={kimg} eval.every_kimg={kimg} eval.n=64"
        )
    if "gandist.bench" in command:
        return f"{command} --batch 8"
    return f"{command} ARGS=train.total_kimg={kimg}" if command == "make demo" else command


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("command", COMMANDS)
def test_command(
    command: str, checkout: Path, shell: dict[str, str], bucket: dict[str, str], request: pytest.FixtureRequest
) -> None:
    words = shortened(command)
    if in_process(words):
        if not any(word in words for word in ("--dry-run", "launch.kind=local")):
            request.getfixturevalue("ray_here")
        status, output = run_here(words, checkout, bucket)
    else:
        status, output = run_in_shell(words, checkout, shell)
    assert status == 0, output
    trains = "gandist.train" in command or command == "make demo"
    if not trains or "--dry-run" in command or "s3://" in command:
        return
    name = re.search(r"run\.name=(\S+)", command)
    checkpoints = checkout / "runs" / (name[1] if name else "demo") / "checkpoints"
    kimg = LONGER_KIMG if "total_kimg" in command else KIMG
    batch = 32 if "train.batch=32" in command else 64
    assert (checkpoints / f"{math.ceil(kimg * 1000 / batch) * batch:08d}").is_dir(), output
    assert os.fspath(checkpoints) in output
    if "torchrun" in command:  # has long lines of its own
        return
    assert max(map(len, output.splitlines())) <= 200
    if command == "make demo":  # what Ray says at each start: kept, not shown
        assert not HARMLESS.search(output)
        logs = [file.read_text() for file in checkpoints.parent.glob("logs/*")]
        assert any(map(HARMLESS.search, logs))
        assert not any("PreemptionWatcher" in text for text in logs), "a cluster of its own needs none"
