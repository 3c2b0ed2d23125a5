"""`python -m gandist.push` and hf:// addresses, against a stand-in of the Hub that its own library talks to."""

import builtins
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from gandist.config.run import RunConfig
from gandist.export import main as export
from gandist.launch.resumption import run_root
from gandist.push import main
from gandist.run.trained import open_trained
from gandist.sample import main as sample
from gandist.train import course
from gandist.train import main as train
from tests.helpers.hub_server import READS, WRITES, Hub, Repo, serve_hub, sha_of
from tests.helpers.train_on_ranks import tiny

pytestmark = pytest.mark.filterwarnings(
    # Of the Hub's library, which uploads so by its HTTP client.
    "ignore:Use 'content=:DeprecationWarning"
)

CPU = torch.device("cpu")
CHANGES: dict[str, Any] = {"train__sample_kimg": 0.06, "precision": "fp32"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    config = tiny(tmp_path_factory.mktemp("runs"), "donor", **CHANGES)
    assert course.run(config, "auto") == 0
    return config


@pytest.fixture(scope="module")
def run(config: RunConfig) -> Path:
    return Path(run_root(config))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the Hub's library keeps its cache."""
    return tmp_path / "hf"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub, on which this machine may write."""
    with serve_hub(home) as served:
        monkeypatch.setenv("HF_TOKEN", WRITES)
        yield served


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a dry run writes."""
    out = tmp_path_factory.mktemp("published") / "model"
    assert main([str(run), "me/garments", "--dry-run", "--out", str(out)]) == 0
    return out


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def with_imports(folder: Path, text: str) -> None:
    """Have a published model bring a file of Python, as gandist.push writes it."""
    (folder / "imports").mkdir()
    (folder / "imports/mine.py").write_text(text)
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**tree, "imports": ["imports/mine.py"]}))
    signed(folder, "imports/mine.py", "config.yaml")


