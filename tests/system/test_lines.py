"""configs/lines.py with the text of Debian's bible-kjv."""

import shutil
from pathlib import Path

import pytest

from gandist.data.index import Index
from gandist.data.index_files import read_index
from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python
from tests.helpers.texts import contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bible") is None:
        pytest.skip("Debian's bible-kjv is not installed: make debian")
    made = tmp_path_factory.mktemp("lines") / "lines"
    done = python(str(ROOT / "configs/lines.py"), str(made), "--n", "2000", COLUMNS="40")
    assert done.returncode == 0, done.stderr
    assert f"{made}/train: 2,000 lines of " in done.stdout
    assert f"{made}/test: 5,000 lines of 62 characters" in done.stdout
    return made


def test_lines_are_phrases(folder: Path) -> None:
    """Of 8 to 32 characters up to a sign of punctuation, none twice, others held out, however wide the terminal is."""
    parts: list[Index] = [read_index(str(folder / part)) for part in ("train", "test")]
    training, held_out = map(contents, parts)
    assert sorted(path.name for path in folder.iterdir()) == ["test", "train"]
    assert not {*training} & {*held_out}
    assert (len({*training}), len({*held_out})) == (2000, 5000)
    for line in training + held_out:
        assert 8 <= len(line) <= 32
        assert line[-1] in ",.;:?!"
        assert not set(",.;:?!") & {*line[:-1]}
        assert line == line.strip()
    assert any("the LORD" in line for line in held_out)
