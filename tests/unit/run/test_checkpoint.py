"""Checkpoints: bit for bit, equal bytes for equal training, and refused where they are not what was written."""

import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from gandist.distributed.randomness import Draws
from gandist.distributed.ranks import Ranks
from gandist.errors import CheckpointError, OvertakenError
from gandist.gan.adversarial import Game, Latents, Reals, Rules, Scheduled
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.players import Players, build_players
from gandist.run.attempt import Attempt
from gandist.run.checkpoint import FILES, Writer, Written, expendable, names, newest, read
from gandist.storage.remote import join
from gandist.storage.storage import Storage
from tests.helpers.no_host_sync import Blind
from tests.helpers.s3_server import serve_bucket

CPU = torch.device("cpu")
SHAPE = Shape(resolution=32, channels=1, z_dim=4, width=2, classes=3)


def players_of(precision: str, shape: Shape = SHAPE, seed: int = 0) -> Players:
    pair = NETWORKS["dcgan"]
    return build_players(
        lambda: pair.generator(shape), lambda: pair.discriminator(shape), seed=seed, device=CPU, precision=precision
    )


def train(players: Players, precision: str, steps: int) -> None:
    game = Game(players, Rules(), Ranks(0, 1, CPU), precision)
    draws, dtype = Draws(0, CPU), torch.float64 if precision == "fp64" else torch.float32
    for _ in range(steps):
        seen = torch.tensor(players.images_seen)
        players.G.set_lr(1e-3)
        players.D.set_lr(1e-3)
        y = draws.numbers("y", seen, 0, 4, 3)
        z = Latents(draws.normal("z", seen, 0, (4, 4)).to(dtype), y)
        game.step(
            players, [Reals(draws.normal("x", seen, 0, (4, 1, 32, 32)).to(dtype), y)], [z], z, Scheduled(beta=0.9)
        )
        players.images_seen += 4


def written(storage: Storage, players: Players, **options: Any) -> str:
    """Write a checkpoint of the players; its name."""
    writer = Writer(storage, facts={"config_fingerprint": "f"}, **{"keep": 4, **options})
    writer.save(players)
    writer.close()
    return f"{players.images_seen:08d}"


def contents(storage: Storage, name: str) -> dict[str, bytes | None]:
    return {f"{file}.safetensors": storage.read_bytes(f"checkpoints/{name}/{file}.safetensors") for file in FILES}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "run"))


@pytest.fixture
def two(storage: Storage) -> tuple[Storage, Path]:
    """Checkpoints at 4 and 8 images, and the folder of the second."""
    players = players_of("fp32")
    for _ in range(2):
        train(players, "fp32", 1)
        written(storage, players)
    assert storage.local is not None
    return storage, storage.local / "checkpoints" / "00000008"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp64"])
def test_players_come_back_bit_for_bit_and_go_on_alike(storage: Storage, precision: str) -> None:
    players, other = players_of(precision), players_of(precision, seed=1)
    steps = 9 if precision == "fp16" else 3  # its scaler first has to find a scale
    train(players, precision, steps)
    players.D.skipped.fill_(2)
    name = written(storage, players)
    train(other, precision, 1)  # moments that must not survive
    read(storage, name).restore(other)
    assert other.scalars() == players.scalars()
    assert other.images_seen == 4 * steps
    assert float(other.D.skipped) == 2
    for _ in range(2):
        ours, theirs = players.tensors(), other.tensors()
        for file in FILES:
            assert ours[file].keys() == theirs[file].keys()
            assert ours[file]
            for key, tensor in ours[file].items():
                assert theirs[file][key].dtype == tensor.dtype
                assert torch.equal(theirs[file][key], tensor), f"{file}: {key}"
        train(players, precision, 2)
        train(other, precision, 2)


def test_the_state_of_the_fp16_scalers_is_kept(storage: Storage) -> None:
    players = players_of("fp16")
    train(players, "fp16", 2)
    for player, scale in ((players.G, 128.0), (players.D, 512.0)):
        player.scaler.load_state_dict({**player.scaler.state_dict(), "scale": scale, "_growth_tracker": 7})
    other = players_of("fp16")
    read(storage, written(storage, players)).restore(other)
    assert (other.G.scaler.get_scale(), other.D.scaler.get_scale()) == (128.0, 512.0)
    assert other.D.scaler.state_dict()["_growth_tracker"] == 7


