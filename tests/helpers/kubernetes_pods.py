"""The pods that a RayJob becomes, with what the operator adds to them, and whether each is locked down and fits."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gandist.config.run import RunConfig, load
from gandist.errors import GandistError
from gandist.storage.remote import is_remote
from gandist.tune.sweep import read, sweep_root
from tests.helpers.checkout_copy import ROOT
from tests.helpers.kubernetes_manifests import Manifest

IMAGE = f"gandist/gandist:{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}"
USER = 1000
GPU = "nvidia.com/gpu"
GRACE_S = 90
"""What preStop may take of a pod's grace period, waiting for the last checkpoint."""
OPERATOR_S_PORTS = {"metrics": 8080}
LOST_S = 30
"""How long a pod without which nothing goes on may stay on a lost machine. Kubernetes gives it 300 s, after which the
operator has given the job up."""
LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True)
class Pod:
    """A kind of pod of a RayJob: head, a group of workers, or the submitter."""

    job: Manifest
    role: str
    template: dict[str, Any]
    replicas: int = 1

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.template["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        container: dict[str, Any] = self.spec["containers"][0]
        return container

    @property
    def is_ray(self) -> bool:
        return self.role != "submitter"

    @property
    def labels(self) -> dict[str, str]:
        """The template's, and the operator's own."""
        added = {"ray.io/is-ray-node": "yes", "ray.io/node-type": "head" if self.role == "head" else "worker"}
        return {**(added if self.is_ray else {}), **self.template.get("metadata", {}).get("labels", {})}

    @property
    def ports(self) -> dict[str, int]:
        named = {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}
        return {**(OPERATOR_S_PORTS if self.is_ray else {}), **named}

    @property
    def volumes(self) -> dict[str, dict[str, Any]]:
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}

    @property
    def mounts(self) -> dict[str, dict[str, Any]]:
        """The volume at each path of the first container."""
        return {
            each["mountPath"]: self.volumes.get(each["name"], {}) for each in self.container.get("volumeMounts", [])
        }

    def volume_at(self, path: str) -> dict[str, Any]:
        """The volume that a path lies on; an empty one for the root file system."""
        inside = [mount for mount in self.mounts if Path(path).is_relative_to(mount)]
        return self.mounts[max(inside, key=len)] if inside else {}

    def __str__(self) -> str:
        return f"{self.job}: {self.role}"


def pods(manifests: Sequence[Manifest]) -> list[Pod]:
    found = []
    for job in manifests:
        if job.kind != "RayJob":
            continue
        cluster = job.spec["rayClusterSpec"]
        found.append(Pod(job, "head", cluster["headGroupSpec"]["template"]))
        found += [
            Pod(job, f"workers {group['groupName']}", group["template"], group.get("replicas", 1))
            for group in cluster.get("workerGroupSpecs", [])
        ]
        if "submitterPodTemplate" in job.spec:
            found.append(Pod(job, "submitter", job.spec["submitterPodTemplate"]))
    return found


def pod_faults(pod: Pod) -> list[str]:
    """What a pod lacks of security, of room, of time to end, and of ways to notice that a machine is lost."""
    return [f"{pod}: {fault}" for fault in (*_security(pod), *_room(pod), *_end(pod), *_lost(pod))]


def _security(pod: Pod) -> Iterator[str]:
    spec, user = pod.spec, pod.spec.get("securityContext", {})
    if not user.get("runAsNonRoot") or (user.get("runAsUser"), user.get("runAsGroup")) != (USER, USER):
        yield f"must run as user and group {USER}, runAsNonRoot"
    if pod.is_ray and user.get("fsGroup") != USER:
        yield f"fsGroup must be {USER}, or the claim cannot be written to"
    if user.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile must be RuntimeDefault"
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token of the Kubernetes API"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is the host's"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a folder of the host"
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        locked, name = container.get("securityContext", {}), container["name"]
        if locked.get("allowPrivilegeEscalation") is not False or locked.get("privileged"):
            yield f"{name}: allowPrivilegeEscalation must be false"
        if locked.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: readOnlyRootFilesystem must be true"
        if locked.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: capabilities must be dropped, all of them"
        if container.get("image") != IMAGE:
            yield f"{name}: image {container.get('image')} is not {IMAGE}"


