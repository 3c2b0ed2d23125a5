"""`--encode` and `--decode`: pictures to codes in shards, and back."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.apply import main
from gandist.apply.network import network_of
from gandist.data.making import write_shard
from gandist.launch.resumption import run_root
from gandist.run.trained import open_trained
from gandist.train import course
from tests.helpers.image_to_image import GAMES
from tests.helpers.train_on_ranks import tiny
from tests.unit.apply.conftest import COMMON, RUNS, pixels, smooth
from tests.unit.apply.test_apply import files, refusal, saved

Run = Callable[[str], str]
SIZES = {"a": (16, 24), "deeper/b": (29, 31), "c": (1, 1)}
"""Heights and widths: that of the network, one that needs a margin, and the smallest."""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one of the bottlenecks, or one that is no autoencoder, trained when it is first asked for."""
    folder, found = tmp_path_factory.mktemp("runs"), dict[str, str]()

    def trained(name: str) -> str:
        if name not in found:
            config = tiny(folder, name, **{**COMMON, **(GAMES[name] if name in GAMES else RUNS[name])})
            assert course.run(config, "auto") == 0
            found[name] = run_root(config)
        return found[name]

    return trained


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed, (name, size) in enumerate(SIZES.items()):
        saved(tmp_path / f"in/{name}.png", smooth(*size, seed=seed))
    return tmp_path / "in"


def encoded(run: str, pictures: Path, out: Path, *options: str) -> dict[str, tuple[np.ndarray, dict[str, int]]]:
    """Codes and records by the keys of the one shard."""
    assert main([run, str(pictures), "--encode", "--out", str(out), *options]) == 0
    assert files(out) == ["000000.tar"]
    with tarfile.open(out / "000000.tar") as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = [name.removesuffix(".npy") for name in held if name.endswith(".npy")]
    assert sorted(held) == sorted(f"{key}.{kind}" for key in keys for kind in ("json", "npy"))
    return {
        key: (np.load(io.BytesIO(held[f"{key}.npy"]), allow_pickle=False), json.loads(held[f"{key}.json"]))
        for key in keys
    }


def shard(path: Path, array: np.ndarray, record: dict[str, int], key: str = "a") -> Path:
    """A shard of one code."""
    path.parent.mkdir(exist_ok=True)
    np.save(file := io.BytesIO(), array)
    write_shard(path, [(key, {"npy": file.getvalue(), "json": json.dumps(record).encode()})])
    return path


