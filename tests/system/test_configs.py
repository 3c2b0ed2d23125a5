"""Every shipped configuration: the commands at its head work, it takes its steps, and it learns."""

import contextlib
import gzip
import math
import re
import shlex
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from gandist import apply, pack, sample, train
from gandist.conditions.sample import OfSample
from gandist.config.methods import new_players
from gandist.config.run import DEMO, RunConfig, load
from gandist.config.schedule import images_of
from gandist.data import dataset
from gandist.data.index import Index
from gandist.evaluation.evaluator import check_evaluation
from gandist.evaluation.statistics import Moments, frechet_distance
from gandist.gan.networks import NETWORKS
from gandist.media.sound import as_int16, wav_bytes
from gandist.run.examples import open_examples
from gandist.run.trained import Trained, open_trained
from gandist.train.course import next_steps
from tests.helpers.checkout_copy import ROOT
from tests.helpers.pitch import EACH, in_tune
from tests.helpers.scripts import python
from tests.helpers.small_datasets import EMOJI, EMOJI_CLIPS, fewer_emoji, make_set

pytestmark = pytest.mark.usefixtures("few_moving_garments")

CONFIGS = sorted(path for path in ROOT.glob("configs/*.yaml") if not path.stem.startswith(("compare-", "sweep-")))
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

