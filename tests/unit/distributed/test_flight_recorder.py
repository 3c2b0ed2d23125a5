"""What NCCL did before a hang goes into the run's folder. No hang is played here: NCCL needs GPUs."""

from pathlib import Path

import pytest

from gandist.distributed.flight_recorder import variables, written
from tests.helpers.scripts import python

STARTED = """
import os
from gandist.config.run import validate
from gandist.launch.ray import trainer_of
from gandist.storage.storage import Storage
root = os.environ["ROOT"]
for resources in ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}):
    print(trainer_of(validate({}), Storage(root), "start", "name", resources).run_config.worker_runtime_env)
"""


def test_the_records_lie_in_the_runs_folder(tmp_path: Path) -> None:
    asked = variables(tmp_path / "run")
    assert asked == {"TORCH_NCCL_DUMP_ON_TIMEOUT": "1", "TORCH_FR_DUMP_TEMP_FILE": f"{tmp_path}/run/nccl/rank_"}
    assert written(tmp_path / "run") == written(None) == []
    Path(asked["TORCH_FR_DUMP_TEMP_FILE"] + "1").write_bytes(b"")  # as torch adds the rank's number
    assert written(tmp_path / "run") == [tmp_path / "run/nccl/rank_1"]


@pytest.mark.slow
def test_ray_workers_with_gpus_get_them(tmp_path: Path) -> None:
    """And others nothing, so that Ray can give them processes that are started already."""
    done = python("-c", STARTED, ROOT=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [str({"env_vars": variables(tmp_path / "run")}), "{}"]
