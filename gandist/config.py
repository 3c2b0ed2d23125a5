"""The configuration of a run: YAML and `section.key=value` overrides in, a validated frozen tree out.

A field's docstring is its help text and its description in the JSON schema. Every class forbids unknown keys.
"""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gandist.adversarial import OBJECTIVES
from gandist.errors import ConfigError
from gandist.networks import NETWORKS
from gandist.schedule import Schedule, peak

DEMO = "demo"

MAY_CHANGE = (
    "run.name",
    "run.dir",
    "data.path",
    "data.on_damage",
    "data.cache_dir",
    "data.cache_gib",
    "data.prefetch",
    "data.decode_threads",
    "train.total_kimg",
    "train.tick_kimg",
    "train.sample_kimg",
    "train.checkpoint_kimg",
    "train.keep",
    "train.keep_every_kimg",
    "launch",
    "telemetry",
    "device",
)
"""What may differ between a run and its resumption: none of these changes the noise or the mathematics, nor the
images, but that damaged ones may be let go of. (Data is compared by the fingerprint of its index: shards may move.)"""


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # run.name=1
    )


class RunSection(Section):
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run: its folder inside `run.dir`. The same name goes on with the same run."""
    dir: str = "runs"
    """Where runs are kept: a folder, or `s3://bucket/prefix`. Every worker must be able to reach it."""
    seed: int = Field(0, ge=0)
    """Decides the initial weights, the order of the images, and all noise."""


class DataSection(Section):
    path: str = "builtin:fashion-10k"
    """Folder or URL of indexed shards (`python -m gandist.pack` makes them), or a `builtin:` set."""
    channels: Literal[1, 3] = 3
    """Colour channels the networks see; images are converted to it."""
    flip: bool = False
    """Mirror each image left to right with probability one half, on the device."""
    on_damage: Literal["stop", "skip"] = "stop"
    """A damaged sample stops the run with its shard's name, or is replaced by the next sound one and counted."""
    cache_dir: str | None = None
    """Node-local cache of fetched shards and decoded images (default: `$XDG_CACHE_HOME/gandist`)."""
    cache_gib: float = Field(50.0, gt=0)
    """Upper bound of the cache in GiB. Sets that decode to less than half of it are decoded once."""
    decode_threads: int = Field(2, ge=1)
    """Threads that decode images, per rank."""
    prefetch: int = Field(3, ge=1)
    """Batches kept ready ahead of the step, per rank."""


class ModelSection(Section):
    name: str = "dcgan"
    """The network pair: one of the names in `gandist.networks`."""
    resolution: Literal[32, 64, 128] = 32
    """Height and width of the images in pixels."""
    z_dim: int = Field(100, ge=1)
    """Dimension of the latent z."""
    width: int = Field(64, ge=1)
    """Channels at the highest resolution; each halving of the resolution doubles them."""
    classes: int = Field(0, ge=0)
    """Number of classes the pair is conditioned on; 0 for an unconditional pair."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation inside both networks."""


class GameSection(Section):
    objective: str = "ns"
    """The two players' losses: one of the names in `gandist.adversarial.OBJECTIVES`."""
    n_critic: int = Field(1, ge=1)
    """Updates of D for each update of G; every one takes a fresh global batch."""


class OptimSection(Section):
    lr_G: Schedule = 2e-4
    """Adam's learning rate for G: a number, or `{start, end, over_kimg, shape}`."""
    lr_D: Schedule = 2e-4
    """Adam's learning rate for D: a number, or `{start, end, over_kimg, shape}`."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    """Adam's beta1 and beta2."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW), for both players."""
    ema_half_life_kimg: Schedule = 10.0
    """Half-life, in thousands of images, of the running average of G's weights that samples are drawn from."""


class TrainSection(Section):
    total_kimg: float = Field(1000.0, gt=0)
    """Length of the run in thousands of real images shown to D, over all ranks."""
    batch: int = Field(128, ge=1)
    """Global batch: images of one update of D, over all ranks."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches that each rank's share of a batch is computed in, one after the other."""
    tick_kimg: float = Field(10.0, gt=0)
    """A row of metrics every so many thousand images."""
    sample_kimg: float = Field(50.0, gt=0)
    """A grid of samples every so many thousand images."""
    checkpoint_kimg: float = Field(100.0, gt=0)
    """A checkpoint every so many thousand images, and one at the end."""
    keep: int = Field(4, ge=1)
    """How many of the newest checkpoints are kept."""
    keep_every_kimg: float | None = Field(None, gt=0)
    """Besides the newest, keep for good the first checkpoint of each such stretch of thousand images."""


