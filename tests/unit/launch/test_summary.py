"""What --dry-run tells: numbers that can be worked out by hand."""

import re

import pytest
import torch

from gandist.config.run import validate
from gandist.config.sample import shapes
from gandist.gan.networks import NETWORKS, Shape
from gandist.launch.summary import NetworkTable, describe, memory_mib, table


def tables(shape: Shape) -> tuple[NetworkTable, NetworkTable]:
    pair = NETWORKS["dcgan"]
    with torch.device("meta"):
        G, D = pair.generator(shape).eval(), pair.discriminator(shape).eval()
        y = torch.zeros(1, dtype=torch.int64) if shape.classes else None
        x = torch.empty(1, shape.channels, shape.resolution, shape.resolution)
        return table("G", G, torch.empty(1, shape.z_dim), y), table("D", D, x, y)


def test_the_pair_of_the_text() -> None:
    G, D = tables(Shape(32, 3, 100, 64))
    convolutions = [layer for layer in G.layers if layer.multiply_adds]
    assert [layer.shape for layer in convolutions] == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (3, 32, 32)]
    # Of a transposed convolution each *input* pixel meets in x out x 4 x 4 weights.
    by_hand = [100 * 256 * 16, 256 * 128 * 16 * 4**2, 128 * 64 * 16 * 8**2, 64 * 3 * 16 * 16**2]
    assert [layer.multiply_adds for layer in convolutions] == by_hand
    assert G.multiply_adds == sum(by_hand)
    assert G.parameters == sum(layer.parameters for layer in G.layers) == 1_068_928

    convolutions = [layer for layer in D.layers if layer.multiply_adds]
    assert [layer.shape for layer in convolutions] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (1, 1, 1)]
    # Of a convolution each *output* pixel does.
    by_hand = [3 * 64 * 16 * 16**2, 64 * 128 * 16 * 8**2, 128 * 256 * 16 * 4**2, 256 * 16]
    assert [layer.multiply_adds for layer in convolutions] == by_hand
    assert D.multiply_adds == sum(by_hand)
    assert D.parameters == sum(layer.parameters for layer in D.layers) == 663_296


def test_classes_count_their_embeddings() -> None:
    G, D = tables(Shape(32, 1, 8, 4, classes=10))
    assert G.layers[0].kind == "Embedding"
    assert (G.layers[0].parameters, D.layers[-1].parameters) == (80, 160)
    assert G.parameters == sum(layer.parameters for layer in G.layers)


def test_the_table_is_readable() -> None:
    lines = str(tables(Shape(32, 3, 100, 64))[0]).splitlines()
    assert lines[0] == "G"
    assert lines[1].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert lines[2].split() == ["layers.0", "Project", "256x4x4", "409,600", "409,600"]
    assert lines[-1].split() == ["total", "1,068,928", "17,973,248"]
    assert len({len(line) for line in lines[1:]}) == 1, "columns are aligned"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "steps: 10 of 1 x 100 real images, on 1 worker(s) (ray); 100 images a micro-batch"),
        ({"game": {"n_critic": 3}}, "steps: 4 of 3 x 100"),
        ({"launch": {"workers": [2, 4]}}, "on 2 to 4 worker(s) (ray); 50 images a micro-batch"),
        ({"train": {"batch": 100, "accumulate": 5, "total_kimg": 0.95}}, "steps: 10 of 1 x 100 real images"),
        ({"launch": {"kind": "local", "workers": 3}}, "on 1 worker(s) (local); 100 images a micro-batch"),
    ],
)
def test_steps(changes: dict[str, dict[str, object]], told: str) -> None:
    config = validate({"model": {"width": 4}, "train": {"batch": 100, "total_kimg": 1}, **changes})
    assert told in describe(config)


def test_processes_of_torchrun_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = validate({"model": {"width": 4}, "train": {"batch": 100}, "launch": {"kind": "local"}})
    assert "on 4 worker(s) (local); 25 images a micro-batch" in describe(config)


def test_memory_is_weights_and_activations() -> None:
    config = validate({"model": {"width": 64}, "train": {"batch": 32}, "precision": "fp32", "launch": {"workers": 2}})
    G, D = tables(Shape(32, 3, 100, 64))
    # Weights, gradients and two moments of both, and G's average; four bytes each.
    weights = 4 * (4 * (1_068_928 + 663_296) + 1_068_928)
    # G: Project, BatchNorm and ReLU at each level, the last convolution and Tanh; D: alike, with no first BatchNorm.
    outputs_G = 3 * (256 * 16 + 128 * 64 + 64 * 256) + 2 * 3 * 1024
    outputs_D = 2 * 64 * 256 + 3 * (128 * 64 + 256 * 16) + 1
    assert memory_mib(config, [G, D]) == pytest.approx((weights + 4 * 16 * (outputs_G + outputs_D)) / 2**20)
    half = validate({**config.resolved(), "precision": "bf16"})
    assert memory_mib(half, [G, D]) == pytest.approx((weights + 2 * 16 * (outputs_G + outputs_D)) / 2**20)


CONDITIONS = {"none": {}, "class": {"classes": 10}, "text": {"text_dim": 6}, "sample": {"z_dim": 0}}
KNOWN = {name: [of for of in pair.conditions if of in CONDITIONS] for name, pair in NETWORKS.items()}


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        # By day each pair with one condition, in turn.
        pytest.param(name, of, marks=[] if j == i % len(known) else [pytest.mark.nightly])
        for i, (name, known) in enumerate(KNOWN.items())
        for j, of in enumerate(known)
    ],
)
def test_every_pair_is_described(name: str, condition: str) -> None:
    pair = NETWORKS[name]
    model: dict[str, object] = {"name": name, "resolution": 64, "width": 16, **CONDITIONS[condition]}
    if pair.second_stage:
        model |= {"stage_1": "runs/first", "stage_1_resolution": 32}
    given = {"kind": "masked" if condition == "sample" else "auto"}
    data: dict[str, object] = {"medium": pair.medium}
    if pair.medium == "audio":
        data |= {"options": {"sample_rate": 8000, "samples": 8192}}
        given = {"kind": "mel" if condition == "sample" else "auto"}
    game = {"objective": "elbo" if pair.encodes else "ns"}
    config = validate({"data": data, "model": model, "condition": given, "game": game})
    told = describe(config)
    shape_G, shape_D = shapes(config)
    with torch.device("meta"):
        for net in (pair.generator(shape_G), pair.discriminator(shape_D)):
            parameters = sum(p.numel() for p in net.parameters())
            assert re.search(rf"^total +{parameters:,} ", told, re.MULTILINE)


def test_nothing_is_stored() -> None:
    """The networks of a configuration that fits no machine are still described."""
    assert "worker(s)" in describe(validate({"model": {"width": 4096, "resolution": 128}}))
