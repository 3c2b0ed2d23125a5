"""Small sets of sounds, and runs on them."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gandist.config.run import RunConfig
from gandist.data.cache import ShardCache
from gandist.data.index_files import write_index
from gandist.data.indexing import index_shards
from gandist.media.sound import EXTENSIONS, wav_bytes
from tests.helpers.train_on_ranks import tiny

BEEPS = Path(__file__).with_name("beeps.py")
"""A pair of networks for sounds."""
RATE, SAMPLES = 8000, 1024


def sound(number: int, classes: int = 2, samples: int = SAMPLES, rate: int = RATE) -> np.ndarray:
    """Sound `number` of each set, (samples, 1) int16: a tone that fades; its octave is the class."""
    t = np.arange(samples) / rate
    hertz = 200.0 * 2 ** (number % classes) * (1 + number / 1000)
    tone = 0.8 * np.sin(2 * np.pi * hertz * t + number) * np.exp(-t * rate / samples)
    return np.asarray(tone * 32767).round().astype(np.int16)[:, None]


def sound_set(folder: Path, n: int = 24, *, classes: int = 2, samples: int = SAMPLES, rate: int = RATE) -> str:
    """A set of n sounds in one shard; its folder."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "000000.tar", "w") as shard:
        for number in range(n):
            files = {"wav": wav_bytes(sound(number, classes or 1, samples, rate), rate)}
            if classes:
                files["cls"] = str(number % classes).encode()
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{number:06d}.{ending}")
                member.size = len(content)
                shard.addfile(member, BytesIO(content))
    cache = ShardCache(folder.parent / "shards", 1 << 30)
    write_index(index_shards([str(folder / "000000.tar")], cache, base=str(folder), extensions=EXTENSIONS), str(folder))
    return str(folder)


def beeping(folder: Path, name: str, data: str, *, classes: int = 2, **changes: Any) -> RunConfig:
    """A run of ten steps on such a set, by class or without."""
    options = {"sample_rate": RATE, "samples": SAMPLES}
    medium = {"path": data, "medium": "audio", "options": options, "cache_dir": str(folder / "cache")}
    model = {"name": "beeps", "classes": classes, "z_dim": 8}
    return tiny(folder, name, **{"imports": [str(BEEPS)], "data": medium, "model": model, **changes})


def humming(folder: Path, name: str, data: str, **changes: Any) -> RunConfig:
    """A vocoder's run of a few steps on such a set."""
    tree = {
        "imports": [str(BEEPS.with_name("hum.py"))],
        "model": {"name": "hum", "classes": 0, "z_dim": 2},
        "condition": {"kind": "mel", "options": {"n_fft": 256, "hop": 64, "mels": 16}},
        "optim": {"lr_G": 0.01, "lr_D": 1e-3, "ema_half_life_kimg": 0},
        "precision": "fp32",
        **changes,
    }
    return beeping(folder, name, data, **tree)
