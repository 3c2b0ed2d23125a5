"""Labels and captions of files in folders: from folder names, from a listing, from text files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from gandist.data.samples import LeftOut, class_number
from gandist.errors import DataError
from gandist.media.formats import Formats


def captions_beside(
    files: Mapping[PurePosixPath, str], images: Sequence[PurePosixPath], left_out: LeftOut, noun: str
) -> dict[PurePosixPath, PurePosixPath]:
    """The `.txt` file of each image (or `noun`) that has one: a.b.txt beside a.b.png, else a.b.png.txt, else a.txt."""
    texts = {name.with_suffix(".txt"): name for name in files if name.suffix.lower() == ".txt"}
    exact = {name: texts[name.with_suffix(".txt")] for name in images if name.with_suffix(".txt") in texts}
    claimed = set(exact.values())
    taken, found = set(claimed), dict(exact)
    for name in images:
        stem = name.name.lstrip(".").partition(".")[0]
        for other in (name.with_name(f"{name.name}.txt"), name.with_name(f"{stem}.txt")):
            if name not in found and other in texts and texts[other] not in claimed:
                found[name] = texts[other]
                taken.add(texts[other])
    left_out.note(f"captions (.txt) lie beside no {noun}", (name for name in texts.values() if name not in taken))
    return found


def by_folder(
    root: str, inside: Sequence[tuple[str, ...]], named: bool, left_out: LeftOut, formats: Formats
) -> tuple[list[str], list[int]]:
    """The names of the classes, and the label of each image, by the first folder."""
    names = sorted({parts[0] for parts in inside if len(parts) > 1})
    stray = ["/".join(parts) for parts in inside if len(parts) == 1]
    if stray and names and not named:
        raise DataError(
            f"{root}: {stray[0]} lies outside the class folders ({', '.join(names[:3])}, ...); put every "
            f"{formats.noun} into one, or none; or pass --labels none for no classes, --labels folders to leave such "
            f"{formats.plural} without one"
        )
    if named and not names:
        raise DataError(f"{root}: holds no class folders; make them, or leave out --labels folders")
    if names:
        left_out.note(f"{formats.plural} lie outside the class folders and have no label", stray)
    below = sorted({parts[1] if len(parts) > 2 else "" for parts in inside})
    if len(names) == 1 and len(below) > 1 and "" not in below and not named:
        raise DataError(
            f"{root}: all {formats.plural} lie in the folder {names[0]!r}, which holds {', '.join(below[:3])}"
            f"{', ...' if len(below) > 3 else ''}; if those are the classes, pack {root}/{names[0]} (unpack a zip "
            "first); else pass --labels folders for one class, or --labels none for no classes"
        )
    number = {name: i for i, name in enumerate(names)}
    return names, [number[parts[0]] if len(parts) > 1 else -1 for parts in inside]


def listed(
    root: str,
    listings: Mapping[PurePosixPath, bytes],
    images: Sequence[PurePosixPath],
    everywhere: set[str],
    left_out: LeftOut,
    formats: Formats,
) -> list[int]:
    """Labels of the images, from listings in StyleGAN's format: `{"labels": [["00000/img00000000.png", 6], ...]}` or
    null."""
    label: dict[str, int] = {}
    rows = 0
    listing_name = next(iter(listings)).name
    for listing, content in listings.items():
        try:
            entries = json.loads(content)["labels"]
            pairs = [
                (str(name), number)
                for name, number in (entries.items() if isinstance(entries, dict) else entries or ())
            ]
            if odd := next((pair for pair in pairs if not isinstance(pair[1], int)), None):
                raise TypeError(f"{odd[0]} has {odd[1]!r}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'{root}: {listing} does not give class numbers as {{"labels": [["a/b.png", 0], ...]}}: {error}; mend '
                "it, or pass --labels folders to have the first subfolders as classes, --labels none for no labels"
            ) from error
        for row, (written, number) in enumerate(pairs):
            name = str(listing.parent / written.replace("\\", "/").lstrip("/"))
            number = class_number(number, f"{root}: {listing}, row {row} ({written})")
            if label.setdefault(name, number) != number:
                raise DataError(
                    f"{root}: {listing}, row {row}: {written} is class {number}, and {label[name]} further up; "
                    "keep one of them"
                )
        rows += len(pairs)
    numbers = [label.get(str(name), -1) for name in images]
    lost = [name for name in label if name not in everywhere]
    if rows and len(lost) == len(label):
        raise DataError(
            f"{root}: none of the {len(label)} names in {', '.join(map(str, listings))} is that of a file: it lists "
            f"{lost[0]}, where there is {images[0]}; mend it, or pass --labels folders or --labels none"
        )
    left_out.note(f"labels in {listing_name} match no {formats.noun}", lost)
    if rows:
        left_out.note(
            f"{formats.plural} have no label in {listing_name}",
            (name for name, number in zip(images, numbers, strict=True) if number < 0),
        )
    return numbers
