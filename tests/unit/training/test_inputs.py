"""What a step is given: a function of the images seen, the same for any number of ranks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.config.methods import latents_of, new_game, new_players
from gandist.config.run import RunConfig
from gandist.config.schedule import Ramp, value_at
from gandist.data.resident import RawBatch
from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.networks.stackgan import CODE
from gandist.gan.players import Players
from gandist.launch.resumption import run_root
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.inputs import Inputs
from gandist.training.worker import train
from tests.helpers.image_to_image import GAMES
from tests.helpers.train_on_ranks import tiny

CPU = torch.device("cpu")
BATCH, IMAGES, TEXT_DIM = 12, 30, 5
LABELS = np.arange(IMAGES) % 10
VECTORS = np.random.default_rng(0).standard_normal((IMAGES, TEXT_DIM)).astype(np.float32)
TEXT: dict[str, Any] = {"model__classes": 0, "model__text_dim": TEXT_DIM}


class Given:
    """The inputs of a configuration and its players, for one of `world_size` ranks."""

    def __init__(self, config: RunConfig, rank: int = 0, world_size: int = 1) -> None:
        self.config, self.rows = config, slice(rank, BATCH, world_size)
        self.conditions = VECTORS if config.model.text_dim else LABELS
        self.players: Players = new_players(config, CPU)
        game = new_game(config, self.players, Ranks(0, 1, CPU))
        self.inputs = Inputs(config, Ranks(rank, world_size, CPU), self.conditions, game)

    def raw(self, seen: int) -> RawBatch:
        numbers = np.arange(seen, seen + BATCH)[self.rows] % IMAGES
        size, channels = self.config.model.resolution, self.config.data.channels
        pixels = np.stack([np.full((size, size, channels), number, np.uint8) for number in numbers])
        pixels[:, :, 0] = 255  # the left edge, by which a mirrored image is known
        return RawBatch(torch.from_numpy(pixels), torch.from_numpy(self.conditions[numbers]))

    def at(self, seen: int) -> tuple[list[Reals], list[Latents], Latents, Scheduled]:
        self.players.images_seen = seen
        raw = [self.raw(seen + sub * BATCH) for sub in range(self.config.game.n_critic)]
        scheduled = torch.tensor(self.inputs.scheduled(seen, self.players.lr_scale), dtype=torch.float64)
        return self.inputs.of(self.players, raw, torch.tensor(seen), scheduled, self.inputs.due(seen))


def tensors(given: tuple[list[Reals], list[Latents], Latents, Scheduled]) -> dict[str, Tensor]:
    """Every tensor by where it stands."""
    reals, for_D, for_G, _ = given
    named = {f"real{i}": part for i, part in enumerate(reals)} | {f"D{i}": part for i, part in enumerate(for_D)}
    found: dict[str, Tensor] = {}
    for name, (first, y, noise) in {**named, "G": for_G}.items():
        found |= {f"{name}/0": first, **({} if y is None else {f"{name}/y": y})}
        found |= {f"{name}/{key}": value for key, value in noise.items()}
    return found


EVERYTHING: dict[str, Any] = {
    "game__n_critic": 2,
    "game__penalties": {"gp": 10, "dragan": 1, "bcr": 1, "mismatch": 1},
    "augment__kind": "ada",
    "data__flip": True,
    "game__objective": "rp",
}


def test_penalties_are_due_by_their_intervals_in_updates_of_D(tmp_path: Path) -> None:
    """Counted over all updates of D, through n_critic of them a step, and over the step's for G."""
    penalties = {"r1": {"weight": 2, "interval": 3}, "gp": 10, "kl": {"weight": 0.5, "interval": 2}}
    given = Given(tiny(tmp_path, "due", model__name="stackgan-1", game__n_critic=2, game__penalties=penalties))
    found = [given.at(step * 2 * BATCH)[-1] for step in range(6)]
    updates_D = [weights for now in found for weights in now.weights_D]
    assert len(updates_D) == 12
    for update, weights in enumerate(updates_D):
        assert weights == {"gp": 10, **({"r1": 6.0} if update % 3 == 0 else {})}, update
    assert [now.weights_G for now in found] == [{"kl": 1.0}, {}] * 3


def test_a_penalty_that_falls_on_other_updates_than_the_last_is_shown(tmp_path: Path) -> None:
    config = tiny(tmp_path, "shown", game__n_critic=2, game__penalties={"r1": {"weight": 1, "interval": 2}})
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    rows = [json.loads(line) for line in (Path(run_root(config)) / "metrics.jsonl").read_text().splitlines()]
    assert all(row["penalty/r1"] > 0 for row in rows)


RAMP = {"start": 0.2, "end": 0.8, "over_kimg": 0.12, "shape": "linear"}


