"""Sources of pairs, an input and a target each: two sources joined by name, or pictures side by side cut in two."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gandist.data.samples import Broken, LeftOut, Sample, Source
from gandist.errors import DataError
from gandist.media.clip import Frames
from gandist.media.formats import FORMATS
from gandist.media.picture import upright

Half = Literal["left", "right"]


def joined(inputs: Source, targets: Source, said: Sequence[str]) -> Source:
    """Pairs of the samples with equal keys, in the order of the targets. Label and caption are the target's, or else
    the input's.

    Images without a partner are noted in `targets.left_out`; keys that occur twice in a source count as broken.

    Args:
        said: what messages call the two sources.

    Raises:
        DataError: a source's samples have no names, or are pairs already; or nothing has a partner.
    """
    if inputs.medium != targets.medium:
        held = " and ".join(FORMATS[each.medium].plural for each in (inputs, targets))
        raise DataError(f"{said[0]} and {said[1]}: hold {held}, which make no pairs")
    given, wanted = (
        _by_key(source, name, targets.left_out) for source, name in zip((inputs, targets), said, strict=True)
    )
    keys = [key for key in wanted if key in given]
    if not keys:
        raise DataError(
            f"{said[0]} and {said[1]}: no image has a partner of its name in the other; a pair's names are the same "
            f"below the two folders, without the extension ({next(iter(given), '')}, {next(iter(wanted), '')})"
        )
    for lacks, source, numbers, others in (("target", inputs, given, wanted), ("input", targets, wanted, given)):
        alone = [source.name(i) for key, i in numbers.items() if key not in others]
        targets.left_out.note(f"images have no {lacks} of the same name and are not taken", alone)

    def read(i: int) -> Sample:
        target, source = targets.read(wanted[keys[i]]), inputs.read(given[keys[i]])
        label = source.label if target.label < 0 else target.label
        if isinstance(source.image, Frames):
            raise ValueError("is a clip; --pairs is for images")
        return Sample(target.image, label, source.caption if target.caption is None else target.caption, source.image)

    def name(i: int) -> str:
        return f"{inputs.name(given[keys[i]])} and {targets.name(wanted[keys[i]])}"

    class_names = targets.class_names or inputs.class_names
    return Source(len(keys), read, name, class_names, targets.left_out, keys.__getitem__, True, targets.medium)


def _by_key(source: Source, said: str, left_out: LeftOut) -> dict[str, int]:
    """The sample of each key that occurs once."""
    if source.paired:
        raise DataError(f"{said}: holds pairs already; pack it without --pairs")
    if source.key is None:
        raise DataError(f"{said}: its images have no names to find partners by; --pairs takes folders, zips and tars")
    found: dict[str, list[int]] = {}
    for i in range(source.n):
        found.setdefault(source.key(i), []).append(i)
    for numbers in found.values():
        if len(numbers) > 1:
            names = [source.name(i) for i in numbers]
            left_out.broken.append(Broken(names[0], f"has the name of {', '.join(names[1:])}; rename all but one"))
    return {key: numbers[0] for key, numbers in found.items() if len(numbers) == 1}


def halved(source: Source, side: Half, said: str) -> Source:
    """Pairs from pictures that show both side by side, as the sets of pix2pix have them (Isola et al. 2017).

    Args:
        side: the half that is the input.
        said: what messages call the source.

    Raises:
        DataError: its samples are pairs already.
    """
    if source.paired:
        raise DataError(f"{said}: holds pairs already; pack it without --pairs-halves")

    def read(i: int) -> Sample:
        sample = source.read(i)
        if isinstance(sample.image, Frames):
            raise ValueError("is a clip; --pairs-halves is for images")
        left, right = _cut(np.asarray(upright(sample.image)))
        source_half, target = (left, right) if side == "left" else (right, left)
        return sample._replace(image=target, input=source_half)

    return Source(source.n, read, source.name, source.class_names, source.left_out, source.key, True, source.medium)


def _cut(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = pixels.shape[1]
    if width % 2:
        raise ValueError(f"is {width} pixels wide, which cannot be halved; cut it to an even width")
    return pixels[:, : width // 2], pixels[:, width // 2 :]