def test_equal_training_equal_bytes(tmp_path: Path) -> None:
    files = []
    for folder in ("a", "b"):
        players, storage = players_of("bf16"), Storage(str(tmp_path / folder))
        train(players, "bf16", 2)
        files.append(contents(storage, written(storage, players)))
    assert files[0] == files[1]
    assert all(files[0].values())


def test_bytes_do_not_depend_on_the_memory_layout(tmp_path: Path) -> None:
    players = players_of("fp32")
    train(players, "fp32", 1)
    a, b = (Storage(str(tmp_path / folder)) for folder in "ab")
    before = contents(a, written(a, players))
    players.G.net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    assert contents(b, written(b, players)) == before


@pytest.mark.parametrize("precision", ["fp16", "fp64"])
def test_the_files_are_those_of_the_safetensors_package(storage: Storage, precision: str) -> None:
    """Of each checkpoint, though the later ones are copied into the room of those before."""
    players = players_of(precision)
    writer = Writer(storage, facts={}, keep=4)
    for _ in range(3):  # the optimisers have no tensors at first
        expected = {f"{file}.safetensors": save(group) for file, group in rows_of(players).items()}
        state = json.dumps(players.scalars(), indent=1, sort_keys=True).encode()
        writer.save(players)
        name = f"{players.images_seen:08d}"
        train(players, precision, 2)
        writer.wait()
        assert contents(storage, name) == expected
        assert storage.read_bytes(f"checkpoints/{name}/state.json") == state
    writer.close()


def rows_of(players: Players) -> dict[str, dict[str, torch.Tensor]]:
    return {
        file: {name: tensor.contiguous() for name, tensor in group.items()} for file, group in players.tensors().items()
    }


def test_the_room_of_a_copy_is_used_again(storage: Storage) -> None:
    players = players_of("fp32")
    train(players, "fp32", 1)
    writer = Writer(storage, facts={}, keep=4)

    def rooms() -> list[int]:
        writer.save(players)
        return [tensor.data_ptr() for group in writer._room.values() for tensor in group.values()]

    assert rooms() == rooms()
    writer.close()


@pytest.mark.parametrize("steps", [0, 9])
def test_the_scalars_are_what_is_on_the_device_and_reading_them_may_wait(steps: int) -> None:
    players = players_of("fp16")
    players.memory = {"augment": torch.tensor([0.25, 7.0], dtype=torch.float64), "one": torch.ones(1).double()}
    players.D.skipped.fill_(2)
    train(players, "fp16", steps)
    expected = {
        "images_seen": 4 * steps,
        "rollbacks": 0,
        "lr_scale": 1.0,
        "skipped_G": float(players.G.skipped),
        "skipped_D": float(players.D.skipped),
        "scaler_G": players.G.scaler.state_dict(),
        "scaler_D": players.D.scaler.state_dict(),
        "memory": {"augment": [0.25, 7.0], "one": [1.0]},
    }
    with Blind():  # type: ignore[no-untyped-call]
        numbers, plain = players.scalars_later()
    players.images_seen += 4
    players.D.skipped += 1
    train(players, "fp16", 1)
    assert plain(numbers) == expected
    assert json.dumps(plain(numbers), sort_keys=True) == json.dumps(expected, sort_keys=True)