@pytest.mark.parametrize("name", ["gaussian", "quantised"])
def test_what_comes_back_is_what_the_network_makes_of_a_picture(
    run: Run, pictures: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit, as the command writes it without these options: of a Gaussian code both take the mean."""
    codes = encoded(run(name), pictures, tmp_path / "codes")
    out = capsys.readouterr().out
    assert out.startswith(f"3 pictures encoded by {run(name)} at ")
    assert sorted(codes) == sorted(SIZES)
    assert main([run(name), str(tmp_path / "codes"), "--decode", "--out", str(tmp_path / "back")]) == 0
    assert files(tmp_path / "back") == ["a.png", "c.png", "deeper/b.png"]
    network = network_of(open_trained(run(name), torch.device("cpu")), name, 0)
    assert main([run(name), str(pictures), "--out", str(tmp_path / "plain")]) == 0
    for key, (height, width) in SIZES.items():
        code, record = codes[key]
        grid = tuple(
            max(-(-side // network.multiple), network.smallest // network.multiple) for side in (height, width)
        )
        assert code.shape == ((4, *grid) if name == "gaussian" else grid)
        assert code.dtype == (np.float32 if name == "gaussian" else np.uint16)
        assert record == {"width": width, "height": height, "channels": 3}
        back = pixels(tmp_path / f"back/{key}.png")
        np.testing.assert_array_equal(back, pixels(tmp_path / f"plain/{key}.png"))


def test_half_the_bytes_are_within_a_level(run: Run, pictures: Path, tmp_path: Path) -> None:
    codes = encoded(run("gaussian"), pictures, tmp_path / "float32")
    halves = encoded(run("gaussian"), pictures, tmp_path / "float16", "--half")
    for key, (code, _) in codes.items():
        np.testing.assert_array_equal(halves[key][0], code.astype(np.float16))
        assert halves[key][0].dtype == np.float16
    for kind in ("float32", "float16"):
        assert main([run("gaussian"), str(tmp_path / kind), "--decode", "--out", str(tmp_path / f"{kind}-back")]) == 0
    for key in SIZES:
        first, second = (pixels(tmp_path / f"{kind}-back/{key}.png").astype(int) for kind in ("float32", "float16"))
        np.testing.assert_allclose(first, second, atol=1)


def test_codes_in_files_are_decoded_too(run: Run, pictures: Path, tmp_path: Path) -> None:
    """Cropped if the record lies beside them, else whole."""
    codes = encoded(run("quantised"), pictures, tmp_path / "codes")
    code, record = codes["deeper/b"]
    (tmp_path / "loose/deeper").mkdir(parents=True)
    np.save(tmp_path / "loose/deeper/b.npy", code)
    (tmp_path / "loose/deeper/b.json").write_text(json.dumps(record))
    np.save(tmp_path / "loose/whole.npy", code)
    for given, out in ((tmp_path / "codes", "first"), (tmp_path / "loose", "second")):
        assert main([run("quantised"), str(given), "--decode", "--out", str(tmp_path / out)]) == 0
    assert main([run("quantised"), f"{tmp_path}/loose/*.npy", "--decode", "--out", str(tmp_path / "third")]) == 0
    expected, whole = pixels(tmp_path / "first/deeper/b.png"), pixels(tmp_path / "second/whole.png")
    np.testing.assert_array_equal(pixels(tmp_path / "second/deeper/b.png"), expected)
    np.testing.assert_array_equal(pixels(tmp_path / "third/whole.png"), whole)
    assert whole.shape == (32, 32, 3)
    np.testing.assert_array_equal(whole[:29, :31], expected)


def test_pictures_that_cannot_be_encoded_are_told_and_the_others_are(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(pictures / "dot.ted.png", smooth(8, 8))
    (pictures / "text.png").write_bytes(b"text")
    arguments = [run("quantised"), str(pictures), "--encode", "--out", str(tmp_path / "codes"), "--max-pixels", "1000"]
    assert main(arguments) == 1
    written = capsys.readouterr()
    assert written.out.startswith("2 pictures encoded by ")
    assert "3 of 5 pictures could not be used:\n" in written.err
    assert f"{pictures}/deeper/b.png: 32x32 pixels are over --max-pixels 1000" in written.err
    assert f"{pictures}/dot.ted.png: a dot would end its key" in written.err
    assert f"{pictures}/text.png: " in written.err
    with tarfile.open(tmp_path / "codes/000000.tar") as tar:
        assert sorted(tar.getnames()) == ["a.json", "a.npy", "c.json", "c.npy"]
    assert "holds shards already; give another folder" in refusal(capsys, *arguments)


NUMBERS = np.zeros((4, 4), np.uint16)
MEANS = np.zeros((4, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("name", "array", "record", "message"),
    [
        ("quantised", NUMBERS + 16, {}, "has numbers beyond 0 to 15"),
        ("quantised", NUMBERS.astype(np.int32) - 1, {}, "has numbers beyond 0 to 15"),
        ("quantised", MEANS, {}, "is float32 (4, 4, 4), and the run takes integers (h, w)"),
        ("quantised", np.zeros((0, 4), np.int32), {}, "is int32 (0, 4)"),
        ("quantised", np.array([{}]), {}, "cannot be read as a .npy file"),  # pickled
        ("quantised", np.zeros((2000, 2000), np.uint16), {}, "pixels are over --max-pixels 4194304"),
        ("gaussian", NUMBERS, {}, "is uint16 (4, 4), and the run takes float32 or float16 (4, h, w)"),
        ("gaussian", MEANS[:3], {}, "is float32 (3, 4, 4)"),
        ("gaussian", MEANS.astype(np.float64), {}, "is float64 (4, 4, 4)"),
        ("gaussian", MEANS * np.nan, {}, "has numbers that are not finite"),
        ("gaussian", MEANS, {"width": 8}, "its .json has no width, height and channels"),
        ("gaussian", MEANS, {"width": 0, "height": 8, "channels": 3}, "its .json has no width, height and channels"),
        ("gaussian", MEANS, {"width": 8, "height": 17, "channels": 3}, "and its code gives"),
        ("gaussian", MEANS, {"width": 8, "height": 8, "channels": 1}, "and its code gives"),
    ],
)
def test_codes_that_cannot_be_decoded_are_told(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    array: np.ndarray,
    record: dict[str, int],
    message: str,
) -> None:
    """And the others are decoded."""
    bad = shard(tmp_path / "in/0.tar", array, record or {"width": 8, "height": 8, "channels": 3})
    shard(
        tmp_path / "in/1.tar",
        NUMBERS if name == "quantised" else MEANS,
        {"width": 9, "height": 8, "channels": 3},
        "fine",
    )
    assert main([run(name), str(tmp_path / "in"), "--decode", "--out", str(tmp_path / "out")]) == 1
    written = capsys.readouterr().err
    assert f"{bad}: a: " in written
    assert message in written
    assert files(tmp_path / "out") == ["fine.png"]
    assert pixels(tmp_path / "out/fine.png").shape == (8, 9, 3)


def test_what_cannot_be_done_is_told_before_work_begins(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, out = tmp_path / "empty", ["--out", str(tmp_path / "out")]
    empty.mkdir()
    message = refusal(capsys, run("draw"), pictures, *out, "--encode")
    assert (
        f"{run('draw')}: has no codes (model.name=unet, condition.kind=itself); --encode and --decode take" in message
    )
    for option in (["--tile", "8"], ["--scale", "2"], ["--compare"], ["--watch"], ["--mask", "white"], ["--seed", "1"]):
        message = refusal(capsys, run("quantised"), pictures, *out, "--encode", *option)
        assert f"{option[0]}: has no meaning with --encode or --decode" in message
    assert "not allowed with" in refusal(capsys, run("quantised"), pictures, *out, "--encode", "--decode")
    assert f"{pictures}: no codes there; give shards" in refusal(capsys, "no-run", pictures, *out, "--decode")
    assert "no picture there" in refusal(capsys, "no-run", empty, *out, "--encode")
    outside = shard(tmp_path / "outside/0.tar", NUMBERS, {}, "../../a")
    assert "would lie outside" in refusal(capsys, "no-run", outside, *out, "--decode")
    twice = [shard(tmp_path / f"{name}/0.tar", NUMBERS, {}) for name in ("one", "two")]
    assert "both results would be a.png; rename one" in refusal(capsys, "no-run", *twice, *out, "--decode")
    torn = twice[0].read_bytes()[:700]
    twice[0].write_bytes(torn)
    assert f"{twice[0]}: a truncated or damaged tar" in refusal(capsys, "no-run", twice[0], *out, "--decode")
    assert not (tmp_path / "out").exists()
