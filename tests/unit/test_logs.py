import io
import logging
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gandist.cli.logs import Terminal, show_messages, terminal
from gandist.run import messages as run_messages
from gandist.run.messages import kept
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")


def test_messages_go_to_the_standard_error_that_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    err, later = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    show_messages()
    monkeypatch.setattr(sys, "stderr", later)
    log.info("once")
    log.debug("not shown")
    assert err.getvalue() == "once\n"
    show_messages(verbose=True, format="%(levelname)s %(message)s")
    log.debug("shown")
    assert later.getvalue() == "DEBUG shown\n"
    assert [type(each) for each in log.handlers] == [Terminal]
    assert terminal() is log.handlers[0]


@pytest.mark.parametrize("local", [True, False], ids=["folder", "object store"])
def test_all_levels_are_kept_with_the_run(local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "run"))
    if not local:
        storage.local = None  # nothing may append: every byte goes through write_bytes
        (tmp_path / "run/logs").mkdir()
    monkeypatch.setattr(run_messages, "UPLOAD_S", 0.0)
    show_messages()
    with suppress(ValueError), kept(storage) as messages:
        log.info("one")
        log.debug("two")
        assert b"two" in (storage.read_bytes(messages.path) or b""), "there before the end"
        raise ValueError
    log.info("after")
    (file,) = (tmp_path / "run/logs").iterdir()
    assert [line.split(" ", 2)[2] for line in file.read_text().splitlines()] == ["INFO one", "DEBUG two"]


def test_a_log_can_be_discarded(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "run"))
    show_messages()
    with kept(storage) as messages:
        log.info("one")
        messages.discard()
    assert storage.files("logs") == []
