import json
from pathlib import Path
from typing import Any

import pytest

from gandist.run.progress import RunLog, decode, encode
from gandist.storage.storage import Storage


@pytest.fixture(params=["folder", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "run"))
    if request.param == "object store":
        # Without a local folder nothing may append: every byte goes through read_bytes and write_bytes.
        storage.local = None
    return storage


def row(images_seen: int, **more: Any) -> dict[str, Any]:
    return {"images_seen": images_seen, "loss/D": 1.25, **more}


def seen(storage: Storage) -> list[int]:
    data = storage.read_bytes("metrics.jsonl")
    assert data is not None
    return [json.loads(text)["images_seen"] for text in data.splitlines()]


def test_rows_are_strict_json() -> None:
    text = encode({"images_seen": 1, "loss/D": float("nan"), "loss/G": float("-inf"), "lr/D": 2e-4})
    assert text == b'{"images_seen": 1, "loss/D": null, "loss/G": null, "lr/D": 0.0002}\n'


def test_every_row_is_there_at_once(storage: Storage) -> None:
    log = RunLog(storage)
    for n in (100, 200, 300):
        log.append(row(n))
        assert seen(storage)[-1] == n
    log.close()
    assert seen(storage) == [100, 200, 300]


def test_resuming_drops_what_will_come_again(storage: Storage) -> None:
    log = RunLog(storage)
    for n in (100, 200, 300):
        log.append(row(n, attempt=1))
    log.close()
    log = RunLog(storage, images_seen=200)
    assert seen(storage) == [100, 200]
    log.append(row(300, attempt=2))
    log.close()
    rows = decode(storage.read_bytes("metrics.jsonl") or b"")
    assert [(r["images_seen"], r["attempt"]) for r in rows] == [(100, 1), (200, 1), (300, 2)]


def test_a_torn_line_is_dropped(storage: Storage) -> None:
    whole = encode(row(100)) + encode(row(200))
    for end in range(1, len(encode(row(200)))):
        storage.write_bytes("metrics.jsonl", whole[:-end])
        log = RunLog(storage, images_seen=1000)
        log.append(row(300))
        log.close()
        # Torn by its last byte alone, a line has lost no more than its end.
        assert seen(storage) == ([100, 200, 300] if end == 1 else [100, 300])


def test_a_run_from_the_beginning_starts_an_empty_file(storage: Storage) -> None:
    log = RunLog(storage)
    log.append(row(100))
    log.close()
    RunLog(storage).close()
    assert storage.read_bytes("metrics.jsonl") == b""


def test_an_attempt_that_was_replaced_adds_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    old = RunLog(storage)
    old.append(row(100))
    old.append(row(200))
    new = RunLog(storage, images_seen=100)
    old.append(row(300))
    new.append(row(200))
    for log in (old, new):
        log.close()
    assert seen(storage) == [100, 200]


def test_rows_of_damaged_files_are_skipped() -> None:
    assert decode(b'{"images_seen": 1}\n\xff\xfe\n[]\n{"loss/D": 1}\n{"images_seen": null}\n{"images_seen": 2}\n') == [
        {"images_seen": 1},
        {"images_seen": 2},
    ]
