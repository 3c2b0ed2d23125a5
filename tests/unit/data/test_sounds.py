"""Sets of sounds: opened as rows, and what was made to fit is told."""

import re
from pathlib import Path

import numpy as np
import pytest

from gandist.data.index_files import read_index
from gandist.data.making import making, members, write_shard
from gandist.data.resident import place
from gandist.data.sets import open_samples
from gandist.data.unpacked import unpacked
from gandist.media.audio import Audio
from gandist.media.sound import EXTENSIONS, as_int16
from gandist.pack import main as pack
from tests.helpers.sounds import encoded, sine

LENGTHS = (800, 900, 1000, 1000, 1100)
MEDIUM = Audio(sample_rate=8000, samples=1000)
TOLD = {"shorter than 0.125 s, and followed by silence": 2, "longer than 0.125 s, and cut": 1}


@pytest.mark.parametrize("cache_gib", [1.0, 0.0])
def test_sounds_of_other_lengths_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, cache_gib: float) -> None:
    with making(str(tmp_path / "set")) as made:
        files = (encoded(sine(440, 8000, n), 8000, "FLAC") for n in LENGTHS)
        write_shard(made.work / "0.tar", ((f"{i}", members(file, "flac", i, None)) for i, file in enumerate(files)))
        index = made.finish([made.work / "0.tar"], extensions=EXTENSIONS)
    for _ in range(2):  # the second set finds the first one's rows
        samples = open_samples(index, MEDIUM, cache_dir=tmp_path / "cache", cache_gib=cache_gib)
        rows, _ = samples.gather(np.arange(len(LENGTHS)))
        for row, n in zip(rows, LENGTHS, strict=True):
            np.testing.assert_array_equal(row[: min(n, 1000), 0], as_int16(sine(440, 8000, n))[:1000])
            assert not row[n:].any()
        assert samples.fitted == TOLD
    said = place(samples, "never", None)[1]  # type: ignore[arg-type]
    assert "; 1 of 5 samples are longer than 0.125 s, and cut; 2 of 5 samples are shorter" in said
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (0 if cache_gib else 4), "while they are read, the first of each kind"


def test_what_is_said_of_sounds_that_are_not_packed(tmp_path: Path) -> None:
    """The command that is named packs them."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.wav").write_bytes(encoded(sine(440, 8000, 800), 8000))
    said = unpacked(str(tmp_path / "mine"))
    assert said.startswith(": holds sounds that are not packed yet (a.wav, ...); pack: ")
    command = re.findall(r"python -m gandist\.pack (\S+) (\S+), and set data\.path=", said)
    assert pack(list(command[0])) == 0
    assert read_index(command[0][1]).extensions == {"flac"}
    assert "is one sound, where a packed set is expected" in unpacked(str(tmp_path / "mine/a.wav"))
