"""The manifests of `k8s/` are right, and a wrong one would be found."""

import copy
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml

from tests.helpers.kubernetes_manifests import CRDS, Manifest, crd, load, rules, with_defaults
from tests.helpers.kubernetes_references import faults

pytestmark = [
    pytest.mark.crds,
    pytest.mark.skipif(
        not CRDS.exists(), reason=f"no schemas of custom resources in {CRDS} (GANDIST_CRDS names another folder)"
    ),
]

GONE = object()
JOB = "spec.rayClusterSpec"
HEAD, WORKER = f"{JOB}.headGroupSpec.template.spec", f"{JOB}.workerGroupSpecs.0.template.spec"
CONTAINER = f"{WORKER}.containers.0"
SUBMITTER = "spec.submitterPodTemplate.spec"
RULES = "spec.deletionStrategy.deletionRules"
FLAVOR = "spec.resourceGroups.0.flavors.0"
PLANTED = [
    # what the API server's schemas say
    ("RayJob gandist", f"{JOB}.rayVersoin", "2.60.0", "'rayVersoin' was unexpected"),
    ("RayJob gandist", f"{CONTAINER}.resources.requets", {}, "'requets' was unexpected"),
    ("RayJob gandist", "spec.backoffLimit", "three", "'three' is not of type 'integer'"),
    ("RayJob gandist", f"{JOB}.authOptions.mode", "tokens", "'tokens' is not one of ['disabled', 'token']"),
    ("RayJob gandist", "apiVersion", "ray.io/v1alpha1", "no schema of RayJob in ray.io/v1alpha1"),
    ("ConfigMap gandist", "apiVersion", "v2", "no schema of ConfigMap in v2"),
    ("PersistentVolumeClaim gandist-runs", "spec.accessMode", ["ReadWriteMany"], "accessMode"),
    ("NetworkPolicy ray-to-ray", "spec.podSelectors", {}, "podSelectors"),
    # its rules
    ("RayJob gandist", "spec.managedBy", "nobody", "the managedBy field value must be either"),
    ("RayJob gandist-sweep", f"{RULES}.0.condition.jobDeploymentStatus", "Failed", "cannot be used together within"),
    ("RayJob gandist-sweep", f"{RULES}.1.condition", {"ttlSeconds": 0}, "requires either the JobStatus or"),
    ("ClusterQueue gandist", f"{FLAVOR}.resources.0", GONE, "same number of resources as the coveredResources"),
    ("ClusterQueue gandist", f"{FLAVOR}.resources.0.borrowingLimit", 8, "borrowingLimit must be nil when cohort"),
    ("ResourceFlavor gandist", "spec", {"nodeTaints": [{"key": "gpu", "effect": "Never"}]}, "supported taint effect"),
    # the operator's and Kueue's
    ("RayJob gandist", f"{JOB}.rayVersion", GONE, "token needs rayVersion"),
    ("RayJob gandist", "spec.shutdownAfterJobFinishes", False, "ttlSecondsAfterFinished needs shutdownAfterJob"),
    ("RayJob gandist-sweep", "spec.shutdownAfterJobFinishes", True, "deletionRules cannot stand beside"),
    ("RayJob gandist-sweep", f"{RULES}.2.condition.ttlSeconds", -1, "minimum"),
    ("RayJob gandist-sweep", f"{RULES}.1.condition.ttlSeconds", 90000, "ttlSeconds must grow from workers to"),
    ("RayJob gandist", "spec.submissionMode", "SidecarMode", "SidecarMode cannot stand beside submitterPodTemplate"),
    ("RayJob gandist", f"{JOB}.tlsOptions", {"enabled": True}, "tlsOptions needs an alpha feature gate"),
    ("RayJob gandist", f"{JOB}.headGroupSpec.resources", {"CPU": "0"}, "resources cannot stand beside resources in"),
    ("RayJob gandist-queued", "spec.suspend", False, "must begin with suspend: true"),
    # a lost machine, lost submitters
    ("RayJob gandist", f"{HEAD}.tolerations", GONE, "not-ready is tolerated for 300 s, not for 30"),
    (
        "RayJob gandist-sweep",
        f"{HEAD}.tolerations.0.key",
        "node.kubernetes.io/lost",
        "unreachable is tolerated for 300 s",
    ),
    ("RayJob gandist-queued", f"{HEAD}.tolerations.1.tolerationSeconds", 120, "not-ready is tolerated for 120 s"),
    ("RayJob gandist", f"{HEAD}.tolerations.1.tolerationSeconds", GONE, "not-ready is tolerated for inf s"),
    ("RayJob gandist-demo", f"{SUBMITTER}.tolerations", GONE, "submitter: node.kubernetes.io/not-ready is tolerated"),
    ("RayJob gandist", f"{SUBMITTER}.containers.0.livenessProbe", GONE, "livenessProbe must ask for the head's health"),
    ("RayJob gandist", f"{SUBMITTER}.containers.0.startupProbe", GONE, "startupProbe must ask for the head's health"),
    ("RayJob gandist", "spec.submitterConfig", GONE, "submitterConfig.backoffLimit 2: after as many lost submitters"),
    ("RayJob gandist-demo", "spec.submitterConfig.backoffLimit", 3, "submitterConfig.backoffLimit 3: after as many"),
    ("RayJob gandist-sweep", "spec.submitterConfig.backofLimit", 20, "'backofLimit' was unexpected"),
    # machines that are too small
    ("RayJob gandist-demo", f"{HEAD}.containers.0.resources.requests.cpu", "1", "3.10 of cpu, and the laptop has 2.95"),
    ("RayJob gandist-demo", f"{CONTAINER}.resources.requests.memory", "6Gi", "of memory, and the laptop has 9.21"),
    (
        "RayJob gandist",
        f"{CONTAINER}.resources.requests.cpu",
        "8",
        "8.00 of cpu, and `g2-standard-4` (GPU: L4), GKE has",
    ),
    (
        "RayJob gandist",
        f"{CONTAINER}.resources.requests.memory",
        "32Gi",
        "of memory, and `g5.xlarge` (GPU: A10G), EKS has",
    ),
    ("RayJob gandist-sweep", f"{CONTAINER}.resources.requests.ephemeral-storage", "80Gi", "80.00 of ephemeral-storage"),
    (
        "RayJob gandist-queued",
        f"{HEAD}.containers.0.resources.requests.cpu",
        "2",
        "of cpu, and `m7i.large`, EKS has 1.40",
    ),
    # names, keys, ports, labels
    ("RayJob gandist", f"{HEAD}.volumes.0.configMap.name", "gandits", "no ConfigMap gandits"),
    ("RayJob gandist", "spec.entrypoint", "python -m gandist.train /etc/gandist/rum.yaml", "rum.yaml is no key of"),
    ("RayJob gandist", f"{WORKER}.volumes.1.persistentVolumeClaim.claimName", "runs", "no PersistentVolumeClaim runs"),
    ("RayJob gandist", f"{CONTAINER}.volumeMounts.1.name", "run", "volume run is not there"),
    ("RayJob gandist", f"{WORKER}.serviceAccountName", "trainer", "no ServiceAccount trainer"),
    ("RayJob gandist", f"{CONTAINER}.envFrom.0.secretRef.optional", False, "neither made here nor optional"),
    ("RayJob gandist", f"{CONTAINER}.envFrom.0.secretRef.name", "s3", "does not say how to make it"),
    ("RayJob gandist", f"{CONTAINER}.ports.0.name", "metrics2", "is not the port named gandist"),
    ("RayJob gandist", "metadata.namespace", "gan", "no Namespace gan"),
    ("RayJob gandist", "metadata.namespace", GONE, "has no namespace"),
    ("RayJob gandist", f"{HEAD}.containers.0.ports.1.name", "ui", "port dashboard is no port"),
    ("NetworkPolicy jobs-to-dashboard", "spec.ingress.0.from", [], "lets anybody in"),
    ("NetworkPolicy prometheus-to-metrics", "spec.podSelector.matchLabels.app", "gan", "selects no pod"),
    ("NetworkPolicy nothing-comes-in", "spec.podSelector", {"matchLabels": {"a": "b"}}, "keeps its namespace shut"),
    ("PodDisruptionBudget gandist-head", "spec.selector.matchLabels", {}, "kinds of pod, not one"),
    ("PodDisruptionBudget gandist-workers", "spec.minAvailable", "50%", "by a whole number minAvailable alone"),
    (
        "PodDisruptionBudget gandist-sweep-workers",
        "metadata.namespace",
        "gandist-demo",
        "workers gpu: no PodDisruption",
    ),
    ("PodDisruptionBudget gandist-demo-head", "spec.minAvailable", 2, "minAvailable 2 is no number of its pods"),
    ("PodMonitor gandist", "spec.podMetricsEndpoints.0.port", "gandits", "port gandits is no port"),
    (
        "RayJob gandist",
        f"{WORKER}.topologySpreadConstraints.0.labelSelector.matchLabels.app",
        "gan",
        "does not count this pod",
    ),
    ("RayJob gandist-demo", f"{WORKER}.affinity", GONE, "is not ReadWriteMany"),
    ("LocalQueue gandist", "spec.clusterQueue", "gan", "no ClusterQueue gan"),
    (
        "ClusterQueue gandist",
        f"{FLAVOR}.resources.3.nominalQuota",
        3,
        "asks for 4 of nvidia.com/gpu, and its queue has 3",
    ),
    # versions
    ("RayJob gandist", f"{HEAD}.containers.0.image", "gandist/gandist:latest", "image gandist/gandist:latest is not"),
    ("RayJob gandist", f"{JOB}.rayVersion", "2.59.0", "rayVersion 2.59.0 is not the"),
    # what pods may do, what they have, and how they end
    ("RayJob gandist", f"{CONTAINER}.securityContext", GONE, "readOnlyRootFilesystem must be true"),
    ("RayJob gandist", f"{CONTAINER}.securityContext.capabilities.add", ["SYS_PTRACE"], "capabilities must be dropped"),
    ("RayJob gandist", f"{HEAD}.securityContext.runAsUser", 0, "must run as user and group 1000"),
    ("RayJob gandist", "spec.submitterPodTemplate.spec.securityContext.seccompProfile", GONE, "must be RuntimeDefault"),
    ("RayJob gandist", f"{HEAD}.automountServiceAccountToken", GONE, "mounts a token of the Kubernetes API"),
    ("RayJob gandist", f"{WORKER}.volumes.4", {"name": "cache", "hostPath": {"path": "/mnt"}}, "folder of the host"),
    ("RayJob gandist", f"{CONTAINER}.volumeMounts.3", GONE, "HOME (/home/gandist) is not on an emptyDir"),
    ("RayJob gandist", f"{CONTAINER}.resources.requests.cpu", "4", "requests and limits differ"),
    ("RayJob gandist", f"{WORKER}.volumes.4.emptyDir.sizeLimit", "90Gi", "may hold more than the limit of ephemeral"),
    ("RayJob gandist", f"{WORKER}.terminationGracePeriodSeconds", 30, "leaves no time after the 90 s of preStop"),
    ("RayJob gandist", f"{CONTAINER}.lifecycle", GONE, "preStop must wait for the last checkpoint"),
    # the configuration
    ("ConfigMap gandist", "run.train.batch", 255, "do not divide into"),
    ("ConfigMap gandist", "run.launch.workers", [2, 8], "the pods have room for 4"),
    ("ConfigMap gandist", "run.optim.lr_g", 1, "unknown key"),
    (
        "ConfigMap gandist",
        "run.run.name",
        "other",
        "preStop writes /runs/garments/stop, the run reads /runs/other/stop",
    ),
    ("ConfigMap gandist", "run.run.dir", "/data", "/data/garments is on no claim"),
    ("ConfigMap gandist", "run.telemetry.port", 9465, "telemetry.port 9465 is not the port named gandist"),
    ("ConfigMap gandist", "run.telemetry.host", "127.0.0.1", "is not reached from another pod"),
    ("ConfigMap gandist", "run.data.cache_gib", 60, "is not below the cache's sizeLimit 20Gi"),
    (
        "RayJob gandist-demo",
        "spec.entrypoint",
        "python -m gandist.train 'demo'",
        "not be the same after the submitter's",
    ),
]
"""An object, a path in it, what to put there, and what has to be said of it."""


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("etc")