def test_the_manifest_says_what_is_there(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["images_seen"] == 8
    assert manifest["format_version"] == 2
    assert manifest["config_fingerprint"] == "f"
    assert {*manifest["files"], "manifest.json"} == {path.name for path in folder.iterdir()}
    found = newest(storage)
    assert found is not None
    assert (found.name, found.images_seen) == ("00000008", 8)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def forge(folder: Path, file: str, data: bytes) -> None:
    """Replace a file, and its sum in the manifest."""
    import hashlib

    (folder / file).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit(folder / "manifest.json", files={**files, file: hashlib.sha256(data).hexdigest()})


class Trap:
    """Unpickled, it would end the test run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, (77,)


def drop_from_list(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit(folder / "manifest.json", files={name: sha for name, sha in files.items() if name != "D.safetensors"})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda p: flip(p / "optim_D.safetensors"),
    "a flipped bit in the state": lambda p: flip(p / "state.json"),
    "a truncated file": lambda p: (p / "G.safetensors").write_bytes((p / "G.safetensors").read_bytes()[:-10]),
    "an empty file": lambda p: (p / "G.safetensors").write_bytes(b""),
    "a missing file": lambda p: (p / "G_ema.safetensors").unlink(),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "an empty manifest": lambda p: (p / "manifest.json").write_bytes(b""),
    "a torn manifest": lambda p: (p / "manifest.json").write_bytes((p / "manifest.json").read_bytes()[:50]),
    "a manifest of something else": lambda p: (p / "manifest.json").write_text("[1]"),
    "a manifest without files": lambda p: edit(p / "manifest.json", files={}),
    "a manifest with odd files": lambda p: edit(p / "manifest.json", files=[1]),
    "a file left out of the manifest": drop_from_list,
    "a sum that was changed": lambda p: edit(p / "manifest.json", files={"G.safetensors": "0" * 64}),
    "a pickle in its place": lambda p: (p / "G.safetensors").write_bytes(pickle.dumps(Trap())),
    "a pickle with its sum": lambda p: forge(p, "G.safetensors", pickle.dumps(Trap())),
    "a torch.save with its sum": lambda p: forge(p, "G.safetensors", torch_pickle()),
    "a state that is no JSON, with its sum": lambda p: forge(p, "state.json", pickle.dumps({"images_seen": 8})),
}


def torch_pickle() -> bytes:
    import io

    sink = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, sink)
    return sink.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_and_the_one_before_is_taken(
    two: tuple[Storage, Path], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage, folder = two
    DAMAGES[damage](folder)
    with pytest.raises(CheckpointError, match="sha256") as caught:
        read(storage, folder.name)
    assert str(folder) in str(caught.value)
    found = newest(storage)
    assert found is not None
    assert found.name == "00000004"
    assert str(folder) in caplog.text
    assert "sha256" in caplog.text
    found.restore(players_of("fp32"))


def test_all_damaged_is_an_error_with_a_way_out(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    flip(folder / "G.safetensors")
    flip(folder.parent / "00000004" / "G.safetensors")
    with pytest.raises(CheckpointError, match=r"all 2 checkpoints fail their sha256 check.*--resume never"):
        newest(storage)


def test_unfinished_ones_are_not_seen(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    folder.rename(folder.with_name(".00000008.123"))
    found = newest(storage)
    assert found is not None
    assert found.name == "00000004"
    assert newest(Storage(f"{storage.root}/elsewhere")) is None


def test_another_format_is_told(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    edit(folder / "manifest.json", format_version=99)
    with pytest.raises(CheckpointError, match="format_version 99; this gandist reads 1 and 2"):
        read(storage, folder.name)


def test_networks_of_another_shape_are_told(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    with pytest.raises(CheckpointError, match="G: does not fit the configured network"):
        read(storage, folder.name).restore(players_of("fp32", SHAPE._replace(width=3)))


def test_tensors_of_no_network_are_told(two: tuple[Storage, Path]) -> None:
    """Well-formed and with the right sums, but not this game's."""
    storage, folder = two
    moments = load((folder / "optim_D.safetensors").read_bytes())
    forge(folder, "optim_D.safetensors", save({f"other.{name}": tensor for name, tensor in moments.items()}))
    with pytest.raises(CheckpointError, match="optim_D"):
        read(storage, folder.name).restore(players_of("fp32"))


def test_a_state_without_its_fields_is_told(two: tuple[Storage, Path]) -> None:
    storage, folder = two
    forge(folder, "state.json", b"{}")
    with pytest.raises(CheckpointError, match="state"):
        read(storage, folder.name).restore(players_of("fp32"))


@pytest.mark.parametrize(
    ("counts", "keep", "keep_every", "expected"),
    [
        ([], 4, None, []),
        ([1, 2, 3], 4, None, []),
        ([10, 20, 30, 40, 50, 60], 4, None, [10, 20]),
        ([60, 10, 50, 20, 40, 30], 4, None, [10, 20]),
        ([10, 20, 30, 40, 50, 60], 1, None, [10, 20, 30, 40, 50]),
        # The first of each stretch of 25 stays: of 0..24, 25..49, 50..74.
        ([10, 20, 30, 40, 50, 60], 1, 25, [20, 40]),
        ([10, 20, 30, 40, 50, 60], 2, 1000, [20, 30, 40]),
        ([10, 20, 30, 40, 50, 60], 1, 1, []),
    ],
)
def test_which_are_expendable(counts: list[int], keep: int, keep_every: int | None, expected: list[int]) -> None:
    assert expendable(counts, keep, keep_every) == expected


def test_as_a_run_goes_on_the_same_ones_stay_whenever_it_is_pruned() -> None:
    """What `keep_every` kept once is never deleted later."""
    kept: list[int] = []
    for count in range(10, 500, 10):
        kept.append(count)
        kept = [each for each in kept if each not in expendable(kept, 2, 45)]
    assert kept == [10, 50, 90, 140, 180, 230, 270, 320, 360, 410, 450, 480, 490]


def test_old_ones_go_as_new_ones_come(storage: Storage) -> None:
    players = players_of("fp32")
    writer = Writer(storage, facts={}, keep=2, keep_every=16)
    for _ in range(6):
        players.images_seen += 4
        writer.save(players)
    writer.close()
    assert storage.folders("checkpoints") == ["00000004", "00000016", "00000020", "00000024"]


def test_training_goes_on_while_the_copy_is_written(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes after `save` is not in the checkpoint, and `save` does not wait for a slow storage."""
    go = threading.Event()
    write = storage.write_folder

    def slow(*args: Any, **options: Any) -> None:
        assert go.wait(30)
        write(*args, **options)

    monkeypatch.setattr(storage, "write_folder", slow)
    players = players_of("fp32")
    costs: list[Written] = []
    writer = Writer(storage, facts={}, keep=4, written=costs.append)
    stall_s = writer.save(players)
    saved = {name: tensor.clone() for name, tensor in players.tensors()["G"].items()}
    train(players, "fp32", 1)
    assert costs == []
    go.set()
    writer.close()
    (cost,) = costs
    assert cost.stall_s == stall_s
    assert cost.bytes > 10_000
    assert cost.stall_s < cost.write_s
    other = players_of("fp32", seed=1)
    read(storage, "00000000").restore(other)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in other.tensors()["G"].items())


def test_a_superseded_attempt_writes_nothing(storage: Storage) -> None:
    attempt = Attempt(storage)
    writer = Writer(attempt.fenced, facts={}, keep=4)
    Attempt(storage)
    writer.save(players_of("fp32"))
    with pytest.raises(OvertakenError, match="attempt 2 has taken over"):
        writer.close()
    assert storage.folders("checkpoints") == []


def test_a_write_that_fails_is_told_by_the_next_call(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_folder", full)
    writer = Writer(storage, facts={}, keep=4)
    writer.save(players_of("fp32"))
    with pytest.raises(OSError, match="No space left"):
        writer.save(players_of("fp32"))
    writer.close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serve_bucket("checkpoints") as url:
        yield url


@pytest.mark.slow
def test_on_s3(bucket: str) -> None:
    storage = Storage(join(bucket, "runs/one"))
    players, other = players_of("fp16"), players_of("fp16", seed=1)
    assert newest(storage) is None
    writer = Writer(storage, facts={}, keep=2)
    for _ in range(3):
        train(players, "fp16", 1)
        writer.save(players)
    writer.close()
    assert storage.folders("checkpoints") == ["00000008", "00000012"]
    found = newest(storage)
    assert found is not None
    found.restore(other)
    assert other.scalars() == players.scalars()
    assert contents(storage, written(storage, other)) == contents(storage, "00000012")
    storage.delete("checkpoints/00000012/manifest.json")  # as if the writer died before its last file
    found = newest(storage)
    assert found is not None
    assert found.name == "00000008"
    storage.write_bytes("checkpoints/00000008/D.safetensors", b"torn")
    with pytest.raises(CheckpointError, match="all 1 checkpoints"):
        newest(storage)
    storage.delete("checkpoints/00000008/manifest.json")
    assert newest(storage) is None, "killed in its first checkpoint, a run begins anew"


def test_checkpoints_are_in_the_order_of_their_images(storage: Storage) -> None:
    for name in ("99999936", "100000064", "00000064"):
        storage.write_folder(f"checkpoints/{name}", {"manifest.json": b"{}"}, last="manifest.json")
    assert names(storage) == ["00000064", "99999936", "100000064"]


def test_a_damaged_newer_one_takes_nobodys_place(storage: Storage) -> None:
    """A run that goes on from before it keeps what it writes now."""
    storage.write_folder("checkpoints/00000100", {"manifest.json": b"torn"}, last="manifest.json")
    writer, players = Writer(storage, facts={}, keep=1), players_of("fp32")
    for _ in range(2):
        train(players, "fp32", 1)
        writer.save(players)
    writer.close()
    assert names(storage) == ["00000008", "00000100"]
    found = newest(storage)
    assert found is not None
    assert found.images_seen == 8
