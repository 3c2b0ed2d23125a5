"""A comparison as its command runs it: trained once, measured, written; and what is refused before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gandist.compare import main, plan, read, table, tables_of_groups
from gandist.config.sections import DataSection
from gandist.data import builtin
from gandist.errors import ConfigError
from gandist.evaluation import classifier
from gandist.evaluation.classifier import fit
from gandist.gan.networks.classifier import Classifier, Facts
from gandist.media.audio import Audio
from gandist.media.gallery import grid
from gandist.media.image import Image as PictureMedium
from gandist.media.video import Video
from gandist.report.side_by_side import playing, side_by_side
from tests.helpers.animated import decoded, moving
from tests.helpers.checkout_copy import ROOT
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import TINY

Tree = dict[str, Any]


def write(folder: Path, **changes: Any) -> Path:
    """A comparison of two losses on the tiny run, and the configuration of that beside it."""
    # Without a running average, ten steps show in the images.
    tiny = {**TINY, "optim": {**TINY["optim"], "ema_half_life_kimg": 0}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    config = str(folder / "tiny.yaml")
    tree = {
        "name": "pair",
        "variants": {
            "ns": {"config": config, "game.objective": "ns"},
            "rp+r1": {"config": config, "game.objective": "rp", "game.penalties": {"r1": {"weight": 0.5}}},
        },
        "seeds": [3],
        "measures": ["fd-classifier"],
        "n_samples": 50,
    }
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump({**tree, **changes}))
    return path


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, with classifiers that are hardly trained."""

    def hastily(data: DataSection, resolution: int) -> tuple[Classifier, Facts]:
        return fit(data, resolution, kimg=0.2)

    monkeypatch.setattr(classifier, "fit", hastily)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("hasty")