def put(tree: Any, path: str, value: Any) -> None:
    """Set, append or delete what is at a dotted path."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in parents:
        tree = tree[part]
    if value is GONE:
        del tree[last]
    else:
        tree[last] = value


def planted(manifests: list[Manifest], which: str, path: str, value: Any) -> list[Manifest]:
    """The manifests with another value in one of them, and wherever it is repeated."""
    changed = copy.deepcopy(manifests)
    bodies = [each.body for each in changed if f"{each.kind} {each.name}" == which]
    assert bodies, which
    for body in bodies:
        if which == "ConfigMap gandist" and path.startswith("run."):
            run = yaml.safe_load(body["data"]["run.yaml"])
            put(run, path.removeprefix("run."), value)
            body["data"]["run.yaml"] = yaml.safe_dump(run)
        else:
            put(body, path, value)
    return changed


def test_the_manifests_are_right(manifests: list[Manifest], folder: Path) -> None:
    assert faults(manifests, folder) == []


@pytest.mark.parametrize(
    ("which", "path", "value", "said"), PLANTED, ids=lambda part: "gone" if part is GONE else str(part)[-40:]
)
def test_an_error_is_found(
    which: str, path: str, value: Any, said: str, manifests: list[Manifest], folder: Path
) -> None:
    found = faults(planted(manifests, which, path, value), folder)
    assert any(said in fault for fault in found), found


def test_no_rule_goes_unseen() -> None:
    """Every CEL rule of every schema can be evaluated, but for those on an object's earlier state."""
    texts = set[str]()

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            of_it = schema.get("x-kubernetes-validations")
            texts.update(rule["rule"] for rule in of_it if "rule" in rule) if isinstance(of_it, list) else None
            schema = [*schema.values()]
        for inner in schema if isinstance(schema, list) else ():
            walk(inner)

    for file in CRDS.glob("*.json.gz"):
        with gzip.open(file) as stream:
            walk(json.load(stream))
    earlier = {text for text in texts if "oldSelf" in text}
    assert earlier == {
        "self == oldSelf",
        "!has(oldSelf.topologyName) || (has(self.topologyName) && self.topologyName == oldSelf.topologyName)",
    }
    for text in texts - earlier:
        cel.compile(text)
    assert len(texts - earlier) >= 15


