"""Packing sounds: every kind of source, brought to a rate and a length, and what was done is told."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset
from PIL import Image

from gandist.config.run import validate
from gandist.data import dataset
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.packing import pack
from gandist.data.sets import open_samples
from gandist.errors import DataError
from gandist.media.audio import Audio
from gandist.media.gallery import png_bytes
from gandist.pack import main
from tests.helpers.sounds import encoded, sine

RATE = 8000
N = 12
PICTURE = png_bytes(Image.new("RGB", (4, 4)))


def hertz(i: int) -> float:
    return 200 + 50.0 * i


def file(i: int) -> tuple[bytes, str]:
    """A tone of 0.1 to 0.65 s and its suffix: of three rates, four formats, every fourth in stereo."""
    format, rate = ("WAV", "FLAC", "OGG", "MP3")[i % 4], (RATE, 44_100, 16_000)[i % 3]
    tone = sine(hertz(i), rate, round(rate * (0.1 + 0.05 * i)))
    return encoded(np.stack([tone, tone], 1) if i % 4 == 1 else tone, rate, format), f".{format.lower()}"


def sounds(root: Path) -> Path:
    """N sounds in the classes "high" and "low", the even ones with a caption."""
    for i in range(N):
        content, suffix = file(i)
        path = root / ("low", "high")[i % 2] / f"{i:03d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if i % 2 == 0:
            path.with_suffix(".txt").write_text(f"töne {i}\n")
    return root


def read(index: Index) -> dict[str, tuple[np.ndarray, int, str]]:
    """Key -> sound, rate and format, read by offset as a rank does."""
    found = {}
    for row in index.samples.to_pylist():
        with Path(index.url(row["shard"])).open("rb") as shard:
            shard.seek(row["offset"])
            with soundfile.SoundFile(io.BytesIO(shard.read(row["size"]))) as opened:
                assert opened.subtype == "PCM_16"
                found[row["key"]] = opened.read(always_2d=True), opened.samplerate, opened.format
    return found


def pitch(sound: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(sound[:, 0] * np.hanning(len(sound)), 1 << 16))
    return float(spectrum.argmax()) * rate / (1 << 16)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def check_twelve(index: Index, labelled: bool = True) -> None:
    """The index holds the sounds of `sounds` at 8,000 Hz, 0.3 s long."""
    high_first = [*range(1, N, 2), *range(0, N, 2)]
    found = read(index)
    assert sorted(found) == [f"{i:08d}" for i in range(N)]
    for row in index.samples.to_pylist():
        i = high_first[int(row["key"])]
        sound, rate, format = found[row["key"]]
        assert (sound.shape, rate, format) == ((2400, 1), RATE, "FLAC")
        assert pitch(sound, rate) == pytest.approx(hertz(i), abs=3)
        lasts = min(2400, round(RATE * (0.1 + 0.05 * i)))
        assert np.abs(sound[lasts - 200 : lasts]).max() > 0.4
        assert not sound[lasts + 1500 :].any()
        assert row["label"] == ((1 - i % 2) if labelled else -1)
        assert row["caption"] == (f"töne {i}" if i % 2 == 0 else None)


OPTIONS: dict[str, Any] = {"sample_rate": RATE, "seconds": 0.3, "channels": 1}
COMMAND = ["--sample-rate", "8000", "--seconds", ".3", "--channels", "1"]
FITTED = {"shorter than 0.3 s and followed by silence": 4, "longer than 0.3 s and cut": 7}


def test_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(sounds(tmp_path / "in"))
    assert main([src, str(tmp_path / "out"), *COMMAND]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'out'}: 12 sounds, 2 classes, 1 shards, ")
    assert "sounds a class: least 6 (high), most 6 (high)\ncaptions: 6 of 12 sounds have one\n" in said
    assert "of 12 sounds: 7 longer than 0.3 s and cut, 4 shorter than 0.3 s and followed by silence\n" in said
    index = read_index(str(tmp_path / "out"))
    assert index.class_names == ("high", "low")
    check_twelve(index)
    # Equal input gives equal bytes, whatever the threads.
    for workers in (1, 3):
        pack(src, str(tmp_path / f"by {workers}"), workers=workers, **OPTIONS)
        assert hashes(tmp_path / f"by {workers}") == hashes(tmp_path / "out")


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(sounds(tmp_path / "in").rglob("*.*")):
            archive.write(path, f"all/{path.relative_to(tmp_path / 'in')}")
    index, left_out = pack(str(tmp_path / "in.zip"), str(tmp_path / "out"), **OPTIONS)
    check_twelve(index)
    assert left_out.fitted == FITTED


def tar(path: Path, *others: tuple[str, bytes]) -> str:
    """A shard as others write it, in `check_twelve`'s order."""
    with tarfile.open(path, "w") as shard:
        for i in [*range(1, N, 2), *range(0, N, 2)]:
            content, suffix = file(i)
            members = {suffix: content, ".cls": str(1 - i % 2).encode()}
            for name, data in (members | ({".txt": f"töne {i}".encode()} if i % 2 == 0 else {})).items():
                add(shard, f"{i:03d}{name}", data)
        for name, data in others:
            add(shard, name, data)
    return str(path)


