"""The machines that docs/kubernetes.md names, and whether the pods of a RayJob fit them beside what else runs there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.helpers.checkout_copy import ROOT
from tests.helpers.kubernetes_manifests import Manifest
from tests.helpers.kubernetes_pods import GPU, Pod, pods, quantity

DOCUMENT = ROOT / "docs/kubernetes.md"
LAPTOP_S_OWN = {"cpu": 1.05, "memory": 0.79 * 2**30}
"""What a kind cluster's own pods request (0.95 CPUs, 290 MiB), and the operator (0.1, 512 MiB)."""


@dataclass(frozen=True)
class Machine:
    """A machine type, and what a pod may request on it: CPUs, bytes of memory and of disk."""

    name: str
    left: dict[str, float]
    has_gpu: bool = False

    def lacks(self, requested: dict[str, float]) -> Iterator[str]:
        """What it has too little of."""
        for name, amount in requested.items():
            if amount > (left := self.left.get(name, float("inf"))):
                unit = 1 if name == "cpu" else 2**30
                yield f"{amount / unit:.2f} of {name}, and {self.name} has {left / unit:.2f}"


def rented() -> list[Machine]:
    """The rows of the document's tables of machine types: name, CPUs, GiB, GB of disk.

    The system's reserve and daemons take 0.6 CPUs, 30 % of a small machine's memory, and on GKE 55 % of the disk.
    """
    rows = re.findall(r"^\| (`.+) \| (\d+) \| (\d+) \| (\d+)\b.* \|$", DOCUMENT.read_text(), re.MULTILINE)
    return [
        Machine(
            name,
            {"cpu": int(cpus) - 0.6, "memory": 0.7 * int(gib) * 2**30, "ephemeral-storage": 0.45 * int(disk) * 1e9},
            "GPU" in name,
        )
        for name, cpus, gib, disk in rows
    ]


def laptop() -> Machine:
    """What the document has minikube started with."""
    cpus, gib = re.findall(r"minikube start --cpus (\d+) --memory (\d+)g$", DOCUMENT.read_text(), re.MULTILINE)[0]
    had = {"cpu": float(cpus), "memory": int(gib) * 2.0**30}
    return Machine("the laptop", {name: amount - LAPTOP_S_OWN[name] for name, amount in had.items()})


def machine_faults(job: Manifest) -> list[str]:
    """Pods that would stay pending: on each GPU machine a worker has to fit, on each other one head and submitter, and
    on the laptop all pods of a job without GPUs."""
    if job.kind != "RayJob":
        return []
    workers = [pod for pod in pods([job]) if GPU in _requests(pod)]
    others = [pod for pod in pods([job]) if pod not in workers]
    if not workers:
        places = [(laptop(), others)]
    else:
        places = [(each, [worker]) for each in rented() if each.has_gpu for worker in workers]
        places += [(each, others) for each in rented() if not each.has_gpu]
    return [f"{job}: requests {fault}" for machine, group in places for fault in machine.lacks(_sum(group))]


def _requests(pod: Pod) -> dict[str, float]:
    return {name: quantity(amount) for name, amount in pod.container["resources"]["requests"].items()}


def _sum(group: list[Pod]) -> dict[str, float]:
    """What pods request together; a group of workers counts once where it has GPUs, for a machine may have one."""
    total: dict[str, float] = {}
    for pod in group:
        for name, amount in _requests(pod).items():
            total[name] = total.get(name, 0) + amount * (1 if GPU in _requests(pod) else pod.replicas)
    return total
