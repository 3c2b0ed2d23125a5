"""Real images that come with the package, packed into the cache at first use."""

import hashlib
import shutil
from pathlib import Path

from filelock import FileLock

from gandist.errors import DataError
from gandist.pack import pack
from gandist.shards.index import FORMAT_VERSION, SHARDS_FILE

DATA = Path(__file__).parent.parent / "data"
CLASS_NAMES = {
    "fashion-10k": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def builtin(name: str, cache_dir: Path) -> str:
    """Folder with the indexed shards of an embedded set: packed at first use, seconds on two cores.

    Sets: `fashion-10k`, the 10,000 test images of Fashion-MNIST (28x28, grey, 10 classes; Xiao et al. 2017).

    Args:
        name: the set's name, with or without `builtin:` before it.

    Raises:
        DataError: there is no such set (the message names those there are), or its files are damaged.
    """
    name = name.removeprefix("builtin:")
    if name not in CLASS_NAMES:
        raise DataError(f"data.path: no embedded set {name!r}; there are: {', '.join(CLASS_NAMES)}")
    source = DATA / name
    sums = (source / "SHA256SUMS").read_text()
    version = hashlib.sha256(f"{FORMAT_VERSION}\n{sums}".encode()).hexdigest()[:12]
    folder = cache_dir / "builtin" / f"{name}-{version}"
    if (folder / SHARDS_FILE).exists():
        return str(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / SHARDS_FILE).exists():
            for line in sums.splitlines():
                sha256, file = line.split()
                if hashlib.sha256((source / file).read_bytes()).hexdigest() != sha256:
                    raise DataError(f"{source / file}: damaged, its sha256 is not {sha256}; reinstall gandist")
            temporary = folder.with_suffix(".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            pack(str(source), str(temporary), class_names=CLASS_NAMES[name])
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    return str(folder)
