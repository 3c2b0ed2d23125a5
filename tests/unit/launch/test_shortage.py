"""What a run on Ray says while it waits for workers."""

import pytest

from gandist.config.run import validate

on_ray = pytest.importorskip("gandist.launch.ray", reason="Ray is not installed")

ROOM = {"CPU": 4.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("workers", "there", "waited_s", "said"),
    [
        (2, ROOM, 100, "waiting for 2 workers with 1 CPU each"),
        ([1, 4], ROOM, 10, "waiting for 1 worker with 1 CPU each"),
        ([1, 4], ROOM, 40, "waiting for 1 worker with 1 CPU each; Ray may hold back for 180 s what another run asked"),
        (8, ROOM, 40, "waiting for 8 workers with 1 CPU each; the cluster has 4 CPU"),
        ([2, 4], {"CPU": 1.0}, 40, "waiting for 2 workers with 1 CPU each; the cluster has 1 CPU"),
    ],
)
def test_why_it_waits(workers: int | list[int], there: dict[str, float], waited_s: float, said: str) -> None:
    config = validate({"launch": {"kind": "ray", "workers": workers}})
    found = on_ray.shortage(config, {"CPU": 1.0}, there, waited_s)
    assert found.startswith(said)
    assert ("hold back" in found) == ("hold back" in said)