SMALL = {
    "r3gan": ["model.widths=[32,32,32,32]", "train.batch=16"],
    "r3gan-64": ["model.widths=[16,16,16,8,8]", "train.batch=8"],
    "r3gan-cifar10": ["model.widths=[16,16,16,16]", "train.batch=8", "precision=fp32"],
    "r3gan-ffhq64": ["model.widths=[16,16,16,8,8]", "train.batch=8", "precision=fp32"],
    "r3gan-ffhq256": ["model.resolution=64", "model.widths=[16,16,16,8,8]", "train.batch=4", "precision=fp32"],
    "hinge-sngan": ["model.width=8"],
    "vqgan-256": [
        "model.resolution=64",
        "model.width=4",
        "model.options.code_channels=8",
        "model.options.width_D=4",
        "train.batch=4",
    ],
    **{name: ["model.width=16"] for name in ("dcgan-fashion", "stackgan-1", "stackgan-2", "superres-photos")},
    "wavegan-sc09": ["model.width=2", "train.batch=8"],
    **{name: ["data.path=builtin:words-6k"] for name in ("words", "words-lm", "relgan-words")},
    # Of its 5,000 tokens the first, the others are left out.
    **{name: ["data.options.vocabulary=200"] for name in ("oracle-lm", "relgan-oracle")},
    "mocogan-64": [
        *("data.path=builtin:moving-fashion", "data.options.frames=8", "data.options.stride=2"),
        *("model.resolution=32", "model.width=8", "train.batch=8", "precision=fp32"),
    ],
    **{
        name: ["model.width=2", "model.options.width_D=2", "data.options.samples=2048", "train.batch=4"]
        for name in ("hifigan-v1", "hifigan-v2", "hifigan-v3")
    },
    **{
        name: [*sizes, "model.resolution=32", "train.batch=8"]
        for name, sizes in {
            "real-esrgan-x4": ["model.width=16", "model.options.blocks=1", "model.options.growth=8"],
            "pix2pix-256": ["model.width=8", "model.options.levels=4", "model.options.layers_D=2"],
            "lama-256": ["model.width=8", "model.options.blocks=1", "model.options.layers_D=2"],
        }.items()
    },
}
"""What a CPU needs of the larger networks."""
FIRST_STAGE = ["run.name=first", "model.width=8", "train.batch=8"]
SHORTER_MEAN = "optim.ema_half_life_kimg=0.2"
FAST = ["optim.lr_G=2e-3", "optim.lr_D=2e-3", SHORTER_MEAN]
FASTER = ["optim.lr_G=3e-3", "optim.lr_D=3e-3", SHORTER_MEAN]
SMALLER = {
    "gan": ["train.batch=16"],
    **{name: ["train.batch=16", SHORTER_MEAN] for name in ("demo", "vae", "inpaint-fashion")},
    "stackgan-1": ["model.width=16", "train.batch=16", *FAST],
    "hinge-sngan": [*SMALL["hinge-sngan"], "train.batch=16", *FAST],
    "autoencoder-fashion": ["train.batch=8", SHORTER_MEAN],
    "video-fashion": ["train.batch=8", "optim.lr_G=1e-3", "optim.lr_D=1e-3", SHORTER_MEAN],
    "r3gan": [
        *("model.widths=[16,16,16,16]", "train.batch=8"),
        *("optim.lr_G=2e-3", "optim.lr_D=2e-3", "optim.ema_half_life_kimg=0.1"),
    ],
    "r3gan-cifar10": [*SMALL["r3gan-cifar10"], *FASTER],
    "mocogan-64": [*SMALL["mocogan-64"], *FASTER],
    "r3gan-ffhq64": [*SMALL["r3gan-ffhq64"], *FASTER],
    "r3gan-ffhq256": [*SMALL["r3gan-ffhq256"], *FASTER],
    # Four channels and a fast rate give images that do not depend on the code for hundreds of steps.
    "vqgan-256": [
        *SMALL["vqgan-256"],
        *("model.width=8", "model.options.blocks=1", "model.options.attention=middle"),
        *("game.penalties={l1: 1, codebook: 1}", "optim.lr_G=1e-3", "optim.lr_D=1e-3", SHORTER_MEAN),
    ],
    # Garments: from sixty discs it learns too little in so few steps.
    "lama-256": [
        *SMALL["lama-256"],
        *("data.path=builtin:fashion-1k", "data.channels=1", "optim.ema_half_life_kimg=0.1"),
        *("model.norm=group", "model.norm_D=none", "game.penalties={l1: 10, features: 1}", "optim.lr_G=3e-3"),
    ],
    "pix2pix-256": [*SMALL["pix2pix-256"], *FASTER],
    "real-esrgan-x4": [*SMALL["real-esrgan-x4"], "game.penalties={l1: 1}", "optim.lr_G=2e-3", SHORTER_MEAN],
    # They begin near their targets, at bicubic enlargement: a critic leads away at first.
    **{
        name: ["game.objective=none", "game.penalties={l1: 1}", "optim.betas=[0.9,0.99]", "optim.lr_G=2e-3"]
        for name in ("superres-fashion", "superres-photos")
    },
    # Noise is taken away in fewer steps than details are added.
    "denoise-fashion": [
        *("model.width=16", "model.options.blocks=2", "condition.options={operations: [{noise: {sigma: 80}}]}"),
        *("train.batch=8", "optim.lr_G=3e-3", "optim.ema_half_life_kimg=0.1"),
    ],
    "wavegan-tones": [
        *("data.options.samples=2048", "train.batch=16", *FAST),
    ],
    "wavegan-sc09": [
        *("data.options.sample_rate=8000", "data.options.samples=4096", "model.width=8", "train.batch=16"),
        *("optim.lr_G=2e-3", "optim.lr_D=1e-3", SHORTER_MEAN),
    ],
    **{
        name: [*SMALL.get(name, []), "model.options.blocks=1", "train.batch=32", "game.n_critic=1", SHORTER_MEAN]
        for name in ("words", "textgan-lines")
    },
    "specgan-digits": ["model.width=8", "train.batch=8", "optim.lr_G=3e-3", "optim.lr_D=1e-3", SHORTER_MEAN],
    **{
        name: [
            *SMALL.get(name, []),
            *("model.width=4", "data.options.samples=2048", "train.batch=8", SHORTER_MEAN),
            *("game.penalties={mel: 45}", "optim.lr_G=3e-3", "optim.lr_D=2e-3"),
        ]
        for name in ("hifigan-digits", "hifigan-v1", "hifigan-v2", "hifigan-v3")
    },
    "stackgan-2": [
        *("model.width=8", "model.stage_1=runs/first", "train.batch=8"),
        *("optim.lr_G=4e-3", "optim.lr_D=4e-3", SHORTER_MEAN),
    ],
}
"""And for hundreds of steps: at their own rates, made for 20 million images, the presets hardly move in two hundred."""

