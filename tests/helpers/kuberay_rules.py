"""What KubeRay 1.7's operator refuses beyond the schema of a RayJob, and what Kueue asks of one."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.helpers.kubernetes_manifests import Manifest

NAME_LENGTH = 47
"""63 characters of a service's name, less the longest suffixes that the operator appends."""
QUEUE = "kueue.x-k8s.io/queue-name"
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
TOKENS_SINCE = (2, 52)
SUBMITTERS = 20
"""How often a submitter may be lost. The operator's own 2 are soon used up: evictions count, and lost heads."""


def operator_faults(manifest: Manifest) -> list[str]:
    """Why the operator would set a RayJob to ValidationFailed, or Kueue never let it go."""
    if manifest.kind != "RayJob":
        return []
    spec = manifest.spec
    cluster = spec.get("rayClusterSpec")
    faults = [*_job(manifest, spec), *_deletion(spec), *_queue(manifest, spec, cluster or {})]
    if cluster is not None:
        faults += [*_cluster(cluster), *_groups(cluster)]
    return [f"{manifest}: {fault}" for fault in faults]


def _job(manifest: Manifest, spec: dict[str, Any]) -> Iterator[str]:
    mode, selected = spec.get("submissionMode", "K8sJobMode"), bool(spec.get("clusterSelector"))
    if len(manifest.name) > NAME_LENGTH or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest.name):
        yield f"name must be a DNS label of at most {NAME_LENGTH} characters"
    if mode not in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"):
        yield f"submissionMode: {mode} is none"
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes: true"
    if spec.get("suspend") and selected:
        yield "suspend cannot stand beside clusterSelector"
    if "rayClusterSpec" not in spec and not selected:
        yield "one of rayClusterSpec and clusterSelector must be set"
    if spec.get("backoffLimit", 0) > 0 and (mode == "InteractiveMode" or selected):
        yield "backoffLimit cannot stand beside InteractiveMode or clusterSelector"
    if spec.get("backoffLimit", 0) < 0 or spec.get("activeDeadlineSeconds", 1) <= 0:
        yield "backoffLimit and activeDeadlineSeconds must be positive"
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if key in spec:
                yield f"SidecarMode cannot stand beside {key}"
    if mode == "K8sJobMode" and (limit := spec.get("submitterConfig", {}).get("backoffLimit", 2)) < SUBMITTERS:
        yield f"submitterConfig.backoffLimit {limit}: after as many lost submitters a healthy run loses its cluster"
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML", ""))
    except yaml.YAMLError as error:
        yield f"runtimeEnvYAML is not YAML: {error}"


def _deletion(spec: dict[str, Any]) -> Iterator[str]:
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes: true"
    chosen = spec.get("deletionStrategy", {}).get("deletionRules", [])
    if chosen and shutdown:
        yield "deletionRules cannot stand beside shutdownAfterJobFinishes: true"
    after: dict[tuple[str, str], dict[str, int]] = {}
    for rule in chosen:
        condition, policy = rule.get("condition", {}), rule.get("policy")
        if spec.get("rayClusterSpec", {}).get("enableInTreeAutoscaling") and policy == "DeleteWorkers":
            yield "DeleteWorkers cannot stand beside the autoscaler"
        state = next(((k, v) for k, v in condition.items() if k != "ttlSeconds"), ("", ""))
        if policy in after.setdefault(state, {}):
            yield f"deletionRules: {policy} twice for {state[1]}"
        after[state][policy] = condition.get("ttlSeconds", 0)
    for state, policies in after.items():
        times = [policies[policy] for policy in ORDER if policy in policies]
        if times != sorted(times):
            yield f"deletionRules: for {state[1]} ttlSeconds must grow from workers to cluster to the job itself"


def _cluster(cluster: dict[str, Any]) -> Iterator[str]:
    for key in ("networkPolicy", "tlsOptions", "historyServerOptions"):
        if key in cluster:
            yield f"rayClusterSpec.{key} needs an alpha feature gate"
    if cluster.get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb":
        yield "gcsFaultToleranceOptions.backend: rocksdb needs an alpha feature gate"
    if cluster.get("authOptions", {}).get("mode") == "token":
        version = re.match(r"(\d+)\.(\d+)\.", str(cluster.get("rayVersion", "")))
        if not version or (int(version[1]), int(version[2])) < TOKENS_SINCE:
            yield "authOptions.mode: token needs rayVersion, 2.52.0 or later"
    head = cluster.get("headGroupSpec", {})
    environment = _environment(head)
    scaled = cluster.get("enableInTreeAutoscaling", False)
    if not scaled and environment.get("RAY_enable_autoscaler_v2") in ("1", "true"):
        yield "RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling: true"
    if "gcsFaultToleranceOptions" not in cluster and "RAY_REDIS_ADDRESS" in environment:
        yield "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
    if scaled and cluster.get("autoscalerOptions", {}).get("version") == "v2":
        for group in (head, *cluster.get("workerGroupSpecs", [])):
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield "autoscaler v2 needs restartPolicy: Never, or none"


def _groups(cluster: dict[str, Any]) -> Iterator[str]:
    for group in (cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])):
        name, parameters = group.get("groupName", "head"), group.get("rayStartParams", {})
        if not group.get("template", {}).get("spec", {}).get("containers"):
            yield f"group {name} has no container"
        if group.get("resources") and parameters.keys() & {"num-cpus", "num-gpus", "memory", "resources"}:
            yield f"group {name}: resources cannot stand beside resources in rayStartParams"
        if "labels" in parameters:
            yield f"group {name}: labels belong into the group's own `labels`, not into rayStartParams"
        if group.get("suspend"):
            yield f"group {name}: only the operator suspends a group of a RayJob"
        low, wanted, high = (group.get(key, 0) for key in ("minReplicas", "replicas", "maxReplicas"))
        if "groupName" in group and not low <= wanted <= high:
            yield f"group {name}: replicas {wanted} is not within {low} and {high}"


def _queue(manifest: Manifest, spec: dict[str, Any], cluster: dict[str, Any]) -> Iterator[str]:
    if QUEUE not in manifest.labels:
        return
    if not spec.get("suspend"):
        yield "a job with a queue must begin with suspend: true"
    if not spec.get("shutdownAfterJobFinishes") or spec.get("clusterSelector"):
        yield "a job with a queue must take its cluster down: shutdownAfterJobFinishes: true, no clusterSelector"
    if cluster.get("enableInTreeAutoscaling"):
        yield "a job with a queue cannot have the autoscaler"


def _environment(group: dict[str, Any]) -> dict[str, str]:
    containers = group.get("template", {}).get("spec", {}).get("containers", [])
    return {each["name"]: each.get("value", "") for each in (containers[0].get("env", []) if containers else [])}
