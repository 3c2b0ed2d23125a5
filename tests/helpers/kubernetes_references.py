"""What manifests say of each other: names, keys, ports, labels, versions."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.checkout_copy import ROOT
from tests.helpers.kuberay_rules import QUEUE, operator_faults
from tests.helpers.kubernetes_machines import DOCUMENT, machine_faults
from tests.helpers.kubernetes_manifests import CLUSTER_WIDE, Manifest, schema_faults
from tests.helpers.kubernetes_pods import Pod, configuration_faults, pod_faults, pods, quantity

RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
KEPT = ("Namespace", "PersistentVolumeClaim", "ServiceAccount", "NetworkPolicy")
ACROSS_NODES = "kubernetes.io/hostname"


def faults(manifests: Sequence[Manifest], folder: Path) -> list[str]:
    """All that is wrong with a set of manifests; `folder` is for the configurations' files."""
    found = [fault for manifest in manifests for fault in schema_faults(manifest) or operator_faults(manifest)]
    if found:  # what follows takes the shape of objects for granted
        return found
    for pod in pods(manifests):
        found += [*pod_faults(pod), *(f"{pod}: {fault}" for fault in _pod(pod, manifests))]
    for manifest in manifests:
        if manifest.kind == "RayJob":
            found += [*configuration_faults(manifest, manifests, folder), *machine_faults(manifest)]
        for check in (_placed, _kept, _versions, _policy, _budget, _monitor, _queue):
            found += [f"{manifest}: {fault}" for fault in check(manifest, manifests)]
    return found


def named(manifests: Sequence[Manifest], kind: str, name: Any, namespace: str | None) -> Manifest | None:
    wanted = (kind, name, namespace)
    return next((each for each in manifests if (each.kind, each.name, each.namespace) == wanted), None)