def _workers(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class LaunchSection(Section):
    kind: Literal["ray", "local"] = "ray"
    """`ray`: workers on the Ray cluster at hand (a local one is started where there is none);
    `local`: this process, or the processes that `torchrun` started."""
    workers: Annotated[int | tuple[int, int], BeforeValidator(_workers)] = 1
    """Number of workers, or `[min, max]` for an elastic run that uses what the cluster has."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Ray resources of each worker; by default one GPU (or one CPU where `device` is `cpu`)."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Ray node labels that workers are bound to, such as `ray.io/accelerator-type: H100`."""
    max_failures: int = Field(3, ge=-1)
    """Restarts after a lost worker before the run gives up; -1 for no limit."""
    threads: int | None = Field(None, ge=1)
    """Compute threads of each worker on CPUs (default: the CPUs that it reserves)."""


class TelemetrySection(Section):
    enabled: bool = True
    """Serve Prometheus metrics from every rank."""
    port: int = Field(0, ge=0, le=65535)
    """Port of the metrics; rank r takes `port + r`. 0: any free port, announced in the run's `prometheus.json`."""
    host: str = "127.0.0.1"
    """Address that the metrics are served on; `0.0.0.0` where Prometheus runs on another machine."""


class RunConfig(Section):
    """Everything a run is decided by."""

    run: RunSection = RunSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    game: GameSection = GameSection()
    optim: OptimSection = OptimSection()
    train: TrainSection = TrainSection()
    launch: LaunchSection = LaunchSection()
    telemetry: TelemetrySection = TelemetrySection()
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "bf16"
    """Arithmetic of the networks: autocast to bf16 or fp16 (with a gradient scaler per player), fp32, or fp64."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU where there is one."""

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        check_choice("game.objective", self.game.objective, OBJECTIVES)
        check_choice("model.name", self.model.name, NETWORKS)
        for path, value in (("optim.lr_G", self.optim.lr_G), ("optim.lr_D", self.optim.lr_D)):
            if peak(value) <= 0:
                raise ConfigError(f"{path}: must be positive somewhere in the run, got {value}")
        low, high = self.worker_range
        if not 1 <= low <= high:
            raise ConfigError(f"launch.workers: need 1 <= min <= max, got [{low}, {high}]")
        if self.launch.kind == "ray":
            usable = [w for w in range(low, high + 1) if self.train.batch % (w * self.train.accumulate) == 0]
            if low not in usable:
                step = low * self.train.accumulate
                nearest = max(step, round(self.train.batch / step) * step)
                raise ConfigError(
                    f"train.batch: {self.train.batch} images do not divide into {low} workers x "
                    f"{self.train.accumulate} micro-batches (train.accumulate); set train.batch={nearest}"
                )
        elif self.train.batch % self.train.accumulate:
            raise ConfigError(
                f"train.batch: {self.train.batch} images do not divide into train.accumulate="
                f"{self.train.accumulate} micro-batches; make one a multiple of the other"
            )
        return self

    @property
    def worker_range(self) -> tuple[int, int]:
        """Smallest and largest number of workers that the run accepts."""
        workers = self.launch.workers
        return (workers, workers) if isinstance(workers, int) else workers

    def resolved(self) -> dict[str, Any]:
        """The whole tree as plain data, as it stands in a run's `config.yaml`."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """sha256 over every field but those of `MAY_CHANGE`: runs that agree in it can go on from each other."""
        kept = {path: value for path, value in leaves(self.resolved()) if not may_change(path)}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def check_choice(path: str, value: str, choices: dict[str, Any]) -> None:
    """Raise ConfigError unless `value` is a key of the registry `choices`."""
    if value not in choices:
        raise ConfigError(
            f"{path}: unknown value {value!r}; one of {', '.join(sorted(choices))}{_hint(value, choices)}"
        )


def may_change(path: str) -> bool:
    return any(path == free or path.startswith(free + ".") for free in MAY_CHANGE)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted path, value) pairs of a nested dict."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Fields outside `MAY_CHANGE` in which two resolved configurations differ: 'path: old -> new'."""
    a, b = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}: {a.get(path)!r} -> {b.get(path)!r}"
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path) and not may_change(path)
    ]


