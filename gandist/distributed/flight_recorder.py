"""What NCCL was doing when a rank waited in vain: torch's flight recorder, told to write into the run's folder.

torch always records the latest 2,000 collective calls of each rank. With these variables it writes them when a call
takes longer than `launch.timeout_s`. `python -m torch.distributed.flight_recorder.fr_trace FOLDER` compares the files.
"""

from pathlib import Path

FOLDER = "nccl"
"""Below the run's folder: `rank_0`, `rank_1`, ..."""


def variables(run: Path) -> dict[str, str]:
    """Environment variables that torch reads when it makes the first NCCL group. The folder is made, for torch would
    not."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return {"TORCH_NCCL_DUMP_ON_TIMEOUT": "1", "TORCH_FR_DUMP_TEMP_FILE": str(folder / "rank_")}


def written(run: Path | None) -> list[Path]:
    """The ranks' files, if there are any."""
    return sorted((run / FOLDER).glob("rank_*")) if run is not None else []
