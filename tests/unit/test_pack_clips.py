"""Packing clips: every kind of source, brought to a length, and what was done is told."""

import hashlib
import io
import json
import re
import shlex
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image

from gandist.config.run import validate
from gandist.data import dataset
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.packing import pack
from gandist.data.resident import ResidentSet
from gandist.data.sets import open_samples
from gandist.data.unpacked import unpacked
from gandist.errors import DataError
from gandist.media.clip import frames_of, rate_of
from gandist.media.footage import Footage
from gandist.media.gallery import png_bytes
from gandist.media.video import Video
from gandist.pack import main
from tests.helpers.clips import animation, clip, film, levels

N = 8
SUFFIXES = (".mp4", ".gif", ".webp", ".apng")
LENGTHS = (8, 12, 5, 8, 20, 8, 8, 3)
OPTIONS: dict[str, Any] = {"frames": 8, "size": 16}
COMMAND = ["--frames", "8", "--size", "16"]
FITTED = {"longer than 8 frames and cut": 2, "shorter than 8 frames and begun again": 2}


def file(i: int) -> bytes:
    frames = clip(LENGTHS[i], 32, 40)
    kind = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}.get(SUFFIXES[i % 4])
    return animation(frames, kind, 125) if kind else film(frames)


def clips(root: Path) -> Path:
    """N clips in the classes "up" and "down", the even ones with a caption."""
    for i in range(N):
        path = root / ("down", "up")[i % 2] / f"{i:03d}{SUFFIXES[i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file(i))
        if i % 2 == 0:
            path.with_suffix(".txt").write_text(f"clip {i}\n")
    return root


def read(index: Index) -> dict[str, bytes]:
    """Key -> file, read by offset as a rank does."""
    found = {}
    for row in index.samples.to_pylist():
        with Path(index.url(row["shard"])).open("rb") as shard:
            shard.seek(row["offset"])
            found[row["key"]] = shard.read(row["size"])
    return found


def frames(data: bytes) -> np.ndarray:
    return np.stack([np.asarray(each.picture) for each in frames_of(data)])


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def check_eight(index: Index) -> None:
    order = [*range(0, N, 2), *range(1, N, 2)]
    found = read(index)
    assert sorted(found) == [f"{i:08d}" for i in range(N)]
    for row in index.samples.to_pylist():
        i = order[int(row["key"])]
        pixels = frames(found[row["key"]])
        assert pixels.shape == (8, 16, 16, 3)
        assert levels(pixels) == [number % LENGTHS[i] for number in range(8)]
        assert (row["ext"], row["label"]) == ("apng", i % 2)
        assert row["caption"] == (f"clip {i}" if i % 2 == 0 else None)


def test_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(clips(tmp_path / "in"))
    assert main([src, str(tmp_path / "out"), *COMMAND]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'out'}: 8 clips, 2 classes, 1 shards, ")
    assert "clips a class: least 4 (down), most 4 (down)\ncaptions: 4 of 8 clips have one\n" in said
    assert "of 8 clips: 2 longer than 8 frames and cut, 2 shorter than 8 frames and begun again\n" in said
    index = read_index(str(tmp_path / "out"))
    assert index.class_names == ("down", "up")
    check_eight(index)
    # Equal input gives equal bytes, whatever the threads.
    for workers in (1, 3):
        pack(src, str(tmp_path / f"by {workers}"), workers=workers, **OPTIONS)
        assert hashes(tmp_path / f"by {workers}") == hashes(tmp_path / "out")


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(clips(tmp_path / "in").rglob("*.*")):
            archive.write(path, f"all/{path.relative_to(tmp_path / 'in')}")
    index, left_out = pack(str(tmp_path / "in.zip"), str(tmp_path / "out"), **OPTIONS)
    check_eight(index)
    assert left_out.fitted == FITTED


