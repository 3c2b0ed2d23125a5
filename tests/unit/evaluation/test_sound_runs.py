"""Runs that make sounds are measured while they train, and by the command."""

import json
from functools import partial
from typing import Any

import pytest

from gandist import evaluate
from gandist.config.run import RunConfig
from gandist.distributed.consensus import Host
from gandist.evaluation import sound_classifier
from gandist.launch.resumption import prepare, run_root
from gandist.run import evaluations
from gandist.run.progress import decode
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.tones import RATE, make_tones
from tests.helpers.train_on_ranks import tiny

SAMPLES = 4096
VOCODER = {"strides": [8, 8], "block_kernels": [3], "dilations": [[1]], "discriminators": ["mpd"], "periods": [2]}
CASES: dict[str, dict[str, Any]] = {
    "by-class": {"model": {"name": "wavegan", "width": 4, "z_dim": 4, "classes": 2}},
    "vocoder": {
        "model": {"name": "hifigan", "width": 4, "z_dim": 0, "options": VOCODER},
        "condition": {"kind": "mel", "options": {"n_fft": 512, "hop": 64, "mels": 40}},
        "game": {"objective": "ls", "penalties": {"mel": 45, "features": 2}},
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    folder = tmp_path_factory.mktemp("runs")
    make_tones(folder, 48, samples=SAMPLES)
    options = {"sample_rate": RATE, "samples": SAMPLES}
    data = {"medium": "audio", "path": str(folder / "tones"), "options": options, "cache_dir": str(folder / "cache")}
    measured = {"every_kimg": 0.06, "n": 12}
    configs = {
        name: tiny(folder, name, data=data, eval=measured, precision="fp32", **case) for name, case in CASES.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_classifier, "fit", partial(sound_classifier.fit, kimg=0.25))
        for config in configs.values():
            assert train(config, prepare(config, "auto"), Host()).status == "done"
    return configs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("by-class", ["fad-classifier", "is", "memorisation", "ppl", "recognised"]),
        ("vocoder", ["fad-bands", "mel_l1", "stft", "stoi"]),
    ],
)
def test_rows_and_evaluations(case: str, names: list[str], runs: dict[str, RunConfig]) -> None:
    storage = Storage(run_root(runs[case]))
    rows = decode(storage.read_bytes("metrics.jsonl") or b"")
    assert len(rows) == 2
    for row in rows:
        assert row["verdict"] == "healthy"
        assert row["signal/diversity"] >= 0
        assert ("signal/faithful" in row) == (case == "vocoder")
        assert {f"quality/{name}" for name in names} <= {*row}
    found = evaluations.read(storage)
    assert [each["images_seen"] for each in found] == [60, 120]
    for name in names:
        assert found[-1]["measures"][name] is not None
    assert "image" not in json.dumps([found[-1]["protocol"], found[-1]["baselines"]])


@pytest.mark.slow
def test_the_command(runs: dict[str, RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    for case, baseline in (("by-class", "real sounds, held out"), ("vocoder", "griffin-lim")):
        run = run_root(runs[case])
        assert evaluate.main([run, "--n", "12", "--json"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["baseline"]["name"] == baseline
        assert evaluate.main([run, "--n", "12", "--extractor", "bands"]) == 0
        assert "fad-bands" in capsys.readouterr().out
        assert evaluate.main([run, "--n", "12", "--extractor", "effnet-lite0"]) == 2
        assert "effnet-lite0 is not for sounds; choose one of classifier, bands, torchscript" in capsys.readouterr().err