def test_which_rules_are_evaluated(manifests: list[Manifest]) -> None:
    """That of a LocalQueue's earlier state is skipped, and known to be."""
    evaluated, skipped = 0, list[str]()
    for each in manifests:
        if schema := crd(str(each.body["apiVersion"]), each.kind):
            found = rules(schema, with_defaults(schema, each.body))
            evaluated += len(found.evaluated)
            skipped += [f"{each.kind}: {text}" for text in found.skipped]
    assert evaluated == 12
    assert skipped == ["LocalQueue: self == oldSelf"]


SETUP, DEMO = Path("setup"), Path("cpu")


def test_what_is_applied_needs_kuberay_alone(manifests: list[Manifest]) -> None:
    """`kubectl apply -f k8s/setup/ -f k8s/` takes the files of the folders themselves, as does `-f k8s/cpu/`."""
    for folders in ({SETUP, Path()}, {DEMO}):
        there = [each for each in manifests if each.file.parent in folders]
        assert {each.body["apiVersion"].partition("/")[0] for each in there} <= {
            "v1",
            "policy",
            "networking.k8s.io",
            "ray.io",
        }
        assert [each.kind for each in there].count("RayJob") == 1


@pytest.mark.parametrize("name", [".", "sweep", "kueue", "cpu"])
def test_a_folder_stands_alone(name: str, manifests: list[Manifest], folder: Path) -> None:
    """A job needs nothing that another job's folder has: with `k8s/setup/` each can be applied without the others."""
    needed = {Path(name)} | ({SETUP} if name != "cpu" else set())
    assert faults([each for each in manifests if each.file.parent in needed], folder) == []


@pytest.mark.parametrize("name", ["00-namespace.yaml", "runs.yaml", "network.yaml"])
def test_what_outlives_a_job_is_not_in_its_folder(name: str, manifests: list[Manifest], folder: Path) -> None:
    """`kubectl delete -f k8s/` would delete all runs."""
    moved = [replace(each, file=Path(name)) if each.file == SETUP / name else each for each in manifests]
    found = faults(moved, folder)
    assert any(f"{name}: " in fault and "goes with `kubectl delete -f k8s`" in fault for fault in found), found


def test_the_demo_is_as_shut(manifests: list[Manifest]) -> None:
    """Its namespace, account and network policies are those of `k8s/setup/`, elsewhere."""
    kinds = ("Namespace", "ServiceAccount", "NetworkPolicy")
    here, there = (
        [
            {**each.body, "metadata": each.labels}
            for each in manifests
            if each.file.parent == where and each.kind in kinds
        ]
        for where in (SETUP, DEMO)
    )
    assert len(here) == 6
    assert there == here


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("kind: Pod\nmetadata: {name: a, name: b}\n")
    with pytest.raises(yaml.constructor.ConstructorError, match="key twice: name"):
        load(tmp_path)
