"""A loss that waits: a run that goes on until something has happened leaves the cores to what it waits for."""

from pathlib import Path
from typing import Any

SOURCE = """
import time
from gandist.gan.objectives import OBJECTIVES

def slow(real, fake):
    time.sleep({wait_s})
    return OBJECTIVES["ns"].critic(real, fake)

OBJECTIVES["slow"] = OBJECTIVES["ns"]._replace(critic=slow)
"""


def slow_loss(folder: Path, wait_s: float = 0.04) -> dict[str, Any]:
    """Changes to a configuration: `ns`, which waits for `wait_s` seconds in each step, from a file in `folder`."""
    file = folder / "slow.py"
    file.write_text(SOURCE.format(wait_s=wait_s))
    return {"imports": [str(file)], "game__objective": "slow"}