def _placed(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    """In a namespace that is made before; and the same wherever it is made twice."""
    if manifest.kind in CLUSTER_WIDE:
        if manifest.namespace:
            yield "has a namespace, and its kind has none"
    elif manifest.namespace is None:
        yield "has no namespace: it would go where kubectl happens to point"
    elif named(manifests, "Namespace", manifest.namespace, None) is None:
        yield f"no Namespace {manifest.namespace}"
    if manifest.kind == "Namespace":
        beside = sorted(each.file for each in manifests if each.file.parent == manifest.file.parent)
        if beside[0] != manifest.file:
            yield f"kubectl applies {beside[0]} before it"
    same = [each for each in manifests if (each.kind, each.name) == (manifest.kind, manifest.name)]
    if any(each.namespace == manifest.namespace and each.body != manifest.body for each in same):
        yield "is something else in another file"


def _kept(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    """What others need isn't in the folder of a job, for `kubectl delete -f FOLDER` to take it away."""
    folder = manifest.file.parent
    if manifest.kind not in KEPT or not any(each.kind == "RayJob" and each.file.parent == folder for each in manifests):
        return
    namespace = manifest.name if manifest.kind == "Namespace" else manifest.namespace
    others = {str(each.file) for each in manifests if each.namespace == namespace and each.file.parent != folder}
    if others:
        yield f"goes with `kubectl delete -f {Path('k8s') / folder}`, and is needed by {', '.join(sorted(others))}"


def _versions(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest.kind == "RayJob" and (version := manifest.spec["rayClusterSpec"].get("rayVersion")) != RAY:
        yield f"rayVersion {version} is not the {RAY} of constraints.txt"


def _pod(pod: Pod, manifests: Sequence[Manifest]) -> Iterator[str]:
    """What a pod takes from other objects of its namespace."""
    namespace, spec = pod.job.namespace, pod.spec
    budgets = [each for each in manifests if (each.kind, each.namespace) == ("PodDisruptionBudget", namespace)]
    if pod.is_ray and not any(selects(each.spec["selector"], pod.labels) for each in budgets):
        yield "no PodDisruptionBudget: `kubectl drain` takes it at once"
    if named(manifests, "ServiceAccount", spec.get("serviceAccountName"), namespace) is None:
        yield f"no ServiceAccount {spec.get('serviceAccountName')}"
    mounted = {mount["name"] for each in spec["containers"] for mount in each.get("volumeMounts", [])}
    for name in sorted(mounted ^ pod.volumes.keys()):
        yield f"volume {name} is {'not there' if name in mounted else 'mounted nowhere'}"
    for volume in pod.volumes.values():
        if "configMap" in volume and named(manifests, "ConfigMap", volume["configMap"]["name"], namespace) is None:
            yield f"no ConfigMap {volume['configMap']['name']}"
        if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
            yield from _claim(pod, claim, manifests)
    for each in spec["containers"]:
        sources = [source["secretRef"] for source in each.get("envFrom", []) if "secretRef" in source]
        variables = [variable.get("valueFrom", {}) for variable in each.get("env", [])]
        for secret in (*sources, *(value["secretKeyRef"] for value in variables if "secretKeyRef" in value)):
            if not secret.get("optional") and named(manifests, "Secret", secret["name"], namespace) is None:
                yield f"Secret {secret['name']} is neither made here nor optional"
            if f"create secret generic {secret['name']}" not in DOCUMENT.read_text():
                yield f"Secret {secret['name']}: {DOCUMENT.name} does not say how to make it"
    for constraint in spec.get("topologySpreadConstraints", []):
        if not selects(constraint["labelSelector"], pod.labels):
            yield f"topologySpreadConstraints: {constraint['topologyKey']} does not count this pod"
    if not any(
        policy.kind == "NetworkPolicy" and policy.namespace == namespace and policy.spec["podSelector"] == {}
        for policy in manifests
    ):
        yield "no NetworkPolicy keeps its namespace shut"


def _claim(pod: Pod, name: str, manifests: Sequence[Manifest]) -> Iterator[str]:
    claim = named(manifests, "PersistentVolumeClaim", name, pod.job.namespace)
    if claim is None:
        yield f"no PersistentVolumeClaim {name}"
        return
    alone = pod.role == "head" or any(
        term["topologyKey"] == ACROSS_NODES and selects(term["labelSelector"], other.labels)
        for term in pod.spec.get("affinity", {})
        .get("podAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", [])
        for other in pods([pod.job])
        if other.role == "head"
    )
    if "ReadWriteMany" not in claim.spec["accessModes"] and not alone:
        yield f"claim {name} is not ReadWriteMany, and this pod may be on another node than the head"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector (by `matchLabels`) takes something with these labels."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _selected(selector: dict[str, Any], namespace: str | None, manifests: Sequence[Manifest]) -> list[Pod]:
    return [pod for pod in pods(manifests) if pod.job.namespace == namespace and selects(selector, pod.labels)]


def _policy(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest.kind != "NetworkPolicy":
        return
    chosen = _selected(manifest.spec["podSelector"], manifest.namespace, manifests)
    if not chosen:
        yield f"podSelector {json.dumps(manifest.spec['podSelector'])} selects no pod"
    for rule in manifest.spec.get("ingress", []):
        if not rule.get("from"):
            yield "lets anybody in"
        for peer in rule.get("from", []):
            selector = peer.get("podSelector")
            if "namespaceSelector" not in peer and not _selected(selector, manifest.namespace, manifests):
                yield f"from: {json.dumps(selector)} selects no pod"
        for port in rule.get("ports", []):
            without = {str(pod.job) for pod in chosen} - {
                str(pod.job) for pod in chosen if port["port"] in (*pod.ports, *pod.ports.values())
            }
            for job in sorted(without):
                yield f"port {port['port']} is no port of the pods that it selects of {job}"


def _budget(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest.kind != "PodDisruptionBudget":
        return
    chosen = _selected(manifest.spec["selector"], manifest.namespace, manifests)
    if len({str(pod) for pod in chosen}) != 1:
        yield f"selects {len(chosen)} kinds of pod, not one"
    least = manifest.spec.get("minAvailable")
    if not isinstance(least, int):
        yield "pods of a RayCluster can be counted by a whole number minAvailable alone"
    elif any(not 0 < least <= pod.replicas for pod in chosen):
        yield f"minAvailable {least} is no number of its pods"


def _monitor(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest.kind != "PodMonitor":
        return
    names = manifest.spec.get("namespaceSelector", {}).get("matchNames", [manifest.namespace])
    chosen = [pod for name in names for pod in _selected(manifest.spec["selector"], name, manifests)]
    if not chosen:
        yield "selects no pod"
    for endpoint in manifest.spec["podMetricsEndpoints"]:
        if not any(endpoint.get("port") in pod.ports for pod in chosen):
            yield f"port {endpoint.get('port')} is no port of the pods that it selects"


def _queue(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest.kind == "LocalQueue" and named(manifests, "ClusterQueue", manifest.spec["clusterQueue"], None) is None:
        yield f"no ClusterQueue {manifest.spec['clusterQueue']}"
    if manifest.kind == "ClusterQueue":
        for group in manifest.spec["resourceGroups"]:
            for flavor in group["flavors"]:
                if named(manifests, "ResourceFlavor", flavor["name"], None) is None:
                    yield f"no ResourceFlavor {flavor['name']}"
    if manifest.kind != "RayJob" or QUEUE not in manifest.labels:
        return
    local = named(manifests, "LocalQueue", manifest.labels[QUEUE], manifest.namespace)
    queue = named(manifests, "ClusterQueue", local.spec["clusterQueue"], None) if local else None
    if local is None or queue is None:
        yield f"no LocalQueue {manifest.labels[QUEUE]}"
        return
    quota: dict[str, float] = {}
    for group in queue.spec["resourceGroups"]:
        for flavor in group["flavors"]:
            for resource in flavor["resources"]:
                quota[resource["name"]] = quota.get(resource["name"], 0) + quantity(resource["nominalQuota"])
    needed: dict[str, float] = {}
    for pod in pods([manifest]):
        for name, amount in pod.container["resources"]["requests"].items():
            needed[name] = needed.get(name, 0) + pod.replicas * quantity(amount)
    for name, amount in needed.items():
        if amount > quota.get(name, 0):
            yield f"asks for {amount:g} of {name}, and its queue has {quota.get(name, 0):g}"
