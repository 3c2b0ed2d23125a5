"""Small sets of texts, packed."""

from collections.abc import Sequence
from pathlib import Path

from gandist.data.making import making, members, write_shard


def make_texts(folder: Path, texts: Sequence[str], labels: Sequence[int] = ()) -> str:
    """A set of texts in one shard, with classes if there are `labels`; its folder."""
    with making(str(folder)) as made:
        path = made.work / "000000.tar"
        classes = labels or [-1] * len(texts)
        samples = enumerate(zip(texts, classes, strict=True))
        write_shard(path, ((f"{i:06d}", members(text.encode(), "txt", label, None)) for i, (text, label) in samples))
        names = [f"class {label}" for label in range(max(classes) + 1)]
        symbols = "".join(sorted({*"".join(texts)}))
        made.finish([path], class_names=names, workers=1, extensions=("txt",), symbols=symbols)
    return str(folder)
