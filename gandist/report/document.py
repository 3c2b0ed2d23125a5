"""A self-contained page: a filled template, with its styles and its script inside.

The template escapes every text.
"""

import base64
import functools
import hashlib
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gandist import __version__
from gandist.cli.text import number
from gandist.media.medium import Preview

SHARED = Path(__file__).parent
"""Folder of `frame.html`, the base of all pages, of `players.html` and `clips.html`, and of their common style."""


def document(folder: Path, **shown: Any) -> str:
    """Fill `page.html` of a folder, which has `page.js` and may have `page.css` besides the common style.

    A policy in the page forbids the browser to run or load anything else.
    """
    styles = dict.fromkeys(path for path in (SHARED / "page.css", folder / "page.css") if path.exists())
    style = "".join(path.read_text() for path in styles)
    script = "".join(path.read_text() for path in (folder / "page.js", SHARED / "clips.js"))
    return (
        _environment(folder)
        .get_template("page.html")
        .render(
            **shown,
            style=style,
            script=script,
            policy=f"default-src 'none'; img-src data:; media-src data:; style-src {_digest(style)}; "
            f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'",
            made=f"gandist {__version__}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
        )
    )


@functools.cache
def _environment(folder: Path) -> Environment:
    """It keeps compiled templates, so that a process compiles each once."""
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "png_uri": _png_uri, "wav_uri": _wav_uri, "number": number}
    return environment


def duration(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {s:02} s"


def _data_uri(preview: Preview) -> str:
    return f"data:{preview.mime};base64,{base64.b64encode(preview.content).decode()}"


def _png_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _wav_uri(sound: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"


def _digest(source: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
