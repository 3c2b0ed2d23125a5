"""Emoji with their names as captions: 7,572 images of 64x64, from two npm packages, in two drawing styles.

    npm install --prefix data/emoji emoji-datasource-twitter@16.0.0 emoji-datasource-google@16.0.0
    python configs/emoji.py data/emoji/node_modules data/emoji/images
    python -m gandist.pack data/emoji/images data/emoji/shards --captions --size 64 --channels 3

With --pairs, 3,781 true pairs instead: twitter/ and google/ hold the same emoji under equal names, below train/
or, for a tenth of the emoji with all their skin tones, below test/.

    python configs/emoji.py data/emoji/node_modules data/emoji/pairs --pairs

Twitter's graphics (Twemoji) are CC-BY 4.0, Google's (Noto Emoji) Apache-2.0. Takes half a minute.
"""

import argparse
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

VENDORS = ("twitter", "google")
TESTED = 10
"""One emoji in this many is held out."""
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
IDEOGRAPHS = {
    "7121": "free of charge",
    "6307": "reserved",
    "7981": "prohibited",
    "7a7a": "vacancy",
    "5408": "passing grade",
    "6e80": "no vacancy",
    "6709": "not free of charge",
    "6708": "monthly amount",
    "7533": "application",
    "5272": "discount",
    "55b6": "open for business",
}
# Unicode calls what is filled black, what is outlined white, and what is bold heavy, whatever its colour.
ENGLISH = (
    (r"^heavy black heart$", "red heart"),
    (r"\bheavy ", ""),
    (r"\bblack (?=(heart|diamond) suit|joker|telephone|sun|universal|scissors|nib|star|question)", ""),
    (r"\bblack (?=(right|left|up|down)(-pointing|wards)|arrow)", ""),
    (r"^white (?=smiling|medium star)", ""),
    (r"^white (up|down|left|right) pointing (backhand )?index$", r"\2index finger pointing \1"),
    (r"\b(hand|hands|thumbs up|thumbs down) sign$", r"\1"),
    (r" ornament$|(?<=moon) symbol$|(?<=exclamation mark) symbol$", ""),
    (r"latin capital letter\b", "letter"),
    *((f"cjk unified ideograph-{code}", f"japanese {meaning}") for code, meaning in IDEOGRAPHS.items()),
    (r"^(negative )?squared (.+)", r"\2 button"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("node_modules", type=Path, metavar="NODE_MODULES")
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder of .png and .txt files")
    parser.add_argument("--pairs", action="store_true", help="folders of pairs, without captions")
    options = parser.parse_args()
    if missing := [name for name in map(package, VENDORS) if not (options.node_modules / name).is_dir()]:
        parser.error(f"{options.node_modules}: lacks {', '.join(missing)}; npm install them, as --help says")
    options.dest.mkdir(parents=True, exist_ok=True)
    if options.pairs:
        pairs(options.node_modules, options.dest)
        return
    for vendor in VENDORS:
        folder = options.node_modules / package(vendor)
        for entry in json.loads((folder / "emoji.json").read_text()):
            for file, caption in drawings(entry, vendor):
                to = options.dest / f"{vendor}-{file}"
                on_white(folder / "img" / vendor / "64" / file).save(to)
                to.with_suffix(".txt").write_text(f"{caption}\n")


def pairs(node_modules: Path, dest: Path) -> None:
    """What both vendors drew, split by emoji: a skin tone of a training emoji would be no test."""
    found = {}
    for vendor in VENDORS:
        entries = json.loads((node_modules / package(vendor) / "emoji.json").read_text())
        entries = [entry for entry in entries if entry["category"] != "Component"]  # too few to be held out
        found[vendor] = {file: entry for entry in entries for file, _ in drawings(entry, vendor)}
    for file in found["twitter"].keys() & found["google"].keys():
        entry = found["google"][file]
        held_out = zlib.crc32(entry["unified"].encode()) % TESTED == 0
        for vendor in VENDORS:
            to = dest / ("test" if held_out else "train") / vendor / entry["category"].partition(" ")[0] / file
            to.parent.mkdir(parents=True, exist_ok=True)
            on_white(node_modules / package(vendor) / "img" / vendor / "64" / file).save(to)


def package(vendor: str) -> str:
    return f"emoji-datasource-{vendor}"


def drawings(entry: dict[str, Any], vendor: str) -> Iterator[tuple[str, str]]:
    """File and caption of the emoji of an entry and of its skin tones, so far as the vendor drew them."""
    name, variations = english(entry), entry.get("skin_variations", {})
    captions = [(entry, name), *((drawing, f"{name}, {tones(key)}") for key, drawing in variations.items())]
    for drawing, caption in captions:
        if drawing[f"has_img_{vendor}"]:
            yield drawing["image"], caption


def english(entry: dict[str, Any]) -> str:
    """The name in lower case and in plain words."""
    if entry["unified"] in TONES:
        return tones(entry["unified"])
    name = re.sub(r"^(.+) Flag$", r"flag: \1", entry["name"]).lower()
    for pattern, replacement in ENGLISH:
        name = re.sub(pattern, replacement, name)
    return name


def tones(codes: str) -> str:
    """ "1F3FB" -> "light skin tone", and so for two people."""
    return " and ".join(dict.fromkeys(TONES[code] for code in codes.split("-"))) + " skin tone"


def on_white(path: Path) -> Image.Image:
    picture = Image.open(path).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


if __name__ == "__main__":
    main()
