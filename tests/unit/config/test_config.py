"""The configuration: strict, helpful, and the same wherever it is read."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gandist.config.run import (
    MAY_CHANGE,
    RunConfig,
    differences,
    field_paths,
    find,
    load,
    may_change,
    override,
    validate,
)
from gandist.config.schedule import Ramp, value_at
from gandist.config.sections import Penalty, Section, Tree
from gandist.errors import ConfigError

ROOT = Path(__file__).parents[3]


def classes_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model class inside an annotation, and inside those."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from classes_of(field.annotation)
    for part in typing.get_args(annotation):
        yield from classes_of(part)


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def complaint(tree: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(tree, source="mine.yaml")
    return str(caught.value)


def test_the_walk_reaches_every_class() -> None:
    found = set(classes_of(RunConfig))
    sections = {each for each in Section.__subclasses__() if each.__module__ == "gandist.config.sections"} - {Tree}
    assert {*sections, RunConfig, Ramp} == found


@pytest.mark.parametrize("section", sorted(set(classes_of(RunConfig)), key=str))
def test_every_class_is_strict_and_described(section: type[BaseModel]) -> None:
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"] is True
    if section is not RunConfig:
        fields = section.model_json_schema()["properties"]
        assert [name for name in section.model_fields if not fields[name].get("description")] == []


def test_every_leaf_is_described() -> None:
    described = RunConfig.model_json_schema()["$defs"]
    for path in field_paths():
        section, _, name = path.rpartition(".")
        if section:
            schema = described[f"{section.capitalize()}Section"]["properties"][name]
        else:
            schema = RunConfig.model_json_schema()["properties"][name]
        assert schema["description"], path


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"train": {"bach": 8}}, ["train.bach", "unknown key", "did you mean 'batch'"]),
        ({"trian": {"batch": 8}}, ["trian", "did you mean 'train'"]),
        ({"batch": 8}, ["batch", "did you mean 'train.batch'"]),
        ({"train": {"lr_G": 8}}, ["train.lr_G", "did you mean 'optim.lr_G'"]),
        ({"game": {"zzz": 8}}, ["game.zzz", "did you mean one of objective, n_critic"]),
        ({"train": {"batch-size": 8}}, ["train.batch-size: unknown key", "did you mean 'batch'"]),
        ({"train": {"int": 8}}, ["train.int: unknown key"]),
        ({"b a t c h": 8}, ["b a t c h: unknown key"]),
        ({"": 8}, ["'': unknown key"]),
        ({"run": {"é.1": 2}}, ["run.é.1: unknown key; did you mean one of name, dir, seed"]),
        (
            {"game": {"penalties": {"r-1.": {"weigt": 8}}}},
            ["game.penalties.r-1..weigt: unknown", "did you mean 'weight'"],
        ),
        ({"launch": {"labels": {"ray.io/type": [1]}}}, ["launch.labels.ray.io/type: ", "got [1]"]),
        ({"launch": {"resources": {"my gpu": "x"}}}, ["launch.resources.my gpu: ", "got 'x'"]),
        ({"game": {"objective": "nss"}}, ["game.objective", "'nss'", "did you mean 'ns'", "minimax"]),
        ({"model": {"name": "dcgann"}}, ["model.name", "did you mean 'dcgan'"]),
        ({"model": {"resolution": 48}}, ["model.resolution", "32, 64, 128 or 256", "got 48"]),
        ({"train": {"batch": "many"}}, ["train.batch", "integer", "got 'many'"]),
        ({"train": {"batch": 0}}, ["train.batch", "greater than or equal to 1"]),
        ({"train": {"batch": None}}, ["train.batch", "integer", "got None"]),
        ({"train": {"total_kimg": float("nan")}}, ["train.total_kimg", "finite"]),
        ({"train": 8}, ["train", "got 8"]),
        ({"run": {"name": "../up"}}, ["run.name", "got '../up'"]),
        ({"run": {"name": ".hidden"}}, ["run.name"]),
        ({"optim": {"lr_G": 0}}, ["optim.lr_G", "positive"]),
        ({"optim": {"lr_G": -1}}, ["optim.lr_G", "greater than or equal to 0"]),
        ({"optim": {"lr_D": {"start": 0, "end": 0, "over_kimg": 1}}}, ["optim.lr_D", "positive"]),
        ({"optim": {"betas": [0.5, 1.0]}}, ["optim.betas", "beta2 must stay below 1"]),
        ({"launch": {"workers": 0}}, ["launch.workers", "1 <= min <= max"]),
        ({"optim": {"lr_G": "fast"}}, ["optim.lr_G", "number", "got 'fast'"]),
        ({"launch": {"workers": "many"}}, ["launch.workers", "integer", "got 'many'"]),
        ({"launch": {"workers": [1, 2, 3]}}, ["launch.workers", "at most 2"]),
        ({"launch": {"workers": [3, 2]}}, ["launch.workers", "got [3, 2]"]),
        ({"precision": "tf32"}, ["precision", "'bf16'"]),
    ],
)
def test_a_fault_is_one_line_that_names_file_field_and_fix(tree: dict[str, Any], words: list[str]) -> None:
    message = complaint(tree)
    assert message.count("\n") == 0
    for word in ["mine.yaml: ", *words]:
        assert word in message


def test_a_fault_inside_a_schedule_is_one_line_about_that_field() -> None:
    message = complaint({"optim": {"lr_G": {"strat": 1e-3, "end": -1, "over_kimg": 10}}})
    assert "optim.lr_G.strat: unknown key; did you mean 'start'" in message
    assert "optim.lr_G.start: field required" in message
    assert "optim.lr_G.end: input should be greater" in message
    assert message.count("\n") == 2


def test_all_faults_are_told_at_once() -> None:
    assert complaint({"train": {"batch": 0, "keep": 0}, "device": "tpu"}).count("\n") == 2


@pytest.mark.parametrize(
    ("batch", "workers", "accumulate"), [(10, 3, 1), (10, 4, 1), (128, 3, 5), (1, 7, 2), (12, [5, 6], 1)]
)
def test_a_batch_that_does_not_divide_is_told_with_one_that_does(batch: int, workers: Any, accumulate: int) -> None:
    def tree(batch: int) -> dict[str, Any]:
        return {"train": {"batch": batch, "accumulate": accumulate}, "launch": {"workers": workers}}

    message = complaint(tree(batch))
    assert "train.batch" in message
    assert "workers" in message
    assert "train.accumulate" in message
    fix = int(message.rpartition("set train.batch=")[2])
    assert validate(tree(fix)).train.batch == fix


def test_alone_only_accumulation_must_divide() -> None:
    launch = {"kind": "local", "workers": 3}
    assert validate({"train": {"batch": 10}, "launch": launch}).train.batch == 10
    assert "train.accumulate=4" in complaint({"train": {"batch": 10, "accumulate": 4}, "launch": launch})


def test_an_elastic_range_may_hold_sizes_that_do_not_divide() -> None:
    assert validate({"train": {"batch": 8}, "launch": {"workers": [2, 5]}}).worker_range == (2, 5)


@pytest.mark.parametrize("text", ["2e-4", '"2e-4"', "2.0e-4", "0.0002"])
def test_numbers_as_people_write_them(tmp_path: Path, text: str) -> None:
    config = load(str(write(tmp_path, f"optim: {{lr_G: {text}}}")), [f"optim.lr_D={text}", f"train.tick_kimg={text}"])
    assert config.optim.lr_G == config.optim.lr_D == config.train.tick_kimg == 2e-4


def test_a_schedule_as_a_mapping() -> None:
    config = load("demo", ["optim.lr_G={start: 1e-3, end: 0, over_kimg: 2, shape: linear}"])
    assert value_at(config.optim.lr_G, 1000) == pytest.approx(5e-4)


def test_overrides_follow_the_file_and_the_last_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "run: {seed: 1}\nlaunch: {kind: local}")
    config = load(str(file), ["run.seed=2", "train.batch=4", "run.seed=3", "data.flip=true", "data.path=a=b"])
    assert (config.run.seed, config.train.batch, config.data.flip, config.data.path) == (3, 4, True, "a=b")
    assert load(str(file), ["launch.workers=[1, 4]", "launch.labels={a: b}"]).worker_range == (1, 4)


def test_override_serves_nested_dicts() -> None:
    tree: dict[str, Any] = {"a": {"b": 1}}
    override(tree, "a.c.d", 2)
    override(tree, "e", 3)
    assert tree == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("train.batch", ["'train.batch'", "section.key=value"]),
        ("=4", ["section.key=value"]),
        ("train.batch=[4", ["'train.batch=[4'", "not YAML"]),
        ("data.path.folder=x", ["data.path.folder", "data.path is a value, not a section"]),
        ("train=4", ["train", "got 4"]),
        ("train.batch=", ["train.batch", "got None"]),
        ("optim.lrG=1", ["optim.lrG", "did you mean 'lr_G'"]),
    ],
)
def test_overrides_that_cannot_be(item: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load("demo", ["data.path=somewhere", item])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"run: [", ["not readable as YAML"]), (b"\xff\xfe\x00", ["not readable"]), (b"- run", ["sections", "a list"])],
)
def test_files_that_cannot_be(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "mine.yaml"))
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.yaml"), str(tmp_path), "demmo"):
        with pytest.raises(ConfigError, match=r"no such file; shipped configurations: .*demo"):
            load(name)


def test_an_empty_file_holds_the_defaults(tmp_path: Path) -> None:
    assert load(str(write(tmp_path, "# nothing\n"))) == RunConfig()


def test_shipped_ones_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load() == load("demo") == load("configs/demo.yaml") == load(str(ROOT / "configs/demo.yaml"))
    assert find("demo").is_file()


@pytest.mark.parametrize(
    "file",
    [f for f in sorted((ROOT / "configs").glob("*.yaml")) if not f.stem.startswith(("compare-", "sweep-"))],
    ids=lambda file: file.stem,
)
def test_shipped_configurations_load(file: Path) -> None:
    config = load(str(file))
    assert config.run.name == file.stem


@pytest.mark.parametrize(
    "item", ["run.seed=4", "optim.lr_G={start: 1e-3, end: 1e-4, over_kimg: 5}", "launch.workers=[1, 2]"]
)
def test_resolved_is_the_same_configuration(item: str) -> None:
    config = load("demo", [item])
    again = validate(yaml.safe_load(yaml.safe_dump(config.resolved())))
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert set(config.resolved()) == set(RunConfig.model_fields)


def changed(config: BaseModel, path: str, whole: str = "") -> Any:
    """A copy with another value of the field's own type at the dotted path, unvalidated."""
    whole = whole or path
    head, _, rest = path.partition(".")
    value = getattr(config, head)
    if rest:
        return config.model_copy(update={head: changed(value, rest, whole)})
    annotation = type(config).model_fields[head].annotation
    others: list[Any]
    if typing.get_origin(annotation) is typing.Literal:
        others = [each for each in typing.get_args(annotation) if each != value]
    elif value is None:
        arm = next(each for each in typing.get_args(annotation) if each is not types.NoneType)
        others = [typing.get_args(arm)[0] if typing.get_origin(arm) is typing.Literal else arm(7)]
    elif whole == "game.penalties":
        others = [{"r1": Penalty()}]
    else:
        alternatives: dict[type, Any] = {bool: lambda v: not v, str: lambda v: v + "x", dict: lambda v: {"GPU": "2"}}
        alternatives |= {int: lambda v: v + 1, float: lambda v: v + 1, tuple: lambda v: v[::-1] or (7,)}
        others = [alternatives[type(value)](value)]
    return config.model_copy(update={head: others[0]})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("path", field_paths())
def test_the_fingerprint_changes_with_just_what_may_not(path: str) -> None:
    config = RunConfig()
    other = changed(config, path)
    assert other.resolved() != config.resolved()
    assert (other.fingerprint() == config.fingerprint()) == may_change(path)
    told = differences(config.resolved(), other.resolved())
    assert {line.split(":")[0].replace(".r1.", ":").replace(".GPU", ":").split(":")[0] for line in told} == (
        set() if may_change(path) else {path}
    )


def test_may_change_names_what_there_is() -> None:
    paths = field_paths()
    for free in MAY_CHANGE:
        assert free in paths or any(path.startswith(free + ".") for path in paths), free
    assert may_change("launch.workers")
    assert not may_change("run.seed")
    assert not may_change("launcher")