def tar(path: Path, picture: str = "") -> str:
    """A shard as others write it, in `check_eight`'s order, perhaps with a picture beside each clip."""
    with tarfile.open(path, "w") as shard:
        for i in [*range(0, N, 2), *range(1, N, 2)]:
            members = {SUFFIXES[i % 4]: file(i), ".cls": str(i % 2).encode()}
            members |= {".txt": f"clip {i}".encode()} if i % 2 == 0 else {}
            members |= {picture: png_bytes(Image.new("RGB", (4, 4)))} if picture else {}
            for suffix, data in members.items():
                member = tarfile.TarInfo(f"{i:03d}{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    return str(path)


def test_tar(tmp_path: Path) -> None:
    index, left_out = pack(tar(tmp_path / "in.tar"), str(tmp_path / "out"), **OPTIONS)
    check_eight(index)
    assert left_out.fitted == FITTED


def test_pictures_beside_clips(tmp_path: Path) -> None:
    src = tar(tmp_path / "in.tar", ".jpg")
    with pytest.raises(
        DataError, match=r"holds images \(\.jpg, .*\) and clips \(\.apng, .*--medium image or --medium vi"
    ):
        pack(src, str(tmp_path / "out"))
    check_eight(pack(src, str(tmp_path / "out"), **OPTIONS)[0])


def test_parquet(tmp_path: Path) -> None:
    order = [*range(0, N, 2), *range(1, N, 2)]
    rows = [{"bytes": file(i), "path": f"{i}{SUFFIXES[i % 4]}"} for i in order]
    captions = [f"clip {i}" if i % 2 == 0 else None for i in order]
    table = pa.table({"video": rows, "label": [i % 2 for i in order], "text": captions})
    pq.write_table(table, tmp_path / "in.parquet")
    check_eight(pack(str(tmp_path / "in.parquet"), str(tmp_path / "out"), **OPTIONS)[0])
    pq.write_table(pa.table({"content": [file(0)]}), tmp_path / "one.parquet")
    assert pack(str(tmp_path / "one.parquet"), str(tmp_path / "one"))[1].medium == "video", "by how it begins"


def test_others_shards_are_indexed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And give the rows that they give when they are packed."""
    src = tar(tmp_path / "in.tar")
    assert main([src, "--index-only"]) == 2
    assert "--medium image or --medium video" in capsys.readouterr().err
    assert main([src, "--index-only", "--medium", "video"]) == 0
    assert f"{tmp_path}: 8 clips, 2 classes, 1 shards" in capsys.readouterr().out
    index = read_index(str(tmp_path))
    assert index.extensions == {"mp4", "gif", "webp", "apng"}
    medium = Video(frames=8, resolution=16)
    packed, _ = pack(src, str(tmp_path / "out"), **OPTIONS, seed=1)
    rows = open_samples(index, medium, cache_dir=tmp_path / "cache").gather(np.arange(N))[0]
    for key, data in read(packed).items():
        assert np.abs(rows[int(key)].astype(int) - frames(data)).max() <= 1, "both resize"


def test_webps_are_clips_if_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(str(clips(tmp_path / "in")), str(tmp_path / "out"), format="webp", **OPTIONS)
    (tmp_path / "out/shards.parquet").unlink()
    for said, medium in (("images", []), ("clips", ["--medium", "video"])):
        assert main([str(tmp_path / "out"), "--index-only", *medium]) == 0
        assert f"{tmp_path / 'out'}: 8 {said}, 2 classes" in capsys.readouterr().out


def test_what_webdataset_reads(tmp_path: Path) -> None:
    for format, begins in (("webp", b"RIFF"), ("mp4", b"\0\0\0"), ("apng", b"\x89PNG")):
        index, _ = pack(str(clips(tmp_path / "in")), str(tmp_path / format), format=format, **OPTIONS)
        samples = list(webdataset.WebDataset(str(tmp_path / format / "000000.tar"), shardshuffle=False))
        assert [sample["__key__"] for sample in samples] == index.samples["key"].to_pylist()
        for sample in samples:
            assert sample[format].startswith(begins)
            assert len(frames(sample[format])) == 8


def one(folder: Path, data: bytes, name: str = "a.mp4") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return str(folder)


def test_windows(tmp_path: Path) -> None:
    src = one(tmp_path / "in", film(clip(18)))
    (tmp_path / "in/a.txt").write_text("a film")
    index, left_out = pack(src, str(tmp_path / "all"), frames=4, windows="all")
    found = read(index)
    assert list(found) == [f"00000000-{part:04d}" for part in range(4)]
    assert [levels(frames(data)) for data in found.values()] == [list(range(at, at + 4)) for at in (0, 4, 8, 12)]
    assert index.captions == ["a film"] * 4
    assert left_out.fitted == {"frames that fill no window left out": 2}
    drawn = []
    for seed in (0, 0, 1):
        index, _ = pack(src, str(tmp_path / "drawn"), frames=4, windows=5, seed=seed, overwrite=True)
        drawn.append([levels(frames(data)) for data in read(index).values()])
        starts = [window[0] for window in drawn[-1]]
        assert starts == sorted(set(starts))
        assert all(window == list(range(window[0], window[0] + 4)) for window in drawn[-1])
    assert drawn[0] == drawn[1] != drawn[2]
    places = pack(src, str(tmp_path / "some"), frames=16, windows=5)
    assert len(read(places[0])) == 3
    assert places[1].fitted == {"of fewer than 5 different windows": 1}
    for windows in ("all", 3):
        index, left_out = pack(src, str(tmp_path / f"short {windows}"), frames=20, windows=windows)
        assert left_out.fitted == {"shorter than 20 frames and begun again": 1}
        assert index.n == 1


def test_windows_are_drawn_evenly() -> None:
    data = animation(clip(6), "GIF")
    drawn = [Footage(frames=4, windows=1, seed=seed).encoded(data, print) for seed in range(60)]
    starts = [levels(frames(file))[0] for files in drawn for file in files]
    assert min(np.bincount(starts, minlength=3)) >= 10


def test_rates(tmp_path: Path) -> None:
    """What is written is played as fast as its source."""
    src = one(tmp_path / "in", film(clip(20), fps=10))
    for options, rate, expected in (
        ({}, 10, range(8)),
        ({"stride": 2}, 5, range(0, 16, 2)),
        ({"fps": 5.0}, 5, range(0, 16, 2)),
        ({"fps": 20.0, "stride": 4}, 5, range(0, 16, 2)),
    ):
        for format in ("apng", "webp", "mp4")[: 1 if options else 3]:
            index, _ = pack(src, str(tmp_path / "out"), frames=8, format=format, overwrite=True, **options)
            (data,) = read(index).values()
            assert rate_of(data) == pytest.approx(rate)
            assert levels(frames(data)) == list(expected)


def test_clips_are_left_as_they_are(tmp_path: Path) -> None:
    """Without options each keeps its frames, size, colours and rate, and what is not shown changes nothing."""
    grey = np.random.default_rng(0).integers(0, 256, (5, 9, 14), np.uint8)
    held = grey[[0, 0, 1, 1, 2, 2, 2]]
    for pixels, name in ((grey, "a.apng"), (held, "b.apng"), (grey[[0, 0, 0]], "c.apng")):
        src = one(tmp_path / name, animation([Image.fromarray(each) for each in pixels], "PNG", 40), name)
        index, _ = pack(src, str(tmp_path / f"{name} out"))
        (data,) = read(index).values()
        given = next(iter((tmp_path / name).iterdir())).read_bytes()
        np.testing.assert_array_equal(frames(data), frames(given))


def test_frames_that_are_held_stay_apart(tmp_path: Path) -> None:
    """An animated PNG keeps equal frames, of which the reader would else count too few; WebP cannot, which is told."""
    apart = animation(np.repeat(clip(4), 2, 0), "PNG", blend=[0, 1] * 4)
    src = one(tmp_path / "in", apart, "a.apng")
    index, _ = pack(src, str(tmp_path / "out"))
    (data,) = read(index).values()
    assert levels(frames(data)) == [0, 0, 1, 1, 2, 2, 3, 3]
    merged = "of frames that are all held, which WebP merges (--format apng keeps them)"
    index, left_out = pack(src, str(tmp_path / "webp"), format="webp")
    assert left_out.fitted == {merged: 1}
    assert len(frames(*read(index).values())) == 4
    still = one(tmp_path / "still", animation(np.repeat(clip(1), 8, 0), "GIF"), "a.gif")
    index, left_out = pack(still, str(tmp_path / "stills"), frames=8)
    assert left_out.fitted == {"of one frame, which stands still": 1}
    assert len(frames(*read(index).values())) == 8
    _, left_out = pack(still, str(tmp_path / "webps"), frames=8, format="webp")
    assert left_out.fitted[merged] == 1


def pictures(root: Path, n: int, suffix: str = ".png") -> None:
    root.mkdir(parents=True)
    for number, frame in enumerate(clip(n)):
        Image.fromarray(frame).save(root / f"frame{number + 8}{suffix}")


def test_folders_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbered pictures in a folder are a clip, in the order of their numbers; its class is the folder around it."""
    pictures(tmp_path / "in/run/first", 6)
    pictures(tmp_path / "in/run/second", 4, ".jpg")
    pictures(tmp_path / "in/walk/first", 4, ".bmp")
    (tmp_path / "in/run/first.txt").write_text("runs")
    (tmp_path / "in/walk/film.gif").write_bytes(animation(clip(4), "GIF"))
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--frames", "4", "--fps", "12"]) == 0
    said = capsys.readouterr().out
    assert "4 clips, 2 classes" in said
    assert "of 4 clips: 3 made of the pictures of a folder, 2 longer than 4 frames and cut\n" in said
    index = read_index(str(tmp_path / "out"))
    assert index.class_names == ("run", "walk")
    assert sorted(zip(index.labels.tolist(), index.captions, strict=True), key=str) == [
        (0, "runs"), (0, None), (1, None), (1, None),
    ]  # fmt: skip
    for key, data in read(index).items():
        assert levels(frames(data)) == ([0, 0, 1, 2] if int(key) == 2 else [0, 1, 2, 3])
        assert rate_of(data) == 12
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in (tmp_path / "in/run/first").iterdir():
            archive.write(path, f"first/{path.name}")
    index, _ = pack(str(tmp_path / "in.zip"), str(tmp_path / "zip"), medium="video", frames=3, windows="all")
    assert [levels(frames(data)) for data in read(index).values()] == [[0, 1, 2], [3, 4, 5]]
    Image.fromarray(clip(1, 8, 8)[0]).save(tmp_path / "in/run/first/frame10.png")
    (tmp_path / "in/run/second/frame9.jpg").write_bytes(b"no picture")
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--medium", "video", "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "run/first: has frames of 32 x 32 and 8 x 8 pixels; pass --size to make them alike" in said
    assert "run/second: frame 1 is no whole picture: cannot be identified as an image" in said


def test_folders_of_animations_are_no_frames(tmp_path: Path) -> None:
    for number in range(3):
        one(tmp_path / "in", animation(clip(4), "PNG"), f"{number}.png")
    index, left_out = pack(str(tmp_path / "in"), str(tmp_path / "out"), medium="video")
    assert (index.n, left_out.fitted) == (3, {})
    pack(str(tmp_path / "in"), str(tmp_path / "images"))
    assert read_index(str(tmp_path / "images")).extensions == {"png"}, "pictures, unless clips are asked for"


def test_both_kinds_in_a_folder(tmp_path: Path) -> None:
    src = one(tmp_path / "in", file(0))
    one(tmp_path / "in", png_bytes(Image.new("RGB", (4, 4))), "a.png")
    with pytest.raises(
        DataError, match=r"holds images \(a\.png, \.\.\.\) and clips \(a\.mp4, .*--medium image or --medium v"
    ):
        pack(src, str(tmp_path / "out"))
    assert pack(src, str(tmp_path / "out"), medium="image")[0].extensions == {"png"}
    assert pack(src, str(tmp_path / "clips"), format="mp4", size=16)[1].fitted == {
        "of one frame, which stands still": 1
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--sample-rate", "8000"], "holds clips, and --sample-rate is for sounds; leave it out"),
        (["--quality", "90"], "holds clips, and --quality is for images; leave it out"),
        (["--pairs-halves", "left"], "holds clips, and --pairs-halves is for images; leave it out"),
        (["--channels", "2"], "holds clips, whose --channels is 1 or 3, not 2"),
        (["--format", "jpeg"], "holds clips, whose --format is apng or webp or mp4, not jpeg"),
        (["--windows", "all"], "--windows needs --frames, the length of a clip"),
        (["--short", "refuse"], "--short needs --frames, the length of a clip"),
    ],
)
def test_options(tmp_path: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    src = one(tmp_path / "in", file(0))
    assert main([src, str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == f"error: {src}: {complaint}\n"


@pytest.mark.parametrize(
    "options",
    [["--windows", "some"], ["--windows", "random"], ["--windows", "random", "0"], ["--fps", "0"], ["--frames", "0"]],
)
def test_values_that_make_no_sense(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), str(tmp_path / "out"), *options])


def test_options_for_clips_say_that_there_are_clips(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "in/a.jpg")
    for options in ({"frames": 4}, {"stride": 2}, {"fps": 3.0}, {"format": "apng"}):
        with pytest.raises(DataError, match=r"holds no clips \(\.mp4 "):
            pack(str(tmp_path / "in"), str(tmp_path / "out"), **options)


def test_broken_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, out = clips(tmp_path / "in"), str(tmp_path / "out")
    (src / "up/empty.mp4").write_bytes(b"")
    (src / "up/list.mp4").write_bytes(b"#EXTM3U\n")
    (src / "up/torn.gif").write_bytes(file(1)[:-300])
    (src / "up/torn.mp4").write_bytes(file(0)[:-300])
    command = [str(src), out, *COMMAND, "--max-broken"]
    assert main([*command, "3"]) == 2
    said = capsys.readouterr().err
    assert "up/empty.mp4: an empty file" in said
    assert "up/list.mp4: is a playlist, and no clip that can be read" in said
    assert "up/torn.gif: not a whole gif: is cut off" in said
    assert "up/torn.mp4: not a whole mp4 film: is cut off" in said
    assert "4 broken clips, and --max-broken is 3" in said
    assert main([*command, "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["noun"], told["images"], told["fitted"]) == ("clip", N, FITTED)
    assert main([*command, "99", "--short", "refuse", "--overwrite"]) == 0
    assert read_index(out).n == N - 2


def config(path: Path, medium: str, **options: Any) -> Any:
    data = {"path": str(path), "medium": medium, "channels": 3, "options": options}
    return validate({"data": data, "model": {"name": "vgan", "resolution": 32}, "train": {"batch": 4}})


def test_a_set_of_another_medium_is_named(tmp_path: Path) -> None:
    src = str(clips(tmp_path / "in"))
    pack(src, str(tmp_path / "out"), **OPTIONS)
    with pytest.raises(DataError, match=r"holds clips \(\.apng\), and data\.medium is image; set data\.medium=video"):
        dataset.open_index(validate({"data": {"path": str(tmp_path / "out")}, "train": {"batch": 4}}))
    pack(src, str(tmp_path / "webp"), format="webp", **OPTIONS)
    assert dataset.open_index(config(tmp_path / "webp", "video", frames=8)).n == N
    few = config(tmp_path / "webp", "video", frames=8)
    few = few.model_copy(update={"train": few.train.model_copy(update={"batch": 99})})
    with pytest.raises(DataError, match=r"holds 8 clips, fewer than one global batch"):
        dataset.open_index(few)


def test_every_way_of_feeding_gives_the_same_rows(tmp_path: Path) -> None:
    index, _ = pack(str(clips(tmp_path / "in")), str(tmp_path / "out"), **OPTIONS)
    medium, numbers = Video(frames=4, stride=2, resolution=16), np.array([3, 0, 7, 7, 1])
    mapped = open_samples(index, medium, cache_dir=tmp_path / "cache")
    streamed = open_samples(index, medium, cache_dir=tmp_path / "cache", cache_gib=0)
    rows, labels = mapped.gather(numbers)
    assert levels(rows[0]) == levels(frames(list(read(index).values())[3]))[::2]
    for other in (streamed.gather(numbers), ResidentSet(mapped, torch.device("cpu")).gather(numbers)):
        np.testing.assert_array_equal(rows, other[0])
        np.testing.assert_array_equal(labels, other[1])


def test_what_is_said_of_clips_that_are_not_packed(tmp_path: Path) -> None:
    """The command that is named packs them."""
    src = one(tmp_path / "mine", file(0))
    said = unpacked(src)
    assert said.startswith(": holds clips that are not packed yet (a.mp4, ...); pack: ")
    command = re.findall(r"python -m gandist\.pack (\S+) (\S+), and set data\.path=", said)
    assert main(list(command[0])) == 0
    assert read_index(command[0][1]).extensions == {"apng"}
    assert "is one clip, where a packed set is expected" in unpacked(str(tmp_path / "mine/a.mp4"))


def test_the_commands_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/data.md").read_text().partition("### Pack clips")[2].partition("\n## ")[0]
    clips(tmp_path / "FOLDER")
    pictures(tmp_path / "FOLDER_OF_PICTURES/one", 5)
    monkeypatch.chdir(tmp_path)
    n = []
    for command in re.findall(r"^python -m gandist\.pack (.*)$", page, re.MULTILINE):
        assert main(shlex.split(command)) == 0
        n.append(read_index(shlex.split(command)[1]).n)
    assert n == [N, N, 1]