BY_NIGHT = (
    *("stacked-fashion", "oracle-lm", "relgan-oracle", "hifigan-v2"),
    *("hifigan-v3", "lsgan", "wgan", "dragan", "r3gan-ffhq64", "superres-fashion-psnr"),
)
"""Configurations whose two steps are for the night: three whose sets, which no other one has, take half a minute to
make (tests of `data` make smaller ones, and their networks take their steps in other configurations); one that is
hifigan-v1 once `SMALL` has set its width; and those whose networks and data are another one's, whose commands only
train, and whose objectives and penalties train in test_worker and test_ddp_equals_single."""
STEPS = {
    **dict.fromkeys(("autoencoder-fashion", "demo", "hinge-sngan", "inpaint-fashion"), 30),
    **dict.fromkeys(("real-esrgan-x4", "stackgan-1"), 30),
    **dict.fromkeys(("denoise-fashion", "r3gan"), 40),
    **dict.fromkeys(("vae", "video-fashion"), 50),
    **dict.fromkeys(("hifigan-digits", "lama-256", "words-lm"), 60),
    **dict.fromkeys(("gan", "mocogan-64", "wavegan-tones", "specgan-digits"), 100),
    "stackgan-2": 120,
    "vqgan-256": 800,
    "wavegan-sc09": 1000,
}
"""Steps of D that are enough; the others take two hundred."""
LEARN_ALWAYS = (
    *("gan", "demo", "hinge-sngan", "r3gan", "stackgan-1", "stackgan-2", "vae"),
    *("autoencoder-fashion", "inpaint-fashion", "lama-256", "real-esrgan-x4", "denoise-fashion"),
    *("hifigan-digits", "specgan-digits", "wavegan-tones", "video-fashion", "mocogan-64", "words", "words-lm"),
)
"""One configuration a network, which learns in every run of the tests; the others by night."""

MAINS = {
    "gandist.pack": pack.main,
    "gandist.train": train.main,
    "gandist.sample": sample.main,
    "gandist.apply": apply.main,
}


def head(config: Path) -> str:
    """The comment that a configuration opens with."""
    found = re.match(r"(#.*\n)+", config.read_text())
    assert found, f"{config.name} does not open with its command, duration and what was seen"
    return found[0]


def commands(config: Path) -> list[list[str]]:
    """The indented commands of that comment that Python runs."""
    return [shlex.split(line) for line in re.findall(r"^#   python (\S.*?)(?:\s\s.*)?$", head(config), re.M)]


def fewer_garments(folder: Path, n: int = 2000) -> None:
    """The first n images and labels of Debian's package, in files of the same names."""
    folder.mkdir()
    for path in DEBIAN.glob("train-*.gz"):
        with gzip.open(path) as whole:
            magic = whole.read(4)
            shape = struct.unpack(f">{magic[3]}I", whole.read(4 * magic[3]))
            entries = whole.read(n * math.prod(shape[1:]))
        first = magic + struct.pack(f">{len(shape)}I", n, *shape[1:]) + entries
        (folder / path.name).write_bytes(gzip.compress(first))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to type the commands in, with the images that they name: of a large set the first ones, and stand-ins
    for what is not here."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "configs").symlink_to(ROOT / "configs")
    for i in range(40):  # a fifth of a second each
        t = np.arange(4410) / 22_050
        path = folder / f"speech/{i}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav_bytes(as_int16(0.5 * np.sin(2 * np.pi * (200 + 20 * i) * t) * np.exp(-8 * t)), 22_050))
    if EMOJI.exists():
        fewer_emoji(folder / "data/emoji/node_modules", every=5)
    if DEBIAN.exists():
        fewer_garments(folder / "fashion-mnist")
    noise = np.random.default_rng(0)
    for name, size in (("cifar10", 32), ("ffhq", 64), ("photos", 64), ("photographs", 256), ("facades", 64)):
        for i in range(60):
            path = folder / name / ("train" if name == "facades" else f"class{i % 10}") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            y, x = np.mgrid[:size, :size] / size  # a disc of some colour, so that there is something to learn
            disc = (y - 0.5) ** 2 + (x - 0.5) ** 2 < noise.uniform(0.02, 0.2)
            # A facade's colours are those of its labels, or there would be nothing to translate.
            fixed = np.array([[220, 180, 60], [40, 80, 160]], np.uint8)
            colours = fixed if name == "facades" else noise.integers(0, 256, (2, 3), np.uint8)
            picture = np.where(disc[:, :, None], colours[0], colours[1])
            halves = [picture, np.repeat(disc[:, :, None] * np.uint8(255), 3, axis=2)]
            Image.fromarray(np.concatenate(halves, axis=1) if name == "facades" else picture).save(path)
            if name == "photos":
                (folder / "masks").mkdir(exist_ok=True)
                Image.fromarray(disc).save(folder / f"masks/{i}.png")
    return folder


