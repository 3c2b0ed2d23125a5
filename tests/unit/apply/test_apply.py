"""`python -m gandist.apply`: what it writes, and what it says where it cannot."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gandist.apply import main
from gandist.apply.inputs import find_inputs
from gandist.apply.network import network_of
from gandist.apply.work import Task, outcomes
from gandist.media.pixels import ORIENTATION
from gandist.run.trained import open_trained
from tests.helpers import forked
from tests.unit.apply.conftest import pixels, smooth

Run = Callable[[str], str]


def saved(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The message of a command that exits with 2."""
    try:
        status = main(list(map(str, arguments)))
    except SystemExit as ended:  # as argparse does
        status = int(str(ended.code))
    written = capsys.readouterr()
    assert (status, written.out) == (2, "")
    assert "Traceback" not in written.err
    return written.err


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_result_has_the_size_and_the_name_of_its_picture(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a picture of one pixel, of those in folders' folders, and of every format."""
    saved(tmp_path / "in/a.png", smooth(60, 100))
    saved(tmp_path / "in/deeper/a.jpg", smooth(9, 7))
    saved(tmp_path / "in/deeper/dot.ed.bmp", smooth(1, 1))
    saved(tmp_path / "more/b.webp", smooth(16, 17))
    saved(tmp_path / "more/c.tif", smooth(5, 4))
    (tmp_path / "in/notes.txt").write_text("no picture")
    out = tmp_path / "out"
    assert main([run("enlarge"), str(tmp_path / "in"), f"{tmp_path}/more/*", "--out", str(out)]) == 0
    written = capsys.readouterr()
    assert written.out == f"5 pictures by {run('enlarge')} at 36 images seen: {out}\n"
    (megapixels,) = re.findall(r"^(\S+) megapixels in \S+ s: \S+ s per megapixel$", written.err, re.M)
    assert float(megapixels) == pytest.approx((60 * 100 + 9 * 7 + 1 + 16 * 17 + 5 * 4) / 1e6, rel=0.01)
    assert files(out) == ["a.png", "b.png", "c.png", "deeper/a.png", "deeper/dot.ed.png"]
    sizes = {name: Image.open(out / name).size for name in files(out)}
    assert sizes == {
        "a.png": (400, 240),
        "b.png": (68, 64),
        "c.png": (16, 20),
        "deeper/a.png": (28, 36),
        "deeper/dot.ed.png": (4, 4),
    }


def test_the_bytes_are_the_pictures_and_the_seeds_alone(run: Run, tmp_path: Path) -> None:
    first = saved(tmp_path / "in/a.png", smooth(40, 30))
    for seed in range(3):
        saved(tmp_path / f"in/{seed}.png", smooth(20 + 9 * seed, 64, seed=seed))
    assert main([run("draw"), str(tmp_path / "in"), "--out", str(tmp_path / "all")]) == 0
    assert main([run("draw"), str(first), "--out", str(tmp_path / "alone")]) == 0
    assert main([run("draw"), str(first), "--out", str(tmp_path / "seed"), "--seed", "1"]) == 0
    alone = (tmp_path / "alone/a.png").read_bytes()
    assert alone == (tmp_path / "all/a.png").read_bytes()
    assert alone != (tmp_path / "seed/a.png").read_bytes()


def test_several_devices_give_what_one_gives(run: Run, tmp_path: Path) -> None:
    """Here all are the CPU: each has its own thread and its own copy of the network."""
    for seed in range(5):
        saved(tmp_path / f"in/{seed}.png", smooth(30, 20 + 7 * seed, seed=seed))
    (tmp_path / "in/broken.png").write_bytes(b"text")
    network = network_of(open_trained(run("draw"), torch.device("cpu")), "draw", 0)
    found = {}
    for count in (1, 3):
        out = tmp_path / str(count)
        networks = [network, *(network.on(torch.device("cpu")) for _ in range(count - 1))]
        sources = find_inputs([str(tmp_path / "in")], out)
        done = list(outcomes(networks, Task(out, None, 1.0), sources, lambda source, done, tiles: None))
        assert [outcome.source.path.name for outcome in done if outcome.error] == ["broken.png"]
        assert len(done) == 6
        found[count] = {name: (out / name).read_bytes() for name in files(out)}
    assert len(found[1]) == 5
    assert found[1] == found[3]


def test_a_turned_picture_is_made_upright(run: Run, tmp_path: Path) -> None:
    upright, exif = Image.fromarray(smooth(24, 40)), Image.Exif()
    upright.save(tmp_path / "upright.png")
    exif[ORIENTATION] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert (
        main([run("draw"), *(f"{tmp_path}/{name}.png" for name in ("upright", "turned")), "--out", f"{tmp_path}/o"])
        == 0
    )
    np.testing.assert_array_equal(pixels(tmp_path / "o/turned.png"), pixels(tmp_path / "o/upright.png"))


def test_alpha_is_kept(run: Run, tmp_path: Path) -> None:
    """And changes no colour; it is enlarged as Pillow does it."""
    colours, alpha = smooth(100, 70), smooth(100, 70, 1, seed=1)
    saved(tmp_path / "opaque.png", colours)
    saved(tmp_path / "in/clear.png", np.dstack([colours, alpha]))
    for name in ("draw", "enlarge"):
        assert main([run(name), f"{tmp_path}/opaque.png", f"{tmp_path}/in", "--out", str(tmp_path / name)]) == 0
        clear = pixels(tmp_path / name / "clear.png")
        np.testing.assert_array_equal(clear[..., :3], pixels(tmp_path / name / "opaque.png"))
        height, width = clear.shape[:2]
        expected = Image.fromarray(alpha[..., 0]).resize((width, height), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(clear[..., 3].astype(int), np.asarray(expected).astype(int), atol=1)
    np.testing.assert_array_equal(pixels(tmp_path / "draw/clear.png")[..., 3], alpha[..., 0])


def test_a_profile_of_colours_is_kept(run: Run, tmp_path: Path) -> None:
    Image.fromarray(smooth(8, 8)).save(tmp_path / "a.png", icc_profile=b"a profile")
    assert main([run("draw"), f"{tmp_path}/a.png", "--out", f"{tmp_path}/out"]) == 0
    assert Image.open(tmp_path / "out/a.png").info["icc_profile"] == b"a profile"


def test_grey_pictures_and_runs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grey becomes RGB; colours are dropped for a run in grey, with a message, and for one that colours."""
    grey, coloured = smooth(16, 16, 1)[..., 0], smooth(16, 16)
    inputs = [str(saved(tmp_path / "grey.png", grey)), str(saved(tmp_path / "coloured.png", coloured))]
    luma = np.asarray(Image.fromarray(coloured).convert("L"))
    inputs.append(str(saved(tmp_path / "luma.png", luma)))
    for name in ("draw", "colour", "grey"):
        assert main([run(name), *inputs, "--out", str(tmp_path / name)]) == 0
        noted = "1 of 3 pictures were turned grey: the run was trained with data.channels=1" in capsys.readouterr().err
        assert noted == (name == "grey")
    assert pixels(tmp_path / "draw/grey.png").shape == (16, 16, 3)
    assert pixels(tmp_path / "grey/coloured.png").shape == (16, 16)
    for name, same in (("draw", False), ("colour", True), ("grey", True)):
        found, expected = (pixels(tmp_path / name / f"{each}.png") for each in ("coloured", "luma"))
        assert np.array_equal(found, expected) == same, name


def test_sixteen_bits_become_eight(run: Run, tmp_path: Path) -> None:
    values = smooth(16, 16, 1)[..., 0]
    Image.fromarray(values).save(tmp_path / "eight.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    assert main([run("grey"), f"{tmp_path}/*.png", "--out", str(tmp_path / "out")]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out/eight.png"), pixels(tmp_path / "out/sixteen.png"))


@pytest.mark.parametrize(
    ("scale", "size"), [("1", (100, 60)), ("2.5", (250, 150)), ("8", (800, 480)), ("0.1", (10, 6))]
)
def test_a_result_is_resized_as_pillow_does_it(run: Run, tmp_path: Path, scale: str, size: tuple[int, int]) -> None:
    source = saved(tmp_path / "a.png", smooth(60, 100))
    assert main([run("enlarge"), str(source), "--out", str(tmp_path / "whole")]) == 0
    assert main([run("enlarge"), str(source), "--out", str(tmp_path / "out"), "--scale", scale]) == 0
    with Image.open(tmp_path / "whole/a.png") as whole:
        expected = np.asarray(whole.resize(size, Image.Resampling.LANCZOS)).astype(int)
    np.testing.assert_allclose(pixels(tmp_path / "out/a.png").astype(int), expected, atol=1)


def test_a_mask_keeps_all_that_it_does_not_cover(run: Run, tmp_path: Path) -> None:
    """Bit for bit: a file, a folder of masks, white, and transparency; in tiles and whole."""
    picture, hole = smooth(90, 120).clip(0, 254), np.zeros((90, 120), bool)
    hole[20:50, 30:110] = True
    mask = saved(tmp_path / "masks/a.png", hole.astype(np.uint8) * 255)
    white = np.where(hole[..., None], np.uint8(255), picture)
    ways = {
        str(mask): picture,
        str(mask.parent): picture,
        "white": white,
        "auto": np.dstack([picture, np.where(hole, 0, 255).astype(np.uint8)]),
    }
    results = []
    for number, (way, given) in enumerate(ways.items()):
        source = saved(tmp_path / f"{number}/a.png", given)
        for tile in ("0", "16"):
            out = tmp_path / f"out-{number}-{tile}"
            assert main([run("fill"), str(source), "--out", str(out), "--mask", way, "--tile", tile]) == 0
            made = pixels(out / "a.png")
            np.testing.assert_array_equal(made[~hole], picture[~hole])
            assert (made[hole] != given[hole][:, :3]).any()
            results.append(made)
    for made in results:
        np.testing.assert_allclose(made.astype(int), results[0].astype(int), atol=1)


def test_masks_that_do_not_fit_are_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(tmp_path / "a.png", smooth(16, 16))
    mask = saved(tmp_path / "masks/b.png", smooth(16, 15, 1)[..., 0])
    saved(tmp_path / "twice/b.png", smooth(8, 8))
    saved(tmp_path / "twice/b.jpg", smooth(8, 8))
    out = ["--out", str(tmp_path / "out")]
    for given, message in ((mask, "is 16x16, and its mask"), (mask.parent, "has no mask")):
        assert main([run("fill"), str(source), *out, "--mask", str(given)]) == 1
        assert f"{source}: {message}" in capsys.readouterr().err
    assert "--mask: the run fills holes; give" in refusal(capsys, run("fill"), source, *out)
    assert "there is no such file" in refusal(capsys, run("fill"), source, *out, "--mask", "none")
    assert "are masks of one name" in refusal(capsys, run("fill"), source, *out, "--mask", tmp_path / "twice")
    assert "--mask white: the run fills no holes" in refusal(capsys, run("draw"), source, *out, "--mask", "white")


def test_a_broken_picture_is_told_and_the_others_are_done(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "in/a.png", smooth(16, 16))
    whole = saved(tmp_path / "in/b.png", smooth(64, 64)).read_bytes()
    (tmp_path / "in/b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/c.jpg").write_bytes(b"text")
    Image.fromarray(np.full((4, 4), 3000.0, np.float32)).save(tmp_path / "in/d.tif")
    saved(tmp_path / "in/e.png", smooth(16, 16))
    assert main([run("draw"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    written = capsys.readouterr()
    assert written.out.startswith("2 pictures by ")
    assert files(tmp_path / "out") == ["a.png", "e.png"]
    assert "3 of 5 pictures could not be used:\n" in written.err
    for name, reason in {"b.png": "truncated", "c.jpg": "cannot be identified", "d.tif": "floating-point"}.items():
        (line,) = [line for line in written.err.splitlines() if f"in/{name}: " in line]
        assert reason in line


def test_what_cannot_be_done_is_told_before_work_begins(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/a.jpg", "one/a.png", "two/a.png"):
        saved(Path(name), smooth(8, 8))
    Path("empty").mkdir()
    out = ["--out", "out"]
    for inputs in (["in"], ["one", "two"], ["one/a.png", "two/a.png"], ["*/a.png"]):
        assert "both results would be out/a.png; rename one" in refusal(capsys, "no-run", *inputs, *out)
    assert "in/a.jpg and in/a.png: " in refusal(capsys, "no-run", "in", *out)
    for missing in ("empty", "none.png", "none/*.png"):
        assert f"{missing}: no picture there" in refusal(capsys, "no-run", missing, *out)
    assert "the result would replace one/a.png" in refusal(capsys, "no-run", "one/a.png", "--out", "one")
    assert "--out one: is the folder of the pictures" in refusal(capsys, "no-run", "one", "--out", "one")
    assert "--out one/a.png: is a file" in refusal(capsys, "no-run", "two", "--out", "one/a.png")
    assert "--out s3://b/c: results are written to this machine" in refusal(
        capsys, "no-run", "two", "--out", "s3://b/c"
    )
    assert "--watch: takes one folder" in refusal(capsys, "no-run", "one/a.png", *out, "--watch")
    assert "no-run: is no run" in refusal(capsys, "no-run", "one", *out)
    assert "takes no pictures (condition.kind); use python -m gandist.sample" in refusal(
        capsys, run("plain"), "one", *out
    )
    for wrong in (["--scale", "0"], ["--scale", "nan"], ["--tile", "-1"], ["--seed", "x"]):
        assert f"argument {wrong[0]}" in refusal(capsys, "no-run", "one", *out, *wrong)
    assert not Path("out").exists()


def test_results_in_a_folder_of_pictures_are_no_pictures(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "a.png", smooth(8, 8))
    for _ in range(2):
        assert main([run("enlarge"), str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert files(tmp_path) == ["a.png", "out/a.png"]


def test_a_folder_is_followed(run: Run, tmp_path: Path) -> None:
    """Pictures that come, and one that changes, until Ctrl-C."""
    folder, out = tmp_path / "in", tmp_path / "out"
    saved(folder / "a.png", smooth(8, 8))
    log = tmp_path / "log"
    watching = forked.command(log, "gandist.apply", run("enlarge"), str(folder), "--out", str(out), "--watch")

    def wait_for(name: str, size: tuple[int, int]) -> None:
        end = time.monotonic() + 60
        while not (out / name).exists() or Image.open(out / name).size != size:
            assert watching.exitcode is None, log.read_text()
            assert time.monotonic() < end, f"no {name}"
            time.sleep(0.05)

    try:
        wait_for("a.png", (32, 32))
        saved(folder / "deeper/b.png", smooth(9, 8))
        (folder / "broken.png").write_bytes(b"text")
        wait_for("deeper/b.png", (32, 36))
        saved(folder / "a.png", smooth(16, 8))
        wait_for("a.png", (32, 64))
        os.kill(watching.pid, signal.SIGINT)  # type: ignore[arg-type]
        watching.join(30)
    finally:
        watching.kill()
        watching.join()
    assert watching.exitcode == 130
    messages = log.read_text()
    assert "1 of 3 pictures could not be used:" in messages
    assert "broken.png: cannot be identified as an image" in messages
    assert "Traceback" not in messages