def test_trained_once_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path, 40, classes=10, channels=1)
    command = [str(write(tmp_path)), f"data.path={tmp_path}/shards", f"data.cache_dir={tmp_path}/cache"]
    assert main(command) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    folder = tmp_path / "comparisons" / "pair"
    results = json.loads((folder / "results.json").read_text())
    assert [(run["variant"], run["seed"], run["images_seen"]) for run in results["runs"]] == [
        ("ns", 3, 120),
        ("rp+r1", 3, 120),
    ]
    for run, name in zip(results["runs"], ("pair-ns-3", "pair-rp-r1-3"), strict=True):
        assert Path(run["run"]) == tmp_path / "runs" / name
        kept = yaml.safe_load((tmp_path / "runs" / name / "config.yaml").read_text())
        assert (kept["run"]["seed"], kept["launch"]["kind"]) == (3, "local")
        assert run["seconds"] > 0
        assert run["measures"]["fd-classifier"] > results["real"]["fd-classifier"] > 0
        protocol = run["protocol"]["fd-classifier"]
        assert (protocol["n_real"], protocol["n_fake"], protocol["resize"]) == (40, 50, "none")
        assert protocol["extractor"] == f"classifier of {tmp_path}/shards"
    assert results["runs"][0]["measures"] != results["runs"][1]["measures"]
    assert (folder / "table.md").read_text() in shown
    assert "| rp+r1 | 1 | 0.12 |" in shown
    width, height = Image.open(folder / "grids.png").size
    assert width > height

    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoints/*")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoints/*")} == checkpoints
    again = json.loads((folder / "results.json").read_text())
    assert again == results, "the same weights, images and scores"


@pytest.mark.usefixtures("hasty")
def test_measure_only_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path, 40, classes=10, channels=1)
    options = [f"data.path={tmp_path}/shards", f"data.cache_dir={tmp_path}/cache", "--measure-only"]
    assert main([str(write(tmp_path)), *options]) == 2
    assert "pair-ns-3: is no run" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "pair-ns-3" / "checkpoints").exists()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_modes(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The set of grey garments that other tests have too; the stacked one is smaller than theirs.
    grey = Path(builtin.builtin("fashion-10k", own_cache))
    (tmp_path / "cache/builtin").mkdir(parents=True)
    (tmp_path / "cache/builtin" / grey.name).symlink_to(grey)
    monkeypatch.setattr(builtin, "PER_MODE", 1)
    path = write(tmp_path, measures=["modes"])
    command = [str(path), "data.path=builtin:stacked-fashion", "data.channels=3", "model.classes=0"]
    assert main([*command, f"data.cache_dir={tmp_path}/cache", "--seeds", "0"]) == 0
    results = json.loads((tmp_path / "comparisons/pair/results.json").read_text())
    assert [(run["variant"], run["seed"]) for run in results["runs"]] == [("ns", 0), ("rp+r1", 0)]
    for run in results["runs"]:
        assert 1 <= run["measures"]["modes"] <= 50
        assert run["measures"]["KL"] > 2, "50 images cannot cover 1,000 modes"
        assert run["protocol"]["modes"]["accuracy"] > 0.1
    assert results["real"]["modes"] > max(run["measures"]["modes"] for run in results["runs"])


RESTORING: Tree = {
    "condition": {"kind": "degraded", "options": {"scale": 4, "operations": [{"blur": {"sigma": [0.5, 2], "p": 0.5}}]}},
    "model": {"name": "resnet", "z_dim": 0, "width": 4, "options": {"blocks": 1}},
    "eval": {"extractor": "classifier"},
}


def restoring(folder: Path) -> list[str]:
    """The command of a comparison of a G that makes images larger."""
    index = make_set(folder, 50, classes=0, channels=1)
    config = str(folder / "restoring.yaml")
    (folder / "restoring.yaml").write_text(yaml.safe_dump({**TINY, **RESTORING}))
    variants = {
        "l1": {"config": config, "game.objective": "none", "game.penalties": {"l1": 1.0}},
        "rp": {"config": config, "game.objective": "rp"},
    }
    path = write(folder, variants=variants, measures=["restoration"])
    return [str(path), f"data.path={index.base}", f"data.cache_dir={folder}/cache"]


@pytest.mark.usefixtures("hasty")
def test_outputs_beside_targets_and_what_needs_no_learning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(restoring(tmp_path)) == 0, capsys.readouterr().err
    folder = tmp_path / "comparisons/pair"
    results = json.loads((folder / "results.json").read_text())
    names = ["fd-classifier", "psnr", "ssim", "pd-classifier", "l1"]
    assert list(results["baselines"]) == ["bicubic", "nearest"]
    for found in [run["measures"] for run in results["runs"]] + list(results["baselines"].values()):
        assert list(found) == names
    assert [results["real"][name] for name in names[1:]] == [None, 1.0, 0.0, 0.0]
    protocol = results["runs"][0]["protocol"]["restoration"]
    assert (protocol["n_real"], protocol["n_fake"], protocol["perceptual"]) == (50, 50, "classifier")
    whole, *_, by_operation, by_strength = (folder / "table.md").read_text().split("\n\n")
    rows = [line.split("|")[1].strip() for line in whole.splitlines() if line.startswith("| ")]
    assert rows == ["variant", "l1", "rp", "bicubic, without learning", "nearest, without learning", "real images"]
    blurred = [run["by_operation"]["blur"] for run in results["runs"]]
    assert blurred[0]["n"] == blurred[1]["n"] == sum(each["n"] for each in results["runs"][0]["by_strength"].values())
    assert 0 < blurred[0]["n"] < 50
    assert blurred[0]["baseline"] == blurred[1]["baseline"]
    heading, _, *rows_of_blur = by_operation.splitlines()
    assert heading == "| Measures by operation | n | psnr | ssim | pd-classifier | l1 |"
    for row, name, of in zip(
        rows_of_blur,
        ("l1", "rp", "bicubic, without learning"),
        (*blurred, blurred[0]["baseline"]),
        strict=True,
    ):
        assert row.startswith(f"| blur: {name} | {of.get('n', '')} | {of['psnr']:.4g} |")
    assert [row for row in by_strength.splitlines() if "sigma 0.5 to 1: rp" in row]
    wide, _ = grid(np.zeros((48, 32, 32, 1), np.uint8), 6).size
    width, _ = Image.open(folder / "grids.png").size
    assert width == 4 * (wide + 40) - 40, "inputs, two variants, targets"


def test_restoration_of_a_g_that_is_given_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path, measures=["restoration"])), f"run.dir={tmp_path}"]) == 2
    assert "measures: restoration compares outputs with targets; set condition.kind" in capsys.readouterr().err


def test_variants_of_other_conditions_are_refused(tmp_path: Path) -> None:
    path, *_ = restoring(tmp_path)
    tree = yaml.safe_load(Path(path).read_text())
    tree["variants"]["rp"]["condition.options"] = {"scale": 2}
    Path(path).write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"variants\.rp: condition\.options is .*'scale': 2"):
        plan(*read(path))


def without(key: str) -> Callable[[Tree], Tree]:
    return lambda tree: {name: value for name, value in tree.items() if name != key}


def with_variant(**fields: Any) -> Callable[[Tree], Tree]:
    return lambda tree: {**tree, "variants": {**tree["variants"], "ns": {**tree["variants"]["ns"], **fields}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: {**tree, "measure": ["modes"]}, r"measure: unknown key.*did you mean 'measures'"),
        (lambda tree: {**tree, "measures": ["mode"]}, r"measures: unknown value 'mode'.*did you mean 'modes'"),
        (lambda tree: {**tree, "n_samples": 3}, r"n_samples: .*greater than or equal"),
        (lambda tree: {**tree, "seeds": ["x"]}, r"seeds\.0: .*integer"),
        (lambda tree: {**tree, "variants": {}}, r"variants: "),
        (lambda tree: {**tree, "variants": {"ns": {}}}, r"variants\.ns\.config: field required"),
        (without("name"), r"name: field required"),
        (with_variant(**{"game.objectiv": "ls"}), r"variants\.ns: .*game\.objectiv: unknown key.*'objective'"),
        (with_variant(config="nowhere"), r"variants\.ns: nowhere: no such file"),
        (with_variant(**{"data.channels": 3}), r"data\.channels is .*only generators of the same images"),
        (lambda tree: {**tree, "variants": {"a+b": tree["variants"]["ns"], "a-b": tree["variants"]["ns"]}}, "share"),
        (lambda tree: [tree], r"pair\.yaml: must hold sections \(name:, variants:, \.\.\.\), found a list"),
    ],
)
def test_refused_before_anything_runs(tmp_path: Path, change: Callable[[Tree], Any], message: str) -> None:
    path = write(tmp_path)
    path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))
    with pytest.raises(ConfigError, match=message) as refusal:
        plan(*read(str(path)))
    assert str(refusal.value).startswith(str(path))


def test_modes_of_other_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write(tmp_path, measures=["modes"])), f"run.dir={tmp_path}"]) == 2
    assert "data.path=builtin:stacked-fashion" in capsys.readouterr().err
    assert not (tmp_path / "pair-ns-3").exists()


def test_overrides_come_after_the_variant_and_seeds_may_be_others(tmp_path: Path) -> None:
    comparison, path = read(str(write(tmp_path)))
    runs = plan(comparison, path, ["game.objective=ls", "train.total_kimg=1"], [5, 6])
    assert [(run.variant, run.seed) for run in runs] == [("ns", 5), ("rp+r1", 5), ("ns", 6), ("rp+r1", 6)]
    assert {run.config.game.objective for run in runs} == {"ls"}
    assert {run.config.train.total_kimg for run in runs} == {1.0}
    assert [run.config.run.seed for run in runs] == [5, 5, 6, 6]
    assert runs[1].config.game.penalties["r1"].weight == 0.5


def test_table() -> None:
    protocol = {"modes": {"extractor": "classifier of x", "n_fake": 10}}
    results = [
        {"variant": v, "seed": s, "images_seen": 150_000, "seconds": t, "measures": {"KL": k}, "protocol": protocol}
        for v, s, t, k in (("a", 0, 100.0, 0.5), ("b", 0, 12345.6, 2.0), ("a", 1, 110.0, 0.7))
    ]
    assert table(results, {"KL": 0.01}).splitlines() == [
        "| variant | runs | kimg | KL | seconds |",
        "|---|---|---|---|---|",
        "| a | 2 | 150 ± 0 | 0.6 ± 0.14 | 105 ± 7.1 |",
        "| b | 1 | 150 | 2 | 12346 |",
        "| real images | | | 0.01 | |",
        "",
        "Mean ± standard deviation over seeds.",
        "",
        "modes: extractor classifier of x, n_fake 10.",
    ]


def test_what_needs_no_learning_stands_in_the_table() -> None:
    measures = {"psnr": 20.0, "l1": 0.5}
    result = {"variant": "a", "images_seen": 1000, "seconds": 1.0, "measures": measures, "protocol": {}}
    rows = table([result], {"psnr": None, "l1": 0.0}, {"bicubic": {"psnr": 17.0}}).splitlines()[2:5]
    assert rows == [
        "| a | 1 | 1 | 20 | 0.5 | 1 |",
        "| bicubic, without learning | | | 17 |  | |",
        "| real images | | |  | 0 | |",
    ]


def test_measures_within_groups_are_means_over_seeds() -> None:
    def of(variant: str, psnr: float, kid: float | None) -> Tree:
        box = {"n": 30, "psnr": psnr, "kid": kid, "kid_se": 0.5, "baseline": {"name": "diffusion", "psnr": 18.0}}
        return {"variant": variant, "by_mask": {"box": box, "half": {"n": 0}}}

    results = [of("a", 20.0, 0.1), of("diffusion", 19.0, 0.2), of("a", 22.0, 0.3), of("diffusion", 19.0, None)]
    assert tables_of_groups(results).splitlines() == [
        "",
        "| Measures by mask | n | psnr | kid |",
        "| --- | --- | --- | --- |",
        "| box: a | 30 | 21 ± 1.4 | 0.2 ± 0.14 |",
        "| box: diffusion | 30 | 19 ± 0 | not finite |",
        "| box: diffusion, without learning |  | 18 | - |",
        "| half: a | 0 | - | - |",
        "| half: diffusion | 0 | - | - |",
    ]
    assert tables_of_groups([{"variant": "a"}]) == ""


def test_grids_stand_side_by_side_under_their_labels() -> None:
    dark, light = (np.full((48, 32, 32, channels), value, np.uint8) for channels, value in ((1, 60), (1, 200)))
    picture = np.asarray(side_by_side({"dark": dark, "light": light}, PictureMedium(channels=1)))
    width = picture.shape[1]
    half = picture[60:, : width // 2], picture[60:, width // 2 :]
    assert (half[0] == 60).mean() > 0.9
    assert (half[1] == 200).mean() > 0.9
    assert (picture[:40, : width // 2] < 128).any(), "a label"
    assert (picture[:40, width // 2 :] < 128).any(), "a label"


def test_sounds_stand_side_by_side_as_their_spectrograms() -> None:
    medium = Audio(sample_rate=8000, samples=1024)
    loud = np.random.default_rng(0).integers(-9999, 9999, (12, 1024, 1), np.int16)
    picture = np.asarray(side_by_side({"silence": 0 * loud, "noise": loud}, medium).convert("L"))
    width = picture.shape[1]
    silence, noise = picture[60:, : width // 2], picture[60:, width // 2 :]
    assert (silence < 20).mean() > 0.5
    assert (noise < 20).mean() < 0.2
    assert (picture[:40, width // 2 :] < 128).any(), "a label"


def test_clips_play_side_by_side() -> None:
    """A variant whose clips move, beside one whose frames are all equal, which is stored as one."""
    medium = Video(resolution=16, channels=1, frames=4)
    examples = {"moves": moving(12, 4, 16), "stands": np.full((12, 4, 16, 16, 1), 128, np.uint8)}
    still = side_by_side(examples, medium)
    assert still.size == (2 * (4 * 96 + 3 * 2) + 40, 40 + 2 * 96 + 2), "the first clip of two lines, frame by frame"
    animation = playing(examples, medium)
    assert animation is not None
    frames, lengths_ms, _ = decoded(animation)
    assert lengths_ms == [125] * 4
    left, right = (np.stack([np.array_split(frame[60:], 2, axis=1)[side] for frame in frames]) for side in (0, 1))
    assert len({each.tobytes() for each in left}) == 4
    assert len({each.tobytes() for each in right[..., 40:, :]}) == 1
    assert playing({"a": moving(4, 4, 16)[:, 0]}, PictureMedium(channels=1)) is None


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/compare-*.yaml")), ids=lambda path: path.stem)
def test_shipped_comparisons(path: Path) -> None:
    runs = plan(*read(str(path)))
    assert runs
    if path.stem in ("compare-modes", "compare-vae", "compare-superres"):
        assert len({(run.config.train.total_kimg, run.config.train.batch) for run in runs}) == 1, "an equal budget"
    if path.stem == "compare-modes":
        assert {(run.config.game.objective, *sorted(run.config.game.penalties)) for run in runs} == {
            ("ns",),
            ("ls",),
            ("wasserstein", "gp"),
            ("rp", "r1"),
            ("rp", "r1", "r2"),
        }