def signed(folder: Path, *names: str) -> None:
    """Bring the manifest's sha256 of these files up to date."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def texts_of(*folders: Path) -> bytes:
    return b"".join(path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_dry_run_writes_a_folder_and_contacts_nobody(folder: Path, run: Path) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    players = {"G_ema.safetensors", "D.safetensors"}
    assert there == {"README.md", "config.yaml", "manifest.json", "samples.png", *players}
    for name in players:
        assert (folder / name).read_bytes() == (run / "checkpoints/00000120" / name).read_bytes()
    assert (folder / "samples.png").read_bytes() == (run / "samples/00000120.png").read_bytes()
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "unknown"
    assert facts["library_name"] == "gandist"
    assert facts["pipeline_tag"] == "unconditional-image-generation"
    assert {"gan", "dcgan"} <= {*facts["tags"]}
    for part in ("hf://me/garments", "Ankle boot", "10,000 images", "120", "2.", "is unknown how near", "Not stated"):
        assert part in text
    assert yaml.safe_load((folder / "config.yaml").read_text())["run"]["name"] == "donor"


def test_measures_stand_in_the_card_with_their_protocol(run: Path, tmp_path: Path) -> None:
    measured = copied(run, tmp_path / "measured")
    protocol = {"extractor": "classifier", "n_real": 10_000, "n_fake": 2_000}
    measures = {"fd-classifier": 3.25, "kid": 0.25, "kid_se": 0.125, "memorisation": 0.25, "is": None}
    floor = {"name": "diffusion fill", "psnr": 18.0}
    groups = {"box": {"n": 30, "psnr": 21.5, "baseline": floor}, "strokes-wide": {"n": 70, "psnr": 24.0}}
    line = {"images_seen": 120, "measures": measures, "protocol": protocol, "by_mask": groups}
    (measured / "evaluations.jsonl").write_text(json.dumps(line) + "\n")
    out = ["--dry-run", "--out", str(tmp_path / "out"), "--licence", "cc-by-4.0", "--no-samples"]
    assert main([str(measured), "me/garments", "--images-seen", "best", *out]) == 0
    _, front, text = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "cc-by-4.0"
    (result,) = facts["model-index"][0]["results"]
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "fd-classifier": 3.25,
        "kid": 0.25,
        "memorisation": 0.25,
    }
    for part in (
        "3\\.25",
        "0\\.25 ± 0\\.125",
        "not finite",
        "n fake: 2,000",
        "Measures by mask:\n\n|  | n | psnr |\n",
        "| box | 30 | 21\\.5 |\n| box\\: diffusion fill\\, without learning |  | 18 |\n",
        "| strokes\\-wide | 70 | 24 |\n\nProtocol:",
        "**Yes, many are.**",
        "0.25 times as far",
    ):
        assert part in text
    assert not (tmp_path / "out/samples.png").exists()


def test_the_library_reads_the_card(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "gandist"


def test_pushed_and_drawn_from_it_is_the_run(
    hub: Hub, home: Path, run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "me/garments", "--licence", "mit", "--private"]) == 0
    repo = hub.repos["me/garments"]
    assert repo.private
    assert repo.messages == ["donor at 120 images seen"], "one commit"
    assert repo.newest.keys() == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    drawn: list[bytes] = []
    for source in (str(run), str(folder), "hf://me/garments", f"hf://me/garments@{sha_of(1)}"):
        out = tmp_path / f"{len(drawn)}.png"
        assert sample([source, "--n", "4", "--out", str(out), "--device", "cpu"]) == 0
        drawn.append(out.read_bytes())
    assert len({*drawn}) == 1
    fetched = [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    assert len(fetched) == len({*fetched}), "each file once"
    assert not any("D.safetensors" in path for path in fetched), "drawing needs no D"
    output = capfd.readouterr()
    assert f"{hub.url}/me/garments" in output.out
    assert WRITES not in output.out + output.err
    assert WRITES.encode() not in texts_of(home, run, folder) + b"".join(repo.newest.values())


def test_a_run_begins_with_the_published_players(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.repos["me/garments"] = served(folder)
    config = tiny(tmp_path, "mine", **CHANGES, train__total_kimg=0.012)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(config.resolved()))
    assert train([str(file), "--from", "hf://me/garments"]) == 0
    begun = tmp_path / "mine/checkpoints/00000000"
    for mine, theirs in (("G", "G_ema"), ("G_ema", "G_ema"), ("D", "D")):
        tensors, published = (load_file(at) for at in (begun / f"{mine}.safetensors", folder / f"{theirs}.safetensors"))
        assert tensors.keys() == published.keys()
        assert all(torch.equal(tensor, published[name]) for name, tensor in tensors.items())
    assert load_file(begun / "optim_G.safetensors") == {}, "optimisers are new"
    manifest = json.loads((begun / "manifest.json").read_text())
    assert manifest["forked_from"] == {"run": "hf://me/garments", "images_seen": 120}
    rows = [json.loads(line) for line in (tmp_path / "mine/metrics.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows] == [12]


def served(folder: Path) -> Repo:
    """A model on the Hub with these files."""
    repo = Repo(private=False)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    repo.commits.append(files)
    return repo


def test_a_folder_with_other_networks_begins_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(tmp_path, "wider", **{**CHANGES, "model": {"width": 8, "classes": 10, "z_dim": 8, "norm": "none"}})
    file = tmp_path / "wider.yaml"
    file.write_text(yaml.safe_dump(config.resolved()))
    assert train([str(file), "--from", str(folder)]) == 2
    assert "its networks differ: model.width: 4 -> 8" in capsys.readouterr().err
    assert train([str(file), "--from", f"{folder}@60"]) == 2
    assert "holds one checkpoint, of 120 images, not 60" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "token", "words"),
    [
        (["me/garments", "--licence", "mit"], None, ["no token", "hf auth login", "HF_TOKEN"]),
        (["me/garments", "--licence", "mit"], "hf_wrong0123456789", ["does not accept the token", "401"]),
        (["me/garments", "--licence", "mit"], READS, ["no permission", "403"]),
        (["me/garments"], WRITES, ["--licence", "apache-2.0", "cc-by-4.0"]),
        (["me/garments", "--licence", "My Own"], WRITES, ["--licence My Own"]),
        (["garments", "--licence", "mit"], WRITES, ["garments: a model's name on the Hub is OWNER/NAME"]),
        (["me/garments", "--dry-run"], WRITES, ["--out DIR"]),
        (["me/public", "--licence", "mit", "--private"], WRITES, ["--private", "is there and public"]),
    ],
)
def test_a_push_that_cannot_be_is_refused_in_one_line(
    hub: Hub,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    token: str | None,
    words: list[str],
) -> None:
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    if "me/public" in arguments:
        hub.repos["me/public"] = Repo(private=False)
    assert main([str(run), *arguments]) == 2
    output = "".join(capfd.readouterr())
    (line,) = output.splitlines()
    for word in words:
        assert word in line
    assert not any(secret in output for secret in (WRITES, READS, "hf_wrong0123456789"))
    assert all(repo.newest == {} for repo in hub.repos.values()), "nothing was written"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://me/nothing", ["no such model (404)", "hf auth login"]),
        ("hf://me/garments@no-branch", ["no such revision"]),
        ("hf://garments", ["OWNER/NAME"]),
        ("hf://me/garments@", ["after the @"]),
        ("hf://me/other", ["no model of gandist"]),
    ],
)
def test_an_address_that_leads_nowhere_is_told(
    hub: Hub, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], address: str, words: list[str]
) -> None:
    hub.repos["me/garments"] = served(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("architecture: gpt\n")
    hub.repos["me/other"] = served(tmp_path / "other")
    assert sample([address, "--out", str(tmp_path / "drawn.png"), "--device", "cpu"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("gandist: hf://")
    for word in words:
        assert word in error
    assert WRITES not in error


def test_without_a_network_what_was_fetched_is_used(
    home: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serve_hub(home) as hub:
        hub.repos["me/garments"] = served(folder)
        open_trained("hf://me/garments", CPU)
        url = hub.url
        for name in [*hub.repos]:
            del hub.repos[name]
    with serve_hub(home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", url)  # where nobody answers any more
        assert open_trained("hf://me/garments", CPU).images_seen == 120
        assert sample(["hf://me/never-fetched", "--out", str(tmp_path / "drawn.png")]) == 2
    assert "the Hub cannot be reached" in capfd.readouterr().err


def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_as_usual = builtins.__import__

    def without_it(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(f"No module named {name!r}")
        return import_as_usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_it)
    assert sample(["hf://a/b", "--out", "x.png"]) == 2
    assert main([str(run), "a/b", "--licence", "mit"]) == 2
    assert capsys.readouterr().err.count("pip install 'gandist[hub]'") == 2
    assert main([str(run), "a/b", "--dry-run", "--out", str(tmp_path / "out")]) == 0, "a dry run does without it"


def test_a_foreign_models_python_files_run_only_if_trusted(
    hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, trace = copied(folder, tmp_path / "model"), tmp_path / "trace"
    with_imports(model, f"from pathlib import Path\nPath({str(trace)!r}).touch()\n")
    hub.repos["me/garments"] = served(model)
    for source in ("hf://me/garments", str(model)):
        assert sample([source, "--out", str(tmp_path / "drawn.png"), "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert "imports/mine.py" in error
        assert "--trust" in error
        assert not trace.exists()
    weights = ["--to", "safetensors", "--out", str(tmp_path / "G.safetensors")]
    assert export([str(model), *weights]) == 2
    assert not trace.exists()
    assert sample(["hf://me/garments", "--trust", "--n", "4", "--out", str(tmp_path / "drawn.png")]) == 0
    assert trace.exists()
    assert export([str(model), *weights, "--trust"]) == 0


def test_a_foreign_configuration_chooses_no_folder_of_this_machine(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "model")
    tree = yaml.safe_load((model / "config.yaml").read_text())
    tree["data"]["cache_dir"], tree["eval"]["weights"] = str(tmp_path / "chosen"), "any.pt"
    tree["run"]["dir"] = "/etc"
    (model / "config.yaml").write_text(yaml.safe_dump(tree))
    signed(model, "config.yaml")
    config = open_trained(str(model), CPU).config
    assert (config.data.cache_dir, config.eval.weights, config.run.dir) == (None, None, "runs")


@pytest.mark.parametrize("name", ["G_ema.safetensors", "config.yaml", "manifest.json"])
def test_a_damaged_file_is_noticed(folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = copied(folder, tmp_path / "model")
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[:-5] + b"     " if name != "manifest.json" else content[:-5])
    assert sample([str(model), "--out", str(tmp_path / "drawn.png"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert f"{model}: " in error
    assert name in error
    assert "damaged" in error


def test_a_file_that_arrives_damaged_is_fetched_again(
    hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["me/garments"] = served(folder)
    content = (folder / "G_ema.safetensors").read_bytes()
    hub.altered["G_ema.safetensors"] = content[:-4] + b"\0\0\1\1"
    assert sample(["hf://me/garments", "--out", str(tmp_path / "drawn.png"), "--device", "cpu"]) == 2
    assert "G_ema.safetensors: damaged" in capsys.readouterr().err
    hub.altered.clear()
    open_trained("hf://me/garments", CPU)


def test_no_file_with_the_token_is_pushed(
    hub: Hub, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = copied(run, tmp_path / "told")
    text = (told / "config.yaml").read_text()
    (told / "config.yaml").write_text(text.replace("builtin:fashion-10k", f"somewhere/{WRITES}"))
    assert main([str(told), "me/garments", "--licence", "mit"]) == 2
    output = "".join(capfd.readouterr())
    assert "holds your token" in output
    assert hub.repos == {}