@pytest.mark.parametrize("seen", [0, 24, 72, 120, 960])
def test_scheduled_numbers_are_those_at_the_images_seen(tmp_path: Path, seen: int) -> None:
    expected = value_at(Ramp.model_validate(RAMP), seen)
    given = Given(
        tiny(
            tmp_path,
            "scheduled",
            optim__lr_G=RAMP,
            optim__lr_D=1e-3,
            optim__betas=[0.1, RAMP],
            optim__ema_half_life_kimg=RAMP,
            game__clip=RAMP,
            game__penalties={"lecam": {"weight": RAMP, "interval": 2}},
            augment__kind="color",
            augment__p=RAMP,
        )
    )
    now = given.at(seen)[-1]
    for player, lr in ((given.players.G, expected), (given.players.D, 1e-3)):
        assert [group["lr"] for group in player.optimizer.param_groups] == [pytest.approx(lr)]
        assert [group["betas"] for group in player.optimizer.param_groups] == [(0.1, pytest.approx(expected))]
    assert now.clip == pytest.approx(expected)
    assert now.beta == pytest.approx(0.5 ** (BATCH / (expected * 1000)))
    (weights,) = now.weights_D
    assert weights == {"lecam": pytest.approx(2 * expected)}
    assert float(given.players.memory["augment"][0]) == pytest.approx(expected)


def test_an_average_whose_half_life_ramps_up(tmp_path: Path) -> None:
    given = Given(tiny(tmp_path, "rampup", optim__ema_half_life_kimg=0.5, optim__ema_rampup=0.5, game__n_critic=2))
    betas = [given.at(seen)[-1].beta for seen in (0, 240, 1000, 24_000)]
    assert betas == pytest.approx([0, 0.5 ** (24 / 120), 0.5 ** (24 / 500), 0.5 ** (24 / 500)])


def test_a_p_that_adapts_is_left_alone(tmp_path: Path) -> None:
    given = Given(tiny(tmp_path, "adapts", augment__kind="ada", augment__p=0.1, augment__target=0.6))
    assert given.players.memory["augment"].tolist() == [0.1, 0, 0]
    given.players.memory["augment"][0] = 0.4
    given.at(240)
    assert float(given.players.memory["augment"][0]) == 0.4


@pytest.mark.parametrize("condition", [{}, TEXT, {"model__classes": 0, "game__penalties": {"gp": 1}}], ids=str)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_what_one_would_be_given(tmp_path: Path, world_size: int, condition: dict[str, Any]) -> None:
    config = tiny(tmp_path, "shared", **{**EVERYTHING, **condition})
    whole = tensors(Given(config).at(48))
    parts = [tensors(Given(config, rank, world_size).at(48)) for rank in range(world_size)]
    for name, tensor in whole.items():
        assert len(tensor) == BATCH
        together = torch.empty_like(tensor)
        for rank, part in enumerate(parts):
            together[rank::world_size] = part[name]
        assert torch.equal(together, tensor), name


def test_every_draw_is_its_own(tmp_path: Path) -> None:
    """Other for each purpose, each update of D within a step and each step; the same when asked again."""
    given = Given(tiny(tmp_path, "own", **EVERYTHING))
    drawn: list[Tensor] = []
    for seen in (0, 24, 48):
        found = tensors(given.at(seen))
        noise = {name: value for name, value in found.items() if not name.startswith("real") or "/0" not in name}
        noise = {name: value for name, value in noise.items() if value.is_floating_point()}
        assert noise.keys() == {
            *("D0/0", "D1/0", "G/0", "G/augment_real", "G/augment_fake"),
            *(
                f"real{sub}/{purpose}"
                for sub in (0, 1)
                for purpose in ("augment_real", "augment_fake", "mix", "delta", "move_real", "move_fake")
            ),
        }
        drawn += noise.values()
        again = tensors(given.at(seen))
        assert all(torch.equal(value, again[name]) for name, value in found.items())
    firsts = {tuple(value.flatten()[:3].tolist()) for value in drawn}
    assert len(firsts) == len(drawn)


def test_nothing_is_drawn_that_nothing_takes(tmp_path: Path) -> None:
    reals, for_D, for_G, _ = Given(tiny(tmp_path, "plain")).at(0)
    assert [reals[0].noise, for_D[0].noise, for_G.noise] == [{}, {}, {}]
    noise = Given(tiny(tmp_path, "unpaired", augment__kind="ada")).at(0)[2].noise
    assert noise.keys() == {"augment_fake"}, "G's loss looks at reals in paired objectives alone"


def test_the_shapes_of_noise(tmp_path: Path) -> None:
    given = Given(tiny(tmp_path, "shapes", **{**EVERYTHING, "data__channels": 3, "precision": "fp32"}))
    noise = given.at(0)[0][0].noise
    assert noise["mix"].shape == (BATCH, 1, 1, 1)
    assert noise["delta"].shape == (BATCH, 3, 32, 32)
    assert noise["augment_real"].shape == (BATCH, 28)
    assert float(noise["delta"].min()) < -2, "normal"
    for name in ("mix", "augment_real", "augment_fake", "move_real"):
        assert 0 <= float(noise[name].min()) < float(noise[name].max()) < 1
    assert {tensor.dtype for tensor in noise.values()} == {torch.float32}


