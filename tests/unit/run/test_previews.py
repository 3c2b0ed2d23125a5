"""A run of sounds shows spectrograms, and beside them what is heard."""

from pathlib import Path

import numpy as np
import pytest

from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.media.medium import Preview
from gandist.media.sound import library
from gandist.monitoring.trackers.tensorboard import TensorBoard
from gandist.run import previews
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.beeping import RATE, SAMPLES, beeping, sound_set
from tests.helpers.s3_server import serve_bucket
from tests.unit.monitoring.test_trackers import events_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = beeping(folder, "run", sound_set(folder / "set"), train__sample_kimg=0.06)
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    return Path(run_root(config))


def test_a_run_writes_its_sounds(run: Path) -> None:
    """A sound of each class, which is that of the line's first cell; another one after training has gone on."""
    found = sorted(
        path.relative_to(run / "samples").as_posix() for path in (run / "samples").rglob("*") if path.is_file()
    )
    stems = [f"{seen:08d}" for seen in (0, 60, 120)]
    lines = range(2)
    assert found == sorted(
        [f"{stem}.png" for stem in stems] + [f"{stem}/{line}.wav" for stem in stems for line in lines]
    )
    sounds = {}
    for stem in stems:
        for line in lines:
            sound, rate = library().read(run / f"samples/{stem}/{line}.wav", dtype="int16", always_2d=True)
            assert (sound.shape, sound.dtype, rate) == ((SAMPLES, 1), np.int16, RATE)
            sounds[stem, line] = sound
    assert not np.array_equal(sounds[stems[0], 0], sounds[stems[1], 0])
    assert not np.array_equal(sounds[stems[1], 0], sounds[stems[1], 1])


def test_tensorboard_plays_them(run: Path) -> None:
    heard: dict[str, list[int]] = {}
    for file in (run / TensorBoard.FOLDER).iterdir():
        for event in events_of(file):
            for value in event.summary.value:
                if not value.HasField("audio"):
                    continue
                line = value.tag.removeprefix("samples/")
                heard.setdefault(line, []).append(event.step)
                audio = value.audio
                assert (audio.sample_rate, audio.num_channels, audio.length_frames) == (RATE, 1, SAMPLES)
                assert audio.content_type == "audio/wav"
                assert audio.encoded_audio_string == (run / f"samples/{event.step:08d}/{line}.wav").read_bytes()
    assert heard == {"0": [0, 60, 120], "1": [0, 60, 120]}


def stored(storage: Storage) -> None:
    for seen, n in ((8, 12), (100_000_000, 1), (16, 0)):
        previews.write(storage, seen, Preview(b"%d" % seen, ".png", tuple(b"%d" % each for each in range(n))))
    storage.write_bytes("samples/captions.txt", b"one\n")
    there = previews.listed(storage)
    assert [*there] == [8, 16, 100_000_000]
    assert there[16] == ("00000016.png", 2)
    assert previews.read(storage, "00000008.png", 99) == Preview(b"8", ".png", tuple(b"%d" % n for n in range(12)))
    assert previews.read(storage, "00000008.png", 2).sounds == (b"0", b"1")
    assert previews.read(storage, "00000008.png", 0) == previews.read(storage, "00000008.png")._replace(sounds=())
    assert previews.read(storage, "00000016.png").sounds == ()
    previews.write(storage, 8, Preview(b"new", ".png", (b"new",)))
    assert previews.read(storage, "00000008.png").sounds[0] == b"new"


def stored_that_play(storage: Storage) -> None:
    """With their strips, and with sounds in the same folder."""
    assert previews.strips(storage) == {}
    clips = Preview(b"plays", ".webp", still=b"still")
    heard = clips._replace(sounds=(b"heard",))
    for seen, preview in ((24, clips), (32, heard)):
        previews.write(storage, seen, preview)
        assert previews.read(storage, f"{seen:08d}.webp") == preview
    assert previews.strips(storage) == {24: 5, 32: 5}
    assert previews.listed(storage)[24] == ("00000024.webp", 5)
    assert previews.read_strip(storage, 24) == Preview(b"still", ".png")


def test_they_are_found_again_in_a_folder(tmp_path: Path) -> None:
    assert previews.listed(Storage(str(tmp_path))) == {}
    stored(Storage(str(tmp_path)))
    stored_that_play(Storage(str(tmp_path)))


@pytest.mark.nightly
def test_they_are_found_again_in_an_object_store() -> None:
    with serve_bucket("runs") as address:
        stored(Storage(address.replace("runs", "runs/run", 1)))
        stored_that_play(Storage(address.replace("runs", "runs/clips", 1)))