def override(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the dotted `path` of a nested dict, in place; of a repeated path the last value wins."""
    *parents, leaf = path.split(".")
    for depth, key in enumerate(parents):
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: {'.'.join(parents[: depth + 1])} is a value, not a section")
    tree[leaf] = value


def find(name: str) -> Path:
    """The file of a configuration: a path, or the name of a shipped one (`demo`).

    Raises:
        ConfigError: there is no such file; the message lists the shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parent
    # Installed from a wheel the configurations are inside the package, in a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        path = folder / f"{name.removeprefix('configs/').removesuffix('.yaml')}.yaml"
        if path.is_file():
            return path
    shipped = {p.stem for d in (package / "configs", package.parent / "configs") for p in d.glob("*.yaml")}
    raise ConfigError(f"{name}: no such file; shipped configurations: {', '.join(sorted(shipped))}")


def load(name: str = DEMO, overrides: list[str] | None = None) -> RunConfig:
    """Read a configuration file, apply `section.key=value` overrides in their order, and validate.

    Raises:
        ConfigError: with the file, the field and the fix.
    """
    path = find(name)
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold sections (run:, data:, ...), found a {type(tree).__name__}")
    tree = {key: value for key, value in tree.items() if value is not None}  # a section with nothing under it
    for item in overrides or []:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"{item!r}: overrides are written section.key=value")
        try:
            override(tree, key, yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigError(f"{item!r}: the value is not YAML: {error}") from error
    return validate(tree, source=str(path))


def validate(tree: dict[str, Any], source: str = "configuration") -> RunConfig:
    """The validated configuration of a nested dict.

    Raises:
        ConfigError: one line a fault, each with `source`, the field and what it accepts.
    """
    try:
        return RunConfig.model_validate(tree)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except ValidationError as error:
        faults = [fault for fault in error.errors() if _meant(fault)]
        raise ConfigError("\n".join(f"{source}: {_explain(fault)}" for fault in faults)) from None


PLAIN, STRUCTURED = {"int", "constrained-float"}, {"tuple[int, int]", "Ramp"}
"""What pydantic calls the arms of the unions in the tree (`launch.workers`, schedules)."""


def _meant(fault: Any) -> bool:
    """False for a fault of an arm that the value was not meant for: a mapping or a list is no number."""
    arm = fault["loc"][-1]
    return arm not in (PLAIN if isinstance(fault["input"], dict | list | tuple) else STRUCTURED)


def _explain(fault: Any) -> str:
    loc = [str(part) for part in fault["loc"] if part not in PLAIN | STRUCTURED]
    path = ".".join(part for part in loc if part.isidentifier() or part.isdigit())
    if fault["type"] == "extra_forbidden":
        fields = {field.split(".")[-1]: field for field in field_paths()}
        section = _section(loc[:-1])
        nearby = list(section.model_fields) if section else []
        hint = _hint(loc[-1], nearby)
        if not hint and (match := difflib.get_close_matches(loc[-1], fields, n=1)):
            hint = f"; did you mean {fields[match[0]]!r}?"
        return f"{path}: unknown key{hint or '; did you mean one of ' + ', '.join(nearby) + '?'}"
    return f"{path}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"


def _section(parts: list[str]) -> type[BaseModel] | None:
    here: Any = RunConfig
    for part in parts:
        field = getattr(here, "model_fields", {}).get(part)
        if field is None:
            return None
        here = field.annotation
        if isinstance(here, types.UnionType) or typing.get_origin(here) is typing.Union:
            here = next((arm for arm in typing.get_args(here) if hasattr(arm, "model_fields")), None)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _hint(word: str, choices: typing.Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def field_paths(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Dotted paths of all fields."""
    paths: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            paths += field_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