def add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))


def test_tar(tmp_path: Path) -> None:
    index, left_out = pack(tar(tmp_path / "in.tar"), str(tmp_path / "out"), **OPTIONS)
    check_twelve(index)
    assert left_out.fitted == FITTED


def test_others_shards_are_indexed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = tar(tmp_path / "in.tar")
    assert main([src, "--index-only"]) == 0
    assert f"{tmp_path}: 12 sounds, 2 classes, 1 shards" in capsys.readouterr().out
    index = read_index(str(tmp_path))
    assert index.extensions == {"wav", "flac", "ogg", "mp3"}
    medium = Audio(sample_rate=RATE, samples=2400)
    rows, _ = open_samples(index, medium, cache_dir=tmp_path / "cache").gather(np.arange(N))
    packed = pack(src, str(tmp_path / "out"), **OPTIONS, seed=1)[0]
    expected = {key: sound for key, (sound, _, _) in read(packed).items()}
    for number, row in enumerate(rows):
        np.testing.assert_allclose(row / 32768, expected[f"{number:08d}"], atol=1e-7)


@pytest.mark.parametrize("column", ["audio", "clip"])
def test_parquet_as_hugging_face_writes_it(tmp_path: Path, column: str) -> None:
    order = [*range(1, N, 2), *range(0, N, 2)]
    rows = [{"bytes": file(i)[0], "path": f"{i}{file(i)[1]}"} for i in order]
    captions = [f"töne {i}" if i % 2 == 0 else None for i in order]
    table = pa.table({column: rows, "label": [1 - i % 2 for i in order], "text": captions})
    pq.write_table(table, tmp_path / "in.parquet")
    index, left_out = pack(str(tmp_path / "in.parquet"), str(tmp_path / "out"), **OPTIONS)
    check_twelve(index)
    assert left_out.fitted == FITTED


def test_parquet_of_both(tmp_path: Path) -> None:
    table = pa.table({"image": [PICTURE] * 3, "audio": [{"bytes": file(i)[0], "path": ""} for i in range(3)]})
    pq.write_table(table, tmp_path / "in.parquet")
    src, out = str(tmp_path / "in.parquet"), str(tmp_path / "out")
    with pytest.raises(DataError, match=r"images \(image, .*\) and sounds \(audio, .*--medium image or --medium audio"):
        pack(src, out)
    for medium, extension in (("image", "png"), ("audio", "flac")):
        index, left_out = pack(src, f"{out} {medium}", medium=medium)
        assert index.extensions == {extension}
        assert left_out.lost == {"columns were not taken": 1}


