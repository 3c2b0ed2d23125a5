"""The holes that a masked run fills: `--mask`."""

from pathlib import Path

import numpy as np

from gandist.apply.inputs import Input
from gandist.apply.pictures import Picture, read_picture
from gandist.errors import ConfigError, DataError

WHITE, AUTO = "white", "auto"
HALF = 128
"""A mask of 8 bits is a hole from here on."""


class Holes:
    """Finds the hole of each picture."""

    def __init__(self, mask: str) -> None:
        """`mask`: a file, a folder, `WHITE` or `AUTO`.

        Raises:
            ConfigError: there is no such file or folder, or two files of the folder have one name.
        """
        self.mask, self.files = mask, dict[Path, Path]()
        if mask in (WHITE, AUTO):
            return
        if not Path(mask).exists():
            raise ConfigError(f"--mask {mask}: there is no such file or folder; give one, or {WHITE} or {AUTO}")
        if Path(mask).is_dir():
            for file in sorted(path for path in Path(mask).rglob("*") if path.is_file()):
                name = file.relative_to(mask).with_suffix("")
                if name in self.files:
                    raise ConfigError(f"--mask {mask}: {self.files[name]} and {file} are masks of one name; remove one")
                self.files[name] = file

    def of(self, source: Input, picture: Picture) -> np.ndarray:
        """(H, W) bool: True in the hole.

        Raises:
            DataError: there is no sound mask of the picture's size.
        """
        if self.mask == WHITE:
            white: np.ndarray = (picture.pixels == 255).all(axis=2)
            return white
        height, width = picture.pixels.shape[:2]
        if self.mask == AUTO:
            return np.zeros((height, width), bool) if picture.alpha is None else picture.alpha < 255
        file = Path(self.mask)
        if file.is_dir():
            found = self.files.get(source.name) or self.files.get(Path(source.name.name))
            if found is None:
                raise DataError(f"{source.path}: has no mask: {file / source.name}.png is missing")
            file = found
        mask = read_picture(file, 1).pixels[:, :, 0]
        if mask.shape != (height, width):
            raise DataError(
                f"{source.path}: is {width}x{height}, and its mask {file} {mask.shape[1]}x{mask.shape[0]}; resize "
                "one of them"
            )
        return mask >= HALF
