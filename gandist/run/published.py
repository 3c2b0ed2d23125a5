"""A published model: a folder with G's running average and D of a checkpoint, to draw from and to begin runs with.

`G_ema.safetensors`, `D.safetensors`, `config.yaml` (without credentials), `imports/` (the author's own Python files, if
the run has any) and `manifest.json`, with the sha256 of all of these. A card and samples may lie beside them. Nothing
is unpickled. Optimisers are not published: no run goes on from it as it would have, but one can begin with the players.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from gandist import __version__
from gandist.config import extensions
from gandist.config.run import RunConfig, parse, validate
from gandist.config.sections import one_or_more
from gandist.config.shared import CODE, OF_A_MACHINE, shareable, without
from gandist.errors import CheckpointError, ConfigError
from gandist.run.checkpoint import Checkpoint
from gandist.storage.storage import Storage

FORMAT, FORMAT_VERSION = "gandist model", 1
MANIFEST, CONFIG = "manifest.json", "config.yaml"
TO_DRAW = (MANIFEST, CONFIG, f"{extensions.FOLDER}/*.py", "G_ema.safetensors")
"""Files that drawing needs, as patterns."""
TO_BEGIN = (*TO_DRAW, "D.safetensors")
"""Files that a run needs which begins with the players."""
TRUST = "run the Python files that a published model brings with it (imports); read them first"
"""Help of the option --trust."""


@dataclass(frozen=True)
class Published:
    """A published model in memory, its files compared with their sha256."""

    said: str
    """Its folder or address, as the user wrote it."""
    folder: str
    """Where its files are."""
    manifest: dict[str, Any]
    files: dict[str, bytes]
    tree: dict[str, Any]
    """Its configuration as it was published; not validated, for that would run its imports."""

    @property
    def images_seen(self) -> int:
        return int(self.manifest["images_seen"])

    @property
    def encoder(self) -> str:
        """Id of the text encoder of its training captions; empty if it has none."""
        return str(self.manifest.get("encoder") or "")

    def tensors(self, player: str) -> dict[str, Tensor]:
        """The tensors of `G_ema` or `D`, by name."""
        try:
            return load_tensors(self.files[f"{player}.safetensors"])
        except SafetensorError as error:
            raise CheckpointError(f"{self.said}: {player}.safetensors: is no safetensors file: {error}") from error

    def check_images_seen(self, wanted: int | str | None) -> None:
        """Refuse another checkpoint than the one that was published.

        Raises:
            CheckpointError: `wanted` is another number, or `best`.
        """
        if wanted is not None and wanted != self.images_seen:
            raise CheckpointError(f"{self.said}: holds one checkpoint, of {self.images_seen} images, not {wanted}")

    def config(self, trust: bool) -> RunConfig:
        """Its configuration, validated, with folders, ports and servers of this machine. Its imports run if `trust`.

        Raises:
            ConfigError: it has imports, and may not run them; or it is not valid.
        """
        imports = [str(path) for path in one_or_more(self.tree.get("imports") or ())]
        if imports and not trust:
            raise ConfigError(
                f"{self.said}: {CONFIG}: imports: {', '.join(imports)}: Python files of this model, which would run "
                f"here with all of your rights; read them in {self.folder}/{extensions.FOLDER}, then give --trust"
            )
        for path in imports:
            text = self.files.get(f"{extensions.FOLDER}/{Path(path).name}")
            if text is None:
                raise CheckpointError(f"{self.said}: {CONFIG}: imports: {path}: is not in the model's {MANIFEST}")
            extensions.run({path: text.decode()})
        return validate(without(self.tree, (*OF_A_MACHINE, *CODE)), f"{self.said}: {CONFIG}")


def is_published(storage: Storage) -> bool:
    """Whether a folder is a published model, not a run."""
    return storage.exists(MANIFEST)


def read(storage: Storage, said: str, players: Sequence[str] = ("G_ema",)) -> Published:
    """Read a published model with these players, and compare its files with their sha256.

    Raises:
        CheckpointError: the manifest is none, or a file is missing or damaged; names it.
        ConfigError: its configuration holds no sections.
    """
    where = f"{said}: {MANIFEST}"
    try:
        manifest = json.loads(storage.read_bytes(MANIFEST) or b"null")
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise CheckpointError(f"{where}: is none of a gandist model's; publish the run again")
        if manifest["format_version"] != FORMAT_VERSION:
            raise CheckpointError(f"{where}: format_version {manifest['format_version']}; this gandist reads 1")
        expected: dict[str, str] = dict(manifest["files"])
        int(manifest["images_seen"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{where}: damaged: {error!r}; publish the run again") from error
    wanted = [CONFIG, *(f"{player}.safetensors" for player in players)]
    wanted += [name for name in expected if name.startswith(f"{extensions.FOLDER}/")]
    files: dict[str, bytes] = {}
    for name in wanted:
        data = storage.read_bytes(name)
        found = None if data is None else hashlib.sha256(data).hexdigest()
        if data is None or found != expected.get(name):
            raise CheckpointError(
                f"{said}: damaged: sha256 of {name} is {found or 'missing'}, not {expected.get(name)}; "
                f"delete {storage.uri(name)} and fetch it again, or publish the run again"
            )
        files[name] = data
    return Published(said, storage.root, manifest, files, parse(files[CONFIG], f"{said}: {CONFIG}"))


def files_of(
    storage: Storage, config: RunConfig, found: Checkpoint, beside: Mapping[str, str]
) -> tuple[dict[str, bytes], list[str]]:
    """The files of a published model, by name, and the fields of the configuration that lose their credentials.

    Args:
        storage: of the run.
        beside: further facts for the manifest.

    Raises:
        CheckpointError: a file that the run imports is missing.
    """
    tree, stripped = shareable(config.resolved())
    tree["imports"] = [f"{extensions.FOLDER}/{Path(path).name}" for path in config.imports]
    files = {f"{player}.safetensors": found.files[f"{player}.safetensors"] for player in ("G_ema", "D")}
    files[CONFIG] = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()
    for name in tree["imports"]:
        text = storage.read_bytes(name)
        if text is None:
            raise CheckpointError(f"{storage.uri(name)}: is missing: the run imports it")
        files[name] = text
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "images_seen": found.images_seen,
        "seed": config.run.seed,
        "gandist_version": __version__,
        "torch_version": found.manifest.get("torch_version", ""),
        "encoder": found.manifest.get("encoder") or "",
        "data_fingerprint": found.manifest.get("data_fingerprint", ""),
        **beside,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    return files, stripped
