"""docs/kubernetes.md names what exists, and its commands do what it says of them."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.helpers.checkout_copy import ROOT
from tests.helpers.kubernetes_machines import DOCUMENT, rented
from tests.helpers.kubernetes_manifests import K8S, load
from tests.helpers.kubernetes_pods import IMAGE, pods


def test_the_document_names_what_exists() -> None:
    """Files, objects and configuration keys in the commands of docs/kubernetes.md."""
    text = DOCUMENT.read_text()
    for name in re.findall(r"(?<![\w/.-])(?:k8s|configs|cluster/Dockerfile|docs)(?:/[\w.-]+)*", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (DOCUMENT.parent / name).exists(), name
    objects = {(each.kind.lower(), each.name) for each in load()}
    named = re.findall(r"kubectl [^\n`]*?\b(rayjob|configmap|pdb|localqueue)[ /](gandist[\w-]*)", text)
    assert len(named) >= 5
    short = {"pdb": "poddisruptionbudget"}
    for kind, name in named:
        assert (short.get(kind, kind), name) in objects, f"{kind} {name}"


def commands(pattern: str) -> list[tuple[str, int]]:
    """The commands of the document's blocks that a pattern is found in, each on one line, and where it stands."""
    text = DOCUMENT.read_text().replace("\\\n", "")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [(line, at) for at, line in enumerate(lines) if re.search(pattern, line)]


def test_the_operator_is_patient() -> None:
    """As its chart wants it: a list of variables, whose values are strings. The repository is added before."""
    installed = commands("^helm upgrade --install kuberay-operator")
    assert len(installed) == 2
    for line, at in installed:
        words = shlex.split(line)
        key, _, value = words[words.index("--set-json") + 1].partition("=")
        assert (key, json.loads(value)) == ("env", [{"name": "RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS", "value": "3600"}])
        assert at - 1 in [before for _, before in commands("^helm repo add kuberay https://")]


def test_a_log_is_waited_for() -> None:
    """The Job exists only once the cluster is ready: `kubectl logs` right after `apply` finds none."""
    followed = commands("logs --follow job/")
    assert len(followed) == 3
    for line, at in followed:
        name, namespace = re.findall(r"--namespace (\S+) logs --follow job/(\S+)", line)[0][::-1]
        ((waited, _),) = [each for each in commands(r"kubectl .* wait ") if each[1] == at - 1]
        assert f"--namespace {namespace} wait rayjob/{name} " in waited
        assert ("RayJob", name, namespace) in {(each.kind, each.name, each.namespace) for each in load()}
        assert " --for=jsonpath='{.status.jobStatus}'=RUNNING " in waited


def test_machines_are_found_in_the_document() -> None:
    assert sum(machine.has_gpu for machine in rented()) == 8
    assert sum(not machine.has_gpu for machine in rented()) == 3


def test_the_documents_edits(tmp_path: Path) -> None:
    """The image gets the user's name in every file, and two GPUs are enough to begin with."""
    shutil.copytree(K8S, tmp_path / "k8s")
    ((image, _),), ((fewer, _),) = commands(r"^sed .*\$REGISTRY"), commands("^sed .*replicas")
    subprocess.run(["sh", "-ec", f"REGISTRY=example.com:5000/team\n{image}\n{fewer}"], cwd=tmp_path, check=True)
    edited = load(tmp_path / "k8s")
    assert {pod.container["image"] for pod in pods(edited)} == {IMAGE.replace("gandist/", "example.com:5000/team/", 1)}
    (job,) = (each for each in edited if (each.kind, each.name) == ("RayJob", "gandist"))
    (group,) = job.spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (2, 2, 4)


def test_who_deletes_runs_is_warned() -> None:
    text = DOCUMENT.read_text()
    assert not commands(r"kubectl .*delete (-f k8s|namespace|pvc)")
    assert "> **`kubectl delete -f k8s/setup/` deletes every run**" in text
