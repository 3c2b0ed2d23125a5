"""A fault of the configuration is reported before torch is imported, and a run imports no compiler it does not use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gandist.config.fields import SHIPPED
from tests.helpers.scripts import python
from tests.helpers.small_datasets import make_set

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "pandas", "PIL", "gandist.gan", "gandist.media", "gandist.launch")
UNUSED = (
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.utils.flop_counter",
    "sympy",
    "networkx",
    "pandas",
    "triton",
    "ray",
    "webdataset",
    "torchmetrics",
)

FAULTS: list[tuple[list[str], int, str]] = [
    (["--help"], 0, ""),
    (["--resume", "perhaps"], 2, "invalid choice: 'perhaps'"),
    (["missing.yaml"], 2, "missing.yaml: no such file; shipped configurations: "),
    (["missing.yaml", "--dry-run"], 2, "missing.yaml: no such file; shipped configurations: "),
    (["configs/demo.yaml", "modle.z=1"], 2, "modle: unknown key; did you mean 'model'?"),
    (["demo", "model.nmae=mlp", "--dry-run"], 2, "model.nmae: unknown key; did you mean 'name'?"),
    (["train.batch=many"], 2, "train.batch: input should be a valid integer"),
    (["train.batch=3"], 2, "train.batch: 3 images do not divide into 2 workers"),
    (["augment.kind=ada", "augment.p=2"], 2, "augment.p: must be a probability"),
    (["model.name=dcgam"], 2, "model.name: unknown value 'dcgam'; one of autoencoder, dcgan, ffc, "),
    (["game.objective=hing"], 2, "game.objective: unknown value 'hing'; one of elbo, hinge, "),
    (["game.penalties.r3=1"], 2, "game.penalties: unknown value 'r3'; one of bcr, charbonnier, "),
    (["augment.kind=adda"], 2, "augment.kind: unknown value 'adda'; one of ada, clip, color, "),
    (["data.medium=sound"], 2, "data.medium: unknown value 'sound'; one of audio, image"),
]
COMMANDS = """
import contextlib, io, json, sys
from gandist.train import main
watched, commands = json.loads(sys.argv[1])
ended = []
for arguments in commands:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as messages:
        try:
            status = main(arguments)
        except SystemExit as exit:
            status = exit.code
    ended.append([status, messages.getvalue(), [name for name in watched if name in sys.modules]])
