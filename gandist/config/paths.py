"""Paths in a configuration."""

from typing import Any

from gandist.config.run import RunConfig
from gandist.gan.perceptual import NETWORKS as FEATURES
from gandist.storage import hub
from gandist.storage.remote import is_remote, local_path


def absolute(config: RunConfig) -> dict[str, Any]:
    """The configuration with absolute paths: Ray's workers start in folders of their own."""
    tree = config.resolved()
    paths = ["data.path", "data.cache_dir", "model.stage_1", "eval.data", "eval.weights", "telemetry.dir"]
    if config.game.perceptual not in FEATURES:
        paths.append("game.perceptual")
    for section, field in (path.split(".") for path in paths):
        path = tree[section][field]
        if path and not path.startswith("builtin:") and not is_remote(path) and not hub.is_address(path):
            tree[section][field] = str(local_path(path, f"{section}.{field}").absolute())
    return tree