def test_what_webdataset_reads(tmp_path: Path) -> None:
    index, _ = pack(str(sounds(tmp_path / "in")), str(tmp_path / "out"), format="wav", **OPTIONS)
    samples = list(webdataset.WebDataset(str(tmp_path / "out/000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == index.samples["key"].to_pylist()
    assert all(sample["wav"].startswith(b"RIFF") for sample in samples)


def test_sounds_are_left_as_they_are(tmp_path: Path) -> None:
    """Without options each keeps its rate, length and channels; 16 bits are kept exactly."""
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(0).integers(-32768, 32768, (999, 2), dtype=np.int16)
    (tmp_path / "in/a.wav").write_bytes(encoded(values, 44_100))
    index, left_out = pack(str(tmp_path / "in"), str(tmp_path / "out"))
    ((sound, rate, format),) = read(index).values()
    np.testing.assert_array_equal(sound * 32768, values)
    assert (rate, format, left_out.fitted) == (44_100, "FLAC", {})


def test_both_kinds_in_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, out = sounds(tmp_path / "in"), str(tmp_path / "out")
    (src / "low/cover.png").write_bytes(PICTURE)
    shards = tar(tmp_path / "in.tar", ("cover.png", PICTURE))
    for given in (str(src), shards):
        assert main([given, f"{out} of neither"]) == 2
        said = capsys.readouterr().err
        assert f"error: {given}: holds images (" in said
        assert "and sounds (" in said
        assert "say which to take: --medium image or --medium audio" in said
        assert main([given, out, "--medium", "audio", "--max-broken", "1", "--overwrite"]) == 0
        assert read_index(out).n == N
        assert main([given, out, "--medium", "image", "--max-broken", "99", "--overwrite"]) == 0
        assert read_index(out).n == 1
        capsys.readouterr()
    assert main([shards, str(tmp_path / "index"), "--index-only"]) == 2
    assert "--medium image or --medium audio" in capsys.readouterr().err
    assert main([shards, "--index-only", "--medium", "audio", "--max-broken", "1"]) == 0
    assert "12 sounds" in capsys.readouterr().out


def test_shards_of_either_kind_are_not_one_set(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tar(tmp_path / "in/0.tar")
    with tarfile.open(tmp_path / "in/1.tar", "w") as shard:
        add(shard, "a.png", PICTURE)
    with pytest.raises(DataError, match=r"in: holds images \(.*1\.tar, .*\) and sounds \(.*0\.tar, .*--medium"):
        pack(str(tmp_path / "in"), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--size", "64"], "holds sounds, and --size is for images; leave it out"),
        (["--crop", "none"], "holds sounds, and --crop is for images; leave it out"),
        (["--quality", "90"], "holds sounds, and --quality is for images; leave it out"),
        (["--pairs-halves", "left"], "holds sounds, and --pairs-halves is for images; leave it out"),
        (["--channels", "3"], "holds sounds, whose --channels is 1 or 2, not 3"),
        (["--format", "png"], "holds sounds, whose --format is flac or wav, not png"),
    ],
)
def test_options_for_images(
    tmp_path: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    src = str(sounds(tmp_path / "in"))
    assert main([src, str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == f"error: {src}: {complaint}\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--sample-rate", "8000"], "holds images, and --sample-rate is for sounds; leave it out"),
        (["--seconds", "1"], "holds images, and --seconds is for sounds; leave it out"),
        (["--split-silence"], "holds images, and --split-silence is for sounds; leave it out"),
        (["--loudness", "-20"], "holds images, and --loudness is for sounds; leave it out"),
        (["--channels", "2"], "holds images, whose --channels is 1 or 3, not 2"),
        (["--format", "wav"], "holds images, whose --format is png or jpeg or webp, not wav"),
    ],
)
def test_options_for_sounds(
    tmp_path: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(PICTURE)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'in'}: {complaint}\n"


def test_pairs_are_made_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(sounds(tmp_path / "in"))
    assert main(["--pairs", src, src, str(tmp_path / "out")]) == 2
    assert "--pairs is for images" in capsys.readouterr().err


def test_broken_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, out = sounds(tmp_path / "in"), str(tmp_path / "out")
    (src / "low/empty.wav").write_bytes(b"")
    (src / "low/none.flac").write_bytes(b"no sound at all")
    (src / "low/torn.wav").write_bytes(encoded(sine(440, RATE, RATE), RATE)[:-4000])
    (src / "low/wide.wav").write_bytes(encoded(np.zeros((99, 4)), RATE))
    assert main([str(src), out]) == 2
    said = capsys.readouterr().err
    assert "low/empty.wav: an empty file" in said
    assert "low/none.flac: is no sound that can be read" in said
    assert "low/torn.wav: is cut off: 12000 bytes of sound, of 16000 that its header announces" in said
    assert "low/wide.wav: has 4 channels, where 1 or 2 are packed; pass --channels 1 to average them" in said
    assert "4 broken sounds, and --max-broken is 0" in said
    assert main([str(src), out, "--max-broken", "4"]) == 0
    assert "12 sounds, 2 classes, 1 shards" in capsys.readouterr().out
    assert main([str(src), out, "--max-broken", "3", "--channels", "1", "--overwrite"]) == 0
    assert read_index(out).n == 13


def test_some_of_the_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(sounds(tmp_path / "in"))
    whole = pack(src, str(tmp_path / "all"))[0].samples["key"].to_pylist()
    assert pack(src, str(tmp_path / "some"), n=5)[0].samples["key"].to_pylist() == whole[:5]
    assert pack(src, str(tmp_path / "rest"), skip=5)[0].samples["key"].to_pylist() == whole[5:]
    assert main([src, str(tmp_path / "more"), "--n", "13"]) == 2
    assert capsys.readouterr().err == f"error: {src}: holds 12 sounds, fewer than --n 13; lower it\n"


def test_split_at_silences(tmp_path: Path) -> None:
    """Three tones and a click in noise 60 dB below them: the pause of 0.2 s parts nothing."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)

    def pause(seconds: float) -> np.ndarray:
        return rng.normal(0, 0.0003, round(RATE * seconds))

    tones = [sine(hertz, RATE, RATE // 2) for hertz in (300, 500, 700)]
    click = sine(900, RATE, RATE // 50)
    parts = (pause(1), tones[0], pause(0.2), tones[1], pause(0.5), click, pause(0.5), tones[2], pause(2))
    (tmp_path / "in/long.wav").write_bytes(encoded(np.concatenate(parts), RATE))
    (tmp_path / "in/long.txt").write_text("three tones")
    index, left_out = pack(str(tmp_path / "in"), str(tmp_path / "out"), split_silence=40.0)
    found = read(index)
    assert list(found) == ["00000000-0000", "00000000-0001"]
    lengths = [len(sound) / RATE for sound, _, _ in found.values()]
    np.testing.assert_allclose(lengths, [0.5 + 0.2 + 0.5 + 0.1, 0.5 + 0.1], atol=0.02)
    assert pitch(found["00000000-0001"][0], RATE) == pytest.approx(700, abs=3)
    assert index.captions == ["three tones"] * 2
    assert left_out.fitted == {"parts of less than 0.1 s left out": 1}
    cut, left_out = pack(str(tmp_path / "in"), str(tmp_path / "cut"), split_silence=40.0, seconds=1.0)
    assert {len(sound) for sound, _, _ in read(cut).values()} == {RATE}
    assert (
        left_out.fitted["longer than 1 s and cut"] == left_out.fitted["shorter than 1 s and followed by silence"] == 1
    )
    whole, _ = pack(str(tmp_path / "in"), str(tmp_path / "whole"), split_silence=80.0)
    assert whole.n == 1
    (tmp_path / "in/long.wav").write_bytes(encoded(np.zeros(RATE), RATE))
    with pytest.raises(DataError, match=r"holds no part of 0\.1 s that is louder than its silence"):
        pack(str(tmp_path / "in"), str(tmp_path / "none"), split_silence=40.0)


def test_loudness(tmp_path: Path) -> None:
    """Brought to a level where its peak allows it; what is silent stays so, and both are told."""
    (tmp_path / "in").mkdir()
    for name, tone in {"quiet": 0.01, "loud": 1.9}.items():
        (tmp_path / f"in/{name}.wav").write_bytes(encoded(tone * sine(440, RATE, RATE), RATE, "WAV", "FLOAT"))
    spikes = np.zeros(RATE)
    spikes[::1000] = 0.1
    (tmp_path / "in/spikes.wav").write_bytes(encoded(spikes, RATE))
    (tmp_path / "in/zero.wav").write_bytes(encoded(np.zeros(RATE), RATE))
    index, left_out = pack(str(tmp_path / "in"), str(tmp_path / "out"), loudness=-20.0)
    loud, quiet, peaked, silent = (sound for _, (sound, _, _) in sorted(read(index).items()))
    for sound in (loud, quiet):
        assert 20 * np.log10(np.sqrt((sound**2).mean())) == pytest.approx(-20, abs=0.02)
    assert np.abs(peaked).max() > 0.999
    assert not silent.any()
    assert left_out.fitted == {"quieter than -20 dB, where its peak is full scale": 1, "silent throughout": 1}


def test_what_exceeds_full_scale_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/loud.wav").write_bytes(encoded(3 * sine(440, RATE, RATE), RATE, "WAV", "FLOAT"))
    index, left_out = pack(str(tmp_path / "in"), str(tmp_path / "out"))
    ((sound, _, _),) = read(index).values()
    assert (sound.max(), sound.min()) == (32767 / 32768, -1)
    assert left_out.fitted == {"louder than full scale and clipped there": 1}


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sounds(tmp_path / "in")), str(tmp_path / "out"), *COMMAND, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["noun"], said["fitted"]) == ("sound", FITTED)


@pytest.mark.parametrize(
    "option", ["--seconds=0", "--seconds=inf", "--sample-rate=10", "--loudness=3", "--split-silence=-40"]
)
def test_values_that_make_no_sense(option: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), str(tmp_path / "out"), option])


def test_a_set_of_another_medium_is_named(tmp_path: Path) -> None:
    pack(str(sounds(tmp_path / "in")), str(tmp_path / "out"))
    with pytest.raises(DataError, match=r"holds sounds \(\.flac\), and data\.medium is image; set data\.medium=audio"):
        dataset.open_index(validate({"data": {"path": str(tmp_path / "out")}, "train": {"batch": 4}}))
