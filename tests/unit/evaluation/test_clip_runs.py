"""Runs that make clips are measured while they train, and by the command; a G of still pictures is found out."""

import json

import pytest
import torch
from torch import Tensor, nn

from gandist import evaluate, usefulness
from gandist.config.run import RunConfig
from gandist.distributed.consensus import Host
from gandist.gan.networks import NETWORKS, vgan
from gandist.launch.resumption import prepare, run_root
from gandist.monitoring.metrics import OF_MOTION
from gandist.run import evaluations
from gandist.run.progress import decode
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.squares import CLIPS, SIZE, make_squares
from tests.helpers.train_on_ranks import tiny


class Eyes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3, 4)), x.diff(dim=2).abs().mean((2, 3, 4))], 1)


class Still(vgan.Generator):
    """Shows the first frame all the time."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        clips = super().forward(z, y)
        return clips[:, :, :1].expand_as(clips)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    folder = tmp_path_factory.mktemp("runs")
    make_squares(folder, 48)
    torch.jit.script(Eyes()).save(str(folder / "eyes.ts"))  # type: ignore[no-untyped-call]
    data = {**CLIPS, "path": str(folder / "squares"), "cache_dir": str(folder / "cache")}
    model = {"name": "vgan", "width": 4, "z_dim": 4, "classes": 0, "resolution": SIZE}
    measured = {"every_kimg": 0.06, "n": 16, "extractor": "torchscript", "weights": str(folder / "eyes.ts")}
    given = {"data": data, "model": model, "eval": measured, "precision": "fp32"}
    configs = {name: tiny(folder, name, **given) for name in ("moving", "still")}
    for name, config in configs.items():
        with pytest.MonkeyPatch.context() as patch:
            if name == "still":
                patch.setitem(NETWORKS, "vgan", NETWORKS["vgan"]._replace(generator=Still))
            assert train(config, prepare(config, "auto"), Host()).status == "done"
    return configs


@pytest.mark.slow
def test_rows_and_evaluations(runs: dict[str, RunConfig]) -> None:
    for name, config in runs.items():
        storage = Storage(run_root(config))
        rows = decode(storage.read_bytes("metrics.jsonl") or b"")
        assert len(rows) == 2
        for row in rows:
            assert row["verdict"] == "healthy", "it is early"
            assert (row["signal/motion"] > 0) == (row["quality/motion"] > 0) == (name == "moving")
            assert row["quality/frozen"] == (name == "still") or name == "moving"
            assert {f"quality/{measure}" for measure in ("fvd-torchscript", *OF_MOTION)} <= {*row}
        found = evaluations.read(storage)
        assert [each["images_seen"] for each in found] == [60, 120]
        assert found[-1]["baselines"]["real clips"]["motion"] == 1
        assert "image" not in json.dumps([found[-1]["protocol"], found[-1]["baselines"]])


def test_the_command(runs: dict[str, RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    run = run_root(runs["moving"])
    assert evaluate.main([run, "--n", "16", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["baseline"]["name"] == "real clips"
    assert evaluate.main([run, "--n", "16", "--extractor", "effnet-lite0"]) == 2
    assert "effnet-lite0 is not for clips; choose one of classifier, frames, torchscript" in capsys.readouterr().err


def test_usefulness_needs_classes(runs: dict[str, RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert usefulness.main([run_root(runs["moving"]), "--test", runs["moving"].data.path]) == 2
    assert "has no classes (model.classes=0) for a classifier of clips to learn" in capsys.readouterr().err