MADE = {
    "gandist.pack": 3,
    "configs/emoji.py": 2,
    "configs/photos.py": 2,
    "configs/digits.py": 1,
    "configs/hits.py": 1,
    "configs/lines.py": 1,
    "configs/clips.py": 2,
}
"""Where a command names what it makes."""
FEWER = {
    "configs/digits.py": ["--n", "200"],
    "configs/lines.py": ["--n", "300"],
    "configs/clips.py": ["--n", "6"],
}


def run(workspace: Path, command: list[str]) -> None:
    """Run what would follow `python`: commands of gandist in this process, whose imports are made."""
    module = command[1] if command[0] == "-m" else ""
    if module in MAINS:
        with contextlib.chdir(workspace):
            assert MAINS[module](command[2:]) == 0, command
        return
    done = python(*command, cwd=workspace)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def prepare(workspace: Path, config: Path) -> None:
    """Run what makes the configuration's data, unless another one has."""
    if "emoji" in head(config) and not EMOJI.exists():
        pytest.skip("the emoji of the npm registry are not installed (make emoji)")
    if "configs/clips.py" in head(config) and not EMOJI_CLIPS.exists():
        pytest.skip("the moving emoji of the npm registry are not installed (make emoji)")
    if str(DEBIAN) in head(config) and not DEBIAN.exists():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    if "configs/digits.py" in head(config) and shutil.which("espeak-ng") is None:
        pytest.skip("Debian's espeak-ng is not installed")
    if "configs/lines.py" in head(config) and shutil.which("bible") is None:
        pytest.skip("Debian's bible-kjv is not installed")
    for command in commands(config):
        made = MADE.get(command[1] if command[0] == "-m" else command[0])
        if command[2:3] == ["--pairs"]:
            made = 5
        if made is not None and not (workspace / command[made]).exists():
            shorter = [word.replace(str(DEBIAN), "fashion-mnist") for word in command]
            run(workspace, [*shorter, *FEWER.get(command[0], [])])


def brief(config: RunConfig, rounds: int) -> list[str]:
    kimg = rounds * config.train.batch * config.game.n_critic / 1000
    return ["launch.kind=local", "launch.threads=1", "eval.every_kimg=null", f"train.total_kimg={kimg}"]


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("unlabelled"), classes=0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_what_a_run_says_to_type_next_is_accepted_and_measures_samples_without_labels(
    config: Path, unlabelled: Index
) -> None:
    *_, training = next_steps(config.stem, [], load(config.stem))
    _, _, module, name, *overrides = shlex.split(training)
    again = load(name, overrides)
    assert (module, again.data.path, again.eval.data) == ("gandist.train", "data/mine", None)
    assert again.model.classes == 0
    check_evaluation(again, unlabelled)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_head(config: Path) -> None:
    assert any(command[1] == "gandist.train" for command in commands(config))
    assert re.search(r"(\d+|two|three|eight|many) (minutes|hours|GPUs)", head(config)), "its duration"
    assert re.search(r"[Ss]een|[Ss]core|FID", head(config)), "what was seen"


@pytest.mark.parametrize("name", BY_NIGHT)
def test_what_takes_its_steps_by_night_is_accepted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([name, "--dry-run"]) == 0
    assert f"name: {load(name).run.name}\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [pytest.param(c, id=c.stem, marks=pytest.mark.nightly if c.stem in BY_NIGHT else []) for c in CONFIGS],
)
def test_two_steps(config: Path, workspace: Path) -> None:
    """The commands as written, in their order, but for two steps instead of all."""
    prepare(workspace, config)
    for command in commands(config):
        if command[1] == "gandist.train":
            name = Path(command[2]).stem if len(command) > 2 else DEMO
            given = [word for word in command[3:] if "=" in word]
            plan = load(name, [*given, *SMALL.get(name, [])])
            overrides = brief(plan, 4 if "--from" in command else 2)
            run(workspace, [*command, *SMALL.get(name, []), *overrides])
            seen = images_of(float(overrides[-1].partition("=")[2]))
            folder = workspace / "runs" / plan.run.name
            assert (folder / "checkpoints" / f"{seen:08d}").is_dir()
            suffix = {"video": "webp", "text": "txt"}.get(plan.data.medium, "png")
            assert (folder / "samples" / f"{seen:08d}.{suffix}").is_file()
        elif command[1] == "gandist.sample":
            run(workspace, command)
            assert (workspace / command[-1]).is_file()
        elif command[1] == "gandist.apply":
            run(workspace, command)
            assert any(path.suffix in (".png", ".wav") for path in (workspace / command[-1]).rglob("*"))