def _room(pod: Pod) -> Iterator[str]:
    environment = {each["name"]: each.get("value", "") for each in pod.container.get("env", [])}
    written = {"/tmp": "/tmp", "HOME": environment.get("HOME", "")}
    if pod.is_ray:
        written["XDG_CACHE_HOME"] = environment.get("XDG_CACHE_HOME", "")
    for name, path in written.items():
        if not path or "emptyDir" not in pod.volume_at(path):
            yield f"{name} ({path or 'not set'}) is not on an emptyDir, and the root file system is read-only"
    requests, limits = (pod.container.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
    if not {"cpu", "memory"} <= requests.keys() & limits.keys():
        yield "requests and limits of cpu and memory must be said"
    # A laptop has no CPU to spare for a head that idles, and nothing to evict it for.
    alone = pod.role == "head" and not any(GPU in each.container["resources"]["limits"] for each in pods([pod.job]))
    free = {"cpu"} if alone else set[str]()
    if pod.is_ray and any(requests.get(name) != limits.get(name) for name in (requests.keys() | limits.keys()) - free):
        yield "requests and limits differ: the pod is not of the class Guaranteed"
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            yield f"requests more {name} than its limit"
    if "ephemeral-storage" in limits and pod.role != "head":  # the head's cache holds next to nothing
        kept = sum(quantity(volume["emptyDir"].get("sizeLimit", "0")) for volume in _local(pod))
        if kept > quantity(limits["ephemeral-storage"]):
            yield "the emptyDirs may hold more than the limit of ephemeral-storage"


def _local(pod: Pod) -> list[dict[str, Any]]:
    return [volume for volume in pod.volumes.values() if "emptyDir" in volume]


def _end(pod: Pod) -> Iterator[str]:
    if not pod.is_ray:
        return
    if pod.spec.get("terminationGracePeriodSeconds", 30) <= GRACE_S + 10:
        yield f"terminationGracePeriodSeconds leaves no time after the {GRACE_S} s of preStop"
    command = pod.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    if not command or not command[-1].rstrip().endswith("ray stop"):
        yield "preStop must wait for the last checkpoint, and stop Ray then"


def _lost(pod: Pod) -> Iterator[str]:
    if pod.role.startswith("workers"):  # the run goes on without them
        return
    tolerated = {each.get("key"): each for each in pod.spec.get("tolerations", [])}
    for key in LOST:
        stays = tolerated.get(key, {"tolerationSeconds": 300}).get("tolerationSeconds", float("inf"))
        if stays > LOST_S:
            yield f"{key} is tolerated for {stays} s, not for {LOST_S}: on a lost machine the pod stays too long"
    if pod.role == "submitter":
        for name in ("livenessProbe", "startupProbe"):
            words = pod.container.get(name, {}).get("exec", {}).get("command", [""])
            if "$RAY_DASHBOARD_ADDRESS/api/gcs_healthz" not in words[-1]:
                yield f"{name} must ask for the head's health: the log of a head that vanished is followed for ever"


def quantity(text: Any) -> float:
    """Kubernetes' numbers: `500m`, `8Gi`, `2`."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()  # type: ignore[union-attr]
    powers = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(number) * powers[unit]


def command(job: Manifest, manifests: Sequence[Manifest], folder: Path) -> list[str]:
    """The job's entrypoint as words, with the files of its ConfigMaps in `folder` in place of the mounted ones.

    Raises:
        LookupError: a ConfigMap, or a file that the entrypoint names, is not there.
    """
    head = next(pod for pod in pods([job]) if pod.role == "head")
    text = str(job.spec.get("entrypoint", ""))
    if not re.fullmatch(r"[\w./=:@+ -]+", text):
        raise LookupError(f"entrypoint: {text!r} would not be the same after the submitter's shell")
    words = shlex.split(text)
    for mount, volume in head.mounts.items():
        if name := volume.get("configMap", {}).get("name"):
            found = [each for each in manifests if (each.kind, each.name) == ("ConfigMap", name)]
            if not found:
                raise LookupError(f"no ConfigMap {name}")
            for key, data in found[0].body["data"].items():
                (folder / key).write_text(data)
            for i, word in enumerate(words):
                if word.startswith(f"{mount}/"):
                    if not (folder / word.removeprefix(f"{mount}/")).is_file():
                        raise LookupError(f"entrypoint: {word} is no key of ConfigMap {name}")
                    words[i] = str(folder / word.removeprefix(f"{mount}/"))
    if missing := [word for word in words if word.startswith("/")]:
        missing = [word for word in missing if not Path(word).is_relative_to(folder)]
        if missing:
            raise LookupError(f"entrypoint: {missing[0]} is not mounted from a ConfigMap")
    return words


def configuration_faults(job: Manifest, manifests: Sequence[Manifest], folder: Path) -> list[str]:
    """What a job's configuration says otherwise than its pods."""
    try:
        words = command(job, manifests, folder)
        config, root = _configuration(tuple(words), tuple(file.read_text() for file in sorted(folder.iterdir())))
    except (LookupError, GandistError) as error:
        return [f"{job}: {error}"]
    return [f"{job}: {fault}" for fault in _disagreements(job, config, root)]


@lru_cache  # by the files' texts: to validate a sweep takes a second
def _configuration(words: tuple[str, ...], texts: tuple[str, ...]) -> tuple[RunConfig, str]:
    """What `python -m gandist.train` or `gandist.tune` would read, and the folder that it would write."""
    if words[:3] == ("python", "-m", "gandist.train"):
        config = load(words[3], [*words[4:]])
        return config, f"{config.run.dir}/{config.run.name}"
    if words[:3] == ("python", "-m", "gandist.tune"):
        plan = read(words[3], words[4:])
        return plan.base, sweep_root(plan.sweep)
    raise LookupError(f"entrypoint: {' '.join(words[:3])} is neither training nor a sweep")


def _disagreements(job: Manifest, config: RunConfig, root: str) -> Iterator[str]:
    head, *rest = (pod for pod in pods([job]) if pod.is_ray)
    for pod in (head, *rest):
        if not is_remote(root) and "persistentVolumeClaim" not in pod.volume_at(root):
            yield f"{root} is on no claim of the {pod.role}"
        if config.telemetry.dir is None or "emptyDir" not in pod.volume_at(config.telemetry.dir):
            yield f"telemetry.dir {config.telemetry.dir} is on no emptyDir of the {pod.role}"
    if config.telemetry.host != "0.0.0.0":
        yield f"telemetry.host {config.telemetry.host} is not reached from another pod"
    needed = config.launch.resources or {"CPU": 1.0}
    room = 0
    for pod in rest:
        if pod.ports.get("gandist") != config.telemetry.port:
            yield f"telemetry.port {config.telemetry.port} is not the port named gandist of the {pod.role}"
        limits = pod.container["resources"]["limits"]
        has = {"CPU": quantity(limits["cpu"]), "GPU": quantity(limits.get(GPU, "0"))}
        room += pod.replicas * min(int(has[name] // amount) for name, amount in needed.items())
        cache = pod.volume_at("/cache").get("emptyDir", {}).get("sizeLimit", "0")
        if has["GPU"] and config.data.cache_gib * 2**30 >= quantity(cache):
            yield f"data.cache_gib {config.data.cache_gib:g} is not below the cache's sizeLimit {cache}"
    if room < config.worker_range[1]:
        yield f"launch.workers {config.worker_range[1]} x {needed}: the pods have room for {room}"
    script = head.container["lifecycle"]["preStop"]["exec"]["command"][-1] if "lifecycle" in head.container else ""
    touched = re.search(r"touch (\S+)", script)
    if touched and touched[1] != f"{root}/stop":
        yield f"preStop writes {touched[1]}, the run reads {root}/stop"
