"""The notebook of the first run does what it says."""

import re
from pathlib import Path

import pytest

from tests.helpers.checkout_copy import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

NOTEBOOK = ROOT / "docs/first-run.ipynb"


def test_its_outputs_are_small_and_name_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 250_000
    assert not re.search(r'"[^"]*(?<![\w.])/(?:home|root|tmp|work|usr)/', text)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:  # a third of the images
        cell.source = cell.source.replace("total_kimg=12", "total_kimg=4").replace("total_kimg=14", "total_kimg=6")
        cell.source = cell.source.replace("sample_kimg=4", "sample_kimg=2").replace(
            "checkpoint_kimg=4", "checkpoint_kimg=2"
        )
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "resume run=first images_seen=4032" in said
    assert said.count("done run=first") == 2
    pictures = [
        kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())
    ]
    assert pictures.count("image/png") == 3
    assert pictures.count("image/svg+xml") == 1
    assert len(list((tmp_path / "runs/first/checkpoints").iterdir())) >= 3
    assert (tmp_path / "runs/first/report.html").stat().st_size > 100_000
