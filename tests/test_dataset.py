"""The set a configuration names, checked against it."""

from pathlib import Path

import pytest

from gandist.config import validate
from gandist.dataset import open_index
from gandist.errors import DataError
from tests.sets import far_labels, make_set


def test_classes_that_disagree_say_what_far_labels_cost(tmp_path: Path) -> None:
    index = make_set(tmp_path, 10)
    tree = {"data": {"path": index.base}, "model": {"classes": 3}, "train": {"batch": 8}}
    with pytest.raises(DataError, match=r"make 2 classes, .* set model\.classes=2$"):
        open_index(validate(tree))
    far_labels(index)
    with pytest.raises(DataError, match=r"set model\.classes=1000002, .* the 1000000 classes without images.* 0 to 1$"):
        open_index(validate(tree))