print(json.dumps(ended))
"""
"""Runs commands one after the other; of each its exit status, messages, and the watched modules imported until then."""


Ended = list[tuple[int, str, list[str]]]


def ended(done: subprocess.CompletedProcess[str]) -> Ended:
    assert done.returncode == 0, done.stderr
    return [(status, messages, imported) for status, messages, imported in json.loads(done.stdout)]


def one_after_the_other(watched: tuple[str, ...], *commands: list[str]) -> Ended:
    """Of each command its exit status, messages, and the watched modules imported until then; torch was before."""
    return ended(python("-c", COMMANDS, json.dumps([watched, commands])))


@pytest.fixture(scope="module")
def told() -> Ended:
    """What each of `FAULTS` ended with, in one Python that had imported nothing."""
    given = json.dumps([HEAVY, [arguments for arguments, _, _ in FAULTS]])
    return ended(
        subprocess.run([sys.executable, "-c", COMMANDS, given], cwd=ROOT, capture_output=True, text=True, timeout=120)
    )


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda number: " ".join(FAULTS[number][0]))
def test_a_fault_is_told_before_torch_is_imported(number: int, told: Ended) -> None:
    _, status, message = FAULTS[number]
    found, messages, imported = told[number]
    assert (found, imported) == (status, [])
    assert message in messages


TABLES = """
import json
from gandist.gan import AUGMENTATIONS, NETWORKS, OBJECTIVES, PENALTIES
from gandist.conditions.kinds import AUTO, MAKERS
from gandist.gan.elbo import ELBO
from gandist.gan.likelihood import LIKELIHOOD
from gandist.gan.supervised import NONE
from gandist.media.kinds import MEDIA
print(json.dumps({
    "data.medium": [*MEDIA],
    "condition.kind": [AUTO, *MAKERS],
    "model.name": [*NETWORKS],
    "game.objective": [*OBJECTIVES, ELBO, NONE, LIKELIHOOD],
    "game.penalties": [*PENALTIES],
    "augment.kind": ["none", *AUGMENTATIONS],
}))
"""


def test_the_names_known_before_torch_are_those_of_the_tables() -> None:
    """In a process of its own, for other tests add to the tables."""
    done = python("-c", TABLES)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {path: [*names] for path, names in SHIPPED.items()}


def test_names_of_a_users_file_are_known(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text('from gandist.gan import OBJECTIVES\nOBJECTIVES["mine"] = OBJECTIVES["ns"]\n')
    added = ["demo", f"imports={mine}", "--dry-run"]
    (unknown, messages, _), (known, _, imported) = one_after_the_other(
        ("gandist.gan",), [*added, "game.objective=mime"], [*added, "game.objective=mine"]
    )
    assert (unknown, known, imported) == (2, 0, ["gandist.gan"])
    assert "game.objective: unknown value 'mime'; one of elbo, hinge, likelihood, ls, mine, " in messages


@pytest.mark.parametrize("norm_D", [pytest.param("none", marks=pytest.mark.nightly), "spectral"])
def test_a_run_on_a_cpu_imports_no_compiler(norm_D: str, tmp_path: Path) -> None:
    """Neither where it begins, nor, whatever the norm, where it goes on."""
    data = make_set(tmp_path, 20, size=32, channels=1)
    small = ["demo", f"data.path={data.base}", f"run.dir={tmp_path}", "launch.kind=local", "device=cpu"]
    small += [f"model.norm_D={norm_D}", "model.classes=0", "model.width=4", "train.batch=8", "eval.every_kimg=null"]
    small += [
        "game.differentiate=double"
    ]  # `linear` gives torch.autograd.grad a gradient to begin with: sympy checks it
    goes_on = norm_D == "spectral"
    many = (0.016, 0.032)[: 1 + goes_on]
    runs = one_after_the_other(UNUSED, *([*small, f"train.total_kimg={kimg}"] for kimg in many))
    for kimg, (status, messages, imported) in zip(many, runs, strict=True):
        assert (status, imported) == (0, []), messages
        assert f"done run=demo images_seen={1000 * kimg:.0f}" in messages
    assert ("resume run=demo images_seen=16" in messages) == goes_on


PAIRS = """
import sys
from gandist.config.run import override, validate
from gandist.gan import NETWORKS
CONDITIONS = {
    "none": {}, "class": {"model.classes": 10}, "text": {"model.text_dim": 8},
    "sample": {"condition.kind": "masked", "model.z_dim": 0},
}
for name, pair in NETWORKS.items():
    conditions = [each for each in pair.conditions if each in CONDITIONS]
    many = range(max(len(pair.norms_D), len(conditions)))  # each norm and each condition, and not each with each
    for norm, condition in [(pair.norms_D[i % len(pair.norms_D)], conditions[i % len(conditions)]) for i in many]:
        fields = {"model.name": name, "model.norm_D": norm, "model.resolution": 64, **CONDITIONS[condition]}
        fields["data.medium"] = pair.medium
        if pair.medium == "audio" and condition == "sample":
            fields["condition.kind"] = "mel"
        if pair.second_stage:
            fields |= {"model.stage_1": "runs/first", "model.stage_1_resolution": 32}
        if pair.encodes:
            fields["game.objective"] = "elbo"
        tree = {}
        for path, value in fields.items():
            override(tree, path, value)
        validate(tree)
        found = {"torch._dynamo", "sympy"} & set(sys.modules)
        assert not found, (found, fields)
"""


def test_checking_a_pair_imports_no_compiler() -> None:
    done = python("-c", PAIRS)
    assert done.returncode == 0, done.stderr
