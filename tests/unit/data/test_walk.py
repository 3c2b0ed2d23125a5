import os
import subprocess
import sys
from pathlib import Path

import pytest

from gandist.data.trees import folder
from gandist.data.walk import files_below
from gandist.errors import DataError
from tests.unit.test_pack import make_folder


def test_a_link_that_loops_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folder(tmp_path / "in")
    before = sorted(files_below(root))
    first = next(path for path in root.iterdir() if path.is_dir())
    (first / "all").symlink_to("..")
    assert sorted(files_below(root)) == before
    assert f"{first / 'all'}: is a link to a folder that it lies in" in caplog.text
    assert folder(root).n == sum(path.suffix == ".png" for path in before)


def test_links_to_other_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").touch()
    for name in ("b", "c"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "elsewhere")
    assert sorted(files_below(tmp_path / "in")) == [tmp_path / "in/b/a.png", tmp_path / "in/c/a.png"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dogs").mkdir(mode=0)
    if os.geteuid() == 0:  # root reads everything, so another user looks
        code = (
            "import os, sys; from pathlib import Path\n"
            "from gandist.errors import DataError; from gandist.data.walk import files_below\n"
            "os.setuid(65534)\n"
            "try: list(files_below(Path(sys.argv[1])))\n"
            "except DataError as error: print(error)\n"
        )
        for path in (tmp_path, *tmp_path.parents):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)
        said = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
    else:
        with pytest.raises(DataError) as caught:
            list(files_below(tmp_path))
        said = str(caught.value)
    assert said.strip() == f"{tmp_path / 'dogs'}: cannot be read: Permission denied; make it readable, or move it away"