def distance(trained: Trained, config: RunConfig) -> float:
    """Fréchet distance between 500 generated and 500 real samples by their coarse features: 8 x 8 pixels of an image,
    8 x 8 fields of a sound's spectrogram."""
    index, medium = dataset.open_index(config), trained.medium
    n = min(index.n, 500)
    real, _ = dataset.open_set(config, index).gather(np.arange(n))

    def moments(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        features = medium.coarse(medium.to_network(torch.from_numpy(rows.copy()))).double()
        found = Moments(features.shape[1])
        found.add(features)
        return found.mean, found.covariance

    return float(frechet_distance(*moments(trained.draw(n)), *moments(real)))


class Errors(NamedTuple):
    """Mean absolute errors, of pixels or of a spectrogram's fields, for 100 of the samples that G learns from."""

    own: float
    """Of G's samples to their targets."""
    others: float
    """Of G's samples to the targets of others."""
    nothing: float
    """Of grey or silence to the targets."""


def errors(trained: Trained, config: RunConfig) -> Errors:
    """Of sounds by their spectrograms: by the wave's error, silence is better than what a vocoder learns at first."""
    medium, examples = trained.medium, open_examples(config, torch.device("cpu"))
    x, y = examples.of(np.arange(min(examples.n, 100)))
    made = medium.to_network(torch.from_numpy(trained.samples(trained.latents(len(x)), y)))

    def seen(samples: torch.Tensor) -> torch.Tensor:
        return medium.coarse(samples) if config.data.medium == "audio" else samples

    samples = (made, made.roll(1, 0), torch.zeros_like(x))
    return Errors(*(float((seen(some) - seen(x)).abs().mean()) for some in samples))


def out_of_tune(trained: Trained, config: RunConfig) -> float:
    """Share of notes that are not their class's, as a pitch tracker hears them."""
    notes = torch.arange(config.model.classes).repeat_interleave(EACH)
    return 1 - float(in_tune(trained.samples(trained.latents(len(notes)), notes)).mean())


def test_each_network_learns_in_every_run_of_the_tests() -> None:
    assert sorted(load(str(ROOT / f"configs/{name}.yaml")).model.name for name in LEARN_ALWAYS) == sorted(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [pytest.param(c, id=c.stem, marks=[] if c.stem in LEARN_ALWAYS else pytest.mark.nightly) for c in CONFIGS],
)
def test_learns(config: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred steps bring samples nearer to the real ones; if G is given samples, nearer than grey or silence is,
    and nearer to their own targets than to others'."""
    prepare(workspace, config)
    monkeypatch.chdir(workspace)
    small = [
        "optim.ema_half_life_kimg=0.5",
        *SMALLER.get(config.stem, SMALL.get(config.stem, [])),
        "run.name=learns",
        "train.sample_kimg=1000",
    ]
    if config.stem == "stackgan-2":
        first = load("configs/stackgan-1.yaml", FIRST_STAGE)
        run(workspace, ["-m", "gandist.train", "configs/stackgan-1.yaml", *FIRST_STAGE, *brief(first, 2)])
    plan = dataset.with_symbols(load(str(config), small))
    rounds = STEPS.get(config.stem, 200) // plan.game.n_critic
    overrides = [*small, *brief(plan, rounds)]
    run(workspace, ["-m", "gandist.train", f"configs/{config.name}", "--resume", "never", *overrides])
    cpu = torch.device("cpu")
    before = Trained(plan, new_players(plan, cpu).G_ema.float().eval(), 0, cpu)
    after = open_trained("runs/learns", cpu)
    if isinstance(after.condition, OfSample):
        untrained, learnt = errors(before, plan), errors(after, plan)
        assert learnt.own < 0.8 * min(untrained.own, learnt.nothing), f"{untrained}, then {learnt}"
        assert learnt.own < learnt.others
    else:
        measure = out_of_tune if plan.data.path == "builtin:tones" else distance
        was, now = measure(before, plan), measure(after, plan)
        assert now < 0.8 * was, f"{was:.4g}, then {now:.4g}"
    shutil.rmtree(workspace / "runs/learns")
