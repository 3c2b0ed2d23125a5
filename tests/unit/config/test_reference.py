"""The configuration reference is made from the code, and current."""

import re

from gandist.config.reference import reference
from gandist.config.run import field_paths
from tests.helpers.checkout_copy import ROOT


def test_is_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference(), "run `make docs`"


def test_has_every_key() -> None:
    listed = re.findall(r"^\| `([\w.]+)`", reference(), re.MULTILINE)
    assert set(field_paths()) <= set(listed)
    assert listed.count("train.total_kimg") == 1


def test_marks_what_may_change() -> None:
    lines = {line.split("|")[1].strip() for line in reference().splitlines() if line.startswith("| `")}
    assert {"`train.total_kimg` ○", "`launch.workers` ○", "`device` ○", "`train.batch`", "`precision`"} <= lines
