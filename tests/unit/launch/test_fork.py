"""A run that starts from another's checkpoint."""

import json
from pathlib import Path

import pytest
import yaml

from gandist.distributed.consensus import Host
from gandist.errors import CheckpointError, ConfigError
from gandist.launch.fork import fork
from gandist.launch.resumption import prepare, run_root
from gandist.run import checkpoint
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.train import main
from gandist.training.worker import train
from tests.helpers.train_on_ranks import final_digests, tiny


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny(tmp_path_factory.mktemp("fork"), "donor")
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    return Path(run_root(config))


def test_its_weights_are_the_others_and_it_goes_on_with_its_own_rates(donor: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path, "taker", optim__lr_G=5e-3, train__total_kimg=0.18)
    storage = Storage(run_root(config))
    assert fork(config, storage, str(donor)) == 120
    theirs = json.loads((donor / "checkpoints/00000120/manifest.json").read_text())
    mine = json.loads((Path(storage.root) / "checkpoints/00000120/manifest.json").read_text())
    assert mine["files"] == theirs["files"], "the same weights, optimisers and state, by their sha256"
    assert mine["forked_from"] == {"run": str(donor), "images_seen": 120}
    outcome = train(config, prepare(config, "auto"), Host())
    assert (outcome.status, outcome.images_seen) == ("done", 180)
    row = json.loads((Path(storage.root) / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["lr/G"] == 5e-3


def test_an_unchanged_fork_ends_as_the_donor_would(donor: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path, "twin")
    storage = Storage(run_root(config))
    assert fork(config, storage, str(donor), 60) == 60
    assert train(config, prepare(config, "auto"), Host()).status == "done"
    assert final_digests(config) == final_digests(tiny(donor.parent, "donor"))


def test_what_it_had_of_later_is_gone(donor: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path, "ahead", run__seed=0, optim__lr_G=2e-3)
    storage = Storage(run_root(config))
    assert train(config, Checkpoints(storage), Host()).status == "done"
    fork(config, storage, str(donor), 60)
    assert checkpoint.names(storage) == ["00000060"]


def test_what_cannot_be_forked(donor: Path, tmp_path: Path) -> None:
    wider = tiny(tmp_path, "wider", model={"width": 8, "classes": 10, "z_dim": 8, "norm": "none"})
    with pytest.raises(ConfigError, match=r"its networks differ: model\.width: 4 -> 8"):
        fork(wider, Storage(run_root(wider)), str(donor))
    config = tiny(tmp_path, "taker")
    with pytest.raises(ConfigError, match="is no run"):
        fork(config, Storage(run_root(config)), str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="00000099"):
        fork(config, Storage(run_root(config)), str(donor), 99)
    assert checkpoint.names(Storage(run_root(config))) == []


def test_by_command(donor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(tmp_path, "command", train__total_kimg=0.18)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.resolved()))
    assert main([str(file), "--from", f"{donor}@60"]) == 0
    attempts = (Path(run_root(config)) / "attempt.json").read_text()
    assert json.loads(attempts)["attempt"] == 1
    rows = [json.loads(line) for line in (Path(run_root(config)) / "metrics.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows] == [120, 180]
    before = final_digests(config)
    assert main([str(file), "--from", f"{donor}@60"]) == 0, "the same command goes on with it"
    assert final_digests(config) == before
    assert main([str(file), "--from", f"{donor}@x", "--resume", "never"]) == 2
    assert "RUN or RUN@IMAGES_SEEN" in capsys.readouterr().err
