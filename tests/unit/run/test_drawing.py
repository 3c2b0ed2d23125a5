"""Drawing on several devices: the same images, bit for bit, in order, and not all of them at once."""

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.config.run import validate
from gandist.config.sample import shapes
from gandist.errors import ConfigError
from gandist.gan.networks import NETWORKS
from gandist.run import drawing
from gandist.run.drawing import AHEAD, devices_of, drawn
from gandist.run.trained import BATCH, Trained

CPU = torch.device("cpu")
PAIRS: dict[str, dict[str, Any]] = {
    "dcgan by class, BatchNorm": {"name": "dcgan", "width": 8, "z_dim": 16, "classes": 7},
    "dcgan": {"name": "dcgan", "width": 4, "norm": "none"},
    "sngan by class, conditional BatchNorm": {"name": "sngan", "width": 4, "classes": 3},
    "mlp": {"name": "mlp", "width": 32},
    "r3gan by class": {"name": "r3gan", "widths": [16, 16, 16, 16], "z_dim": 16, "classes": 5},
    "stackgan-1 by caption": {"name": "stackgan-1", "width": 4, "resolution": 64, "text_dim": 20},
}


def untrained(model: dict[str, Any]) -> Trained:
    """A generator whose weights are random, and as large as makes its images differ."""
    config = validate({"model": model, "train": {"batch": 16}, "data": {"channels": 3}})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = NETWORKS[config.model.name].generator(shapes(config)[0])
        with torch.no_grad():
            for p in G.parameters():
                if p.dim() > 1:
                    p.normal_(0, 0.2)
    return Trained(config, G.eval(), 0, CPU)


def inputs(trained: Trained, n: int) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    model, y = trained.config.model, None
    if model.classes:
        y = torch.arange(n) % model.classes
    if model.text_dim:
        y = torch.randn(n, model.text_dim, generator=generator)
    return trained.latents(n), y


@pytest.mark.parametrize("pair", PAIRS)
def test_the_same_bits_for_any_number_of_images_and_devices(pair: str) -> None:
    trained = untrained(PAIRS[pair])
    n = 3 * BATCH + 7
    z, y = inputs(trained, n)
    whole = trained.samples(z, y)
    assert whole.std() > 10
    assert len({image.tobytes() for image in whole}) == n
    for devices in (1, 2, 3, 7):
        parts = list(drawn(trained, z, y, [CPU] * devices))
        assert [len(part) for part in parts] == [BATCH, BATCH, BATCH, 7]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for fewer in (1, 2, BATCH - 1, BATCH, BATCH + 3):
        part = np.concatenate(list(drawn(trained, z[:fewer], None if y is None else y[:fewer], [CPU, CPU])))
        np.testing.assert_array_equal(part, whole[:fewer])


def test_little_is_drawn_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, devices, called = untrained(PAIRS["mlp"]), 2, []
    images = Trained.samples

    def counted(self: Trained, z: Tensor, y: Tensor | None) -> np.ndarray:
        called.append((id(self.G), threading.get_ident()))
        return images(self, z, y)

    monkeypatch.setattr(Trained, "samples", counted)
    batches = drawn(trained, trained.latents(100 * BATCH), devices=[CPU] * devices)
    assert not called, "nothing before the first is asked for"
    next(batches)
    next(batches)
    deadline = time.monotonic() + 30
    while len(called) < 1 + AHEAD * devices and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # in which more would be drawn
    assert len(called) == 1 + AHEAD * devices
    assert len(set(called)) == devices, "each with a copy of G and a thread of its own"
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("draw")]


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = untrained(PAIRS["mlp"])
    images = Trained.samples
    monkeypatch.setattr(Trained, "samples", lambda self, z, y: images(self, z, y) if len(z) == BATCH else 1 / 0)
    batches = drawn(trained, trained.latents(BATCH + 1), devices=[CPU, CPU])
    assert len(next(batches)) == BATCH
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_all_gpus_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices_of("cpu") == [CPU]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices_of("auto") == [CPU]
    with pytest.raises(ConfigError, match="no GPU"):
        devices_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices_of("auto") == devices_of("cuda") == [torch.device("cuda", i) for i in range(3)]


def test_threads_and_algorithms_are_those_of_the_caller() -> None:
    trained, found = untrained(PAIRS["mlp"]), []
    trained.G.register_forward_hook(
        lambda *_: found.append((torch.get_num_threads(), torch.backends.cudnn.deterministic))
    )
    before = torch.backends.cudnn.deterministic
    list(drawing.drawn(trained, trained.latents(1)))
    assert found == [(torch.get_num_threads(), True)]
    assert torch.backends.cudnn.deterministic == before