def test_flips_are_of_this_batch_and_of_half_of_it(tmp_path: Path) -> None:
    given = Given(tiny(tmp_path, "flipped", data__flip=True))
    mirrored = []
    for seen in range(0, 600, BATCH):
        ((x, _, _),) = given.at(seen)[0]
        assert x.min() >= -1
        assert x.max() <= 1
        left, right = x[:, 0, 0, 0] == 1, x[:, 0, 0, -1] == 1
        assert torch.equal(left, ~right)
        mirrored.append(right)
    assert 0.4 < float(torch.cat(mirrored).float().mean()) < 0.6
    assert len({tuple(flips.tolist()) for flips in mirrored}) > 40


def test_classes_of_fakes_are_drawn_evenly(tmp_path: Path) -> None:
    given = Given(tiny(tmp_path, "classes"))
    drawn = [given.at(seen)[1][0].y for seen in range(0, 6000, BATCH)]
    counts = torch.cat([y for y in drawn if y is not None]).bincount()
    assert len(counts) == 10
    assert counts.min() > 450
    reals = given.at(24)[0][0]
    assert reals.y is not None
    assert reals.y.tolist() == [number % IMAGES % 10 for number in range(24, 36)]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_captions_of_fakes_are_those_of_real_images(tmp_path: Path, precision: str) -> None:
    given = Given(tiny(tmp_path, "captions", precision=precision, **TEXT))
    seen_rows: set[int] = set()
    for seen in range(0, 600, BATCH):
        reals, for_D, for_G, _ = given.at(seen)
        for y in (for_D[0].y, for_G.y):
            assert y is not None
            assert y.dtype == (torch.float64 if precision == "fp64" else torch.float32)
            matches = (torch.from_numpy(VECTORS)[None] == y.float()[:, None]).all(2)
            assert matches.any(1).all()
            seen_rows |= set(matches.nonzero()[:, 1].tolist())
        assert reals[0].y is not None
        assert torch.equal(reals[0].y.float(), torch.from_numpy(VECTORS[np.arange(seen, seen + BATCH) % IMAGES]))
        assert for_D[0].y is not None
        assert not torch.equal(for_D[0].y, reals[0].y), "drawn independently of the images"
    assert seen_rows == set(range(IMAGES))


def test_sample_grids_stay_the_same(tmp_path: Path) -> None:
    """A class, or a caption, a row; latents that depend on nothing but the seed."""
    for name, condition in (("classes", {}), ("captions", TEXT), ("plain", {"model__classes": 0})):
        given = Given(tiny(tmp_path, name, **condition))
        z, y = given.inputs.of_samples(4, 3)
        given.at(240)
        other = Given(tiny(tmp_path, name, **condition), rank=1, world_size=2)
        again, same = other.inputs.of_samples(4, 3)
        assert torch.equal(z, again)
        assert z.shape == (12, 8)
        assert len({tuple(row) for row in z.tolist()}) == 12
        if name == "plain":
            assert y is None
            continue
        assert y is not None
        assert same is not None
        assert torch.equal(y, same)
        rows = y.reshape(4, 3, *y.shape[1:])
        assert all(torch.equal(rows[:, 0], rows[:, column]) for column in (1, 2))
        if name == "classes":
            assert y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        else:
            index: Any = SimpleNamespace(captions=[str(number) for number in range(IMAGES)])
            numbers = [int(caption) for caption in given.inputs.sample_captions(index, 4)]
            np.testing.assert_array_equal(rows[:, 0].numpy(), VECTORS[numbers])


def test_latents_are_as_many_as_the_pair_draws_from(tmp_path: Path) -> None:
    for name, latents in (("dcgan", 8), ("stackgan-1", 8 + CODE)):
        config = tiny(tmp_path, name, model__name=name)
        assert latents_of(config) == latents
        _, for_D, for_G, _ = Given(config).at(0)
        assert for_D[0].z.shape == for_G.z.shape == (BATCH, latents)
        drawn = torch.cat([for_D[0].z, for_G.z])
        assert abs(float(drawn.mean())) < 0.2
        assert 0.8 < float(drawn.std()) < 1.2


def test_fakes_have_the_conditions_of_the_reals_beside_them(tmp_path: Path) -> None:
    """Drawn anew for each image seen, from this rank's rows of the global draw."""
    config = tiny(tmp_path, "samples", precision="fp32", **GAMES["enhancing"])
    alone = Given(config)
    reals, for_D, for_G, _ = alone.at(24)
    y = reals[0].y
    assert y is not None
    assert y.shape == (BATCH, 1, 8, 8)
    assert for_D[0].y is y
    assert for_G.y is y
    assert for_G.z.shape == (BATCH, 0)
    later = alone.at(24 + BATCH * IMAGES)[0][0]  # the same images again
    torch.testing.assert_close(later.x, reals[0].x)
    assert not torch.equal(later.y, y)  # type: ignore[arg-type]
    for rank in range(3):
        part = Given(config, rank, 3).at(24)[0][0]
        torch.testing.assert_close(part.y, y[rank::3], rtol=0, atol=1e-6)
