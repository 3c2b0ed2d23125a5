"""A configuration as others may see it: without credentials, and without what concerns one machine alone."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

OF_A_MACHINE = ("run.dir", "data.cache_dir", "telemetry", "track")
"""Fields that say nothing of the model: folders, ports and servers of whoever trained it."""
CODE = ("eval.weights",)
"""Fields that name programs as files, which a foreign configuration must not choose."""
KEPT = {"endpoint_override", "scheme", "region"}
"""Options of an address of storage that are no secret; all others go, for they may sign it."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def shareable(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A resolved configuration to publish, and the fields whose addresses had credentials or signatures, which are
    taken out. `OF_A_MACHINE` is at its defaults; the home folder is written ~."""
    stripped: list[str] = []
    home = str(Path.home())

    def shown(value: str, path: str) -> str:
        if URL.fullmatch(value):
            if (clean := without_secrets(value)) != value:
                stripped.append(path)
            return clean
        inside = value == home or value.startswith(f"{home}/")
        return f"~{value[len(home) :]}" if inside and home != "/" else value

    return _mapped(without(tree, OF_A_MACHINE), shown), stripped


def without(tree: dict[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """A copy of a configuration without these sections and fields, which are then at their defaults."""
    kept = copy.deepcopy(tree)
    for path in paths:
        *parents, leaf = path.split(".")
        section: Any = kept
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(leaf, None)
    return kept


def without_secrets(url: str) -> str:
    """An address without user, password, signature and other options that are not in `KEPT`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://"
    options = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(key, value) for key, value in options if key in KEPT]
    query = parts.query if kept == options else urlencode(kept, safe=":/")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _mapped(value: Any, text: Callable[[str, str], str], path: str = "") -> Any:
    """A copy of nested data, each text replaced by `text(value, path of its keys)`."""
    if isinstance(value, dict):
        return {key: _mapped(each, text, f"{path}.{key}".lstrip(".")) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, text, path) for each in value]
    return text(value, path) if isinstance(value, str) else value
