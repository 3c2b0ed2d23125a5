"""Measures of generated texts: real ones measure well; repeated, garbled and invented ones do not."""

import json
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist import evaluate
from gandist.conditions.encoder import encoder
from gandist.config.run import RunConfig, validate
from gandist.data.dataset import with_symbols
from gandist.data.oracle import LENGTH as ORACLE_LENGTH
from gandist.data.oracle import SETS, VOCABULARY, oracle
from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.errors import ConfigError
from gandist.evaluation.evaluation import Yardstick, names_of_measures, yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.evaluation.extractors import open_extractor
from gandist.evaluation.texts import Texts, nats_by_oracle, told_by
from gandist.launch.resumption import prepare, run_root
from gandist.media.text import Text
from gandist.monitoring.metrics import MEASURES
from gandist.report.page import page
from gandist.run import evaluations
from gandist.run.evaluations import Result, is_higher_better
from gandist.run.trained import Trained
from gandist.storage.storage import Storage
from gandist.training.worker import train
from gandist.tune.reported import reported_by
from tests.helpers.text_sets import make_texts
from tests.helpers.train_on_ranks import tiny

ALONE = Ranks(0, 1, torch.device("cpu"))
VOWELS, CONSONANTS = "aeiou", "bdfgklmnprst"
TEXTS = sorted({f"{a}{b}{c}{d}" for a in CONSONANTS for b in VOWELS for c in CONSONANTS for d in VOWELS})
LENGTH, N = 6, 60


class Written(nn.Module):
    """A generator that writes texts that it was given, in turn."""

    def __init__(self, medium: object, texts: list[str]) -> None:
        super().__init__()
        self.medium, self.texts, self.at = medium, texts, 0

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        found = np.zeros((len(z), LENGTH), np.uint8)
        for row in found:
            self.medium.decode(self.texts[self.at % len(self.texts)].encode(), row)  # type: ignore[attr-defined]
            self.at += 1
        return self.medium.to_network(torch.from_numpy(found))  # type: ignore[attr-defined,no-any-return]


class Likely(Written):
    """It finds each symbol of a text as likely as any other."""

    def nll(self, x: Tensor, y: Tensor | None) -> Tensor:
        going_on = x[:, 0].cumsum(1) - x[:, 0] == 0
        return going_on.sum(1) * math.log(x.shape[1])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Training texts are four fifths of all, the others are held out."""
    folder = tmp_path_factory.mktemp("texts")
    mixed = [TEXTS[i] for i in np.random.default_rng(0).permutation(len(TEXTS))]
    at = len(mixed) * 4 // 5
    data = {"path": make_texts(folder / "training", mixed[:at]), "medium": "text", "options": {"length": LENGTH}}
    held_out = make_texts(folder / "held out", mixed[at:])
    tree = {"data": {**data, "cache_dir": str(folder / "cache")}, "eval": {"data": held_out}, "train": {"batch": 8}}
    return with_symbols(validate({**tree, "model": {"name": "textgan", "width": 4, "z_dim": 4}}))


@pytest.fixture(scope="module")
def held_out(config: RunConfig) -> Yardstick:
    return yardstick(config, extractor_of(config, ALONE.device), ALONE)


def written(config: RunConfig, against: Yardstick, texts: list[str], of: type[Written] = Written) -> Result:
    trained = Trained(config, nn.Identity(), 7, ALONE.device)
    return against.evaluate(Trained(config, of(trained.medium, texts), 7, ALONE.device), N)


def mixed(seed: int) -> list[str]:
    return [TEXTS[i] for i in np.random.default_rng(seed).permutation(len(TEXTS))]


def test_texts_are_told_apart(config: RunConfig, held_out: Yardstick) -> None:
    real = written(config, held_out, mixed(1))
    repeated = written(config, held_out, mixed(1)[:2])
    backwards = written(config, held_out, [text[::-1] for text in mixed(1)])
    longer = written(config, held_out, [f"{text}ba" for text in mixed(1)])
    measures = real.measures
    assert list(measures) == [
        *("fd-ngrams", "kid", "kid_se", "precision", "recall", "density", "coverage"),
        *("js_1", "js_2", "js_3", "js_4", "novel", "dictionary", "unique", "distinct_2", "bleu", "self_bleu"),
        "length_distance",
    ]
    for name in ("fd-ngrams", "js_2", "js_3", "js_4"):
        assert measures[name] < min(each.measures[name] for each in (repeated, backwards, longer))
    assert measures["js_1"] == pytest.approx(backwards.measures["js_1"], abs=1e-9), "the same letters"
    assert (measures["dictionary"], backwards.measures["dictionary"]) == (1, 0)
    assert 0.05 < measures["novel"] < 0.4
    assert backwards.measures["novel"] == 1
    assert (measures["unique"], repeated.measures["unique"]) == (1, 2 / N)
    assert measures["distinct_2"] > repeated.measures["distinct_2"]
    assert measures["bleu"] > backwards.measures["bleu"]
    assert measures["self_bleu"] < repeated.measures["self_bleu"] == 1
    assert (measures["length_distance"], longer.measures["length_distance"]) == (0, 2)
    better = {name for name in measures if is_higher_better(name)}
    assert better >= {"dictionary", "novel", "unique", "distinct_2", "bleu"}
    assert not better & {"self_bleu", "js_4", "length_distance", "fd-ngrams", "nll_held_out"}


def test_real_texts_stand_beside(config: RunConfig, held_out: Yardstick) -> None:
    """Their values are those that as many real texts get, and the measures are named everywhere."""
    found = written(config, held_out, mixed(1))
    (floor,) = found.baselines.values()
    assert [*found.baselines] == ["real texts"]
    assert (floor["novel"], floor["dictionary"], floor["unique"]) == (1, 1, 1)
    assert found.measures["js_4"] == pytest.approx(floor["js_4"], rel=0.1)
    assert found.measures["bleu"] == pytest.approx(floor["bleu"], rel=0.25), "a fifth of them are references, too"
    texts = found.protocol["texts"]
    assert texts["bleu"] == {"tokens": "characters", "n": N, "references": len(held_out.real.numbers)}
    assert texts["dictionary"] == f"{len(TEXTS)} texts, training and held out"
    assert not {"memorisation_is", "ppl"} & {*found.protocol}
    assert {*found.measures} - {"kid_se"} == {*names_of_measures(config, "ngrams")}
    assert {f"quality/{name}" for name in found.measures} <= {*reported_by(config)}
    assert not {"quality/ppl", "quality/memorisation", "quality/nll_held_out"} & {*reported_by(config)}
    assert {*found.measures} <= {*MEASURES}
    assert "image" not in str(found.protocol)


def test_without_other_texts_halves_are_compared(config: RunConfig) -> None:
    against = yardstick(config, extractor_of(config, ALONE.device), ALONE, config.data.path)
    found = written(config, against, mixed(1))
    assert found.measures["dictionary"] == 1 - found.measures["novel"] < 1
    assert found.baselines["real texts"]["novel"] == 1
    assert found.protocol["texts"]["real_texts"] == "of one half beside the other"


def test_texts_of_several_words_have_words_as_tokens(config: RunConfig, tmp_path: Path) -> None:
    lines = [f"{a} {b}" for a in ("to", "on", "in") for b in ("be", "me", "no", "so", "us")]
    own = validate({**config.resolved(), "eval": {}, "data": {**config.resolved()["data"], "options": {"length": 6}}})
    data = own.data.model_copy(update={"path": make_texts(tmp_path / "lines", lines)})
    own = with_symbols(own.model_copy(update={"data": data}))
    against = yardstick(own, extractor_of(own, ALONE.device), ALONE)
    found = written(own, against, lines)
    assert found.protocol["texts"]["bleu"]["tokens"] == "words"
    assert found.measures["distinct_2"] == len(lines) / N


def test_likelihood_of_real_texts(config: RunConfig, held_out: Yardstick) -> None:
    """In nats a symbol, the end counted as one, of a G that has it."""
    found = written(config, held_out, mixed(1), Likely)
    assert found.measures["nll_held_out"] == pytest.approx(np.log(1 + len(VOWELS + CONSONANTS)))


def test_the_extractor_is_for_texts_and_takes_no_file(config: RunConfig) -> None:
    medium = Trained(config, nn.Identity(), 0, ALONE.device).medium
    with pytest.raises(ConfigError, match="ngrams: has no weights"):
        open_extractor("ngrams", Path("file"), medium, ALONE.device)
    with pytest.raises(ConfigError, match="minilm: its weights are a package's; leave out file"):
        open_extractor("minilm", Path("file"), medium, ALONE.device)
    with pytest.raises(ConfigError, match="bands is not for texts; choose one of ngrams, minilm"):
        open_extractor("bands", None, medium, ALONE.device)


def test_an_encoder_of_sentences_sees_meanings() -> None:
    """Texts that mean nearly the same are nearer to one another than texts that have nearly the same letters."""
    told = ["the cat sat on the mat", "a kitten is resting on a rug", "the car sat on the map", ""]
    medium = Text(length=32, symbols=string.ascii_lowercase + " ")
    rows = np.zeros((len(told), 32), np.uint8)
    for row, text in zip(rows, told, strict=True):
        medium.decode(text.encode(), row)
    extractor = open_extractor("minilm", None, medium, ALONE.device)
    h = extractor.features(medium.to_network(torch.from_numpy(rows)))
    assert (h.shape, h.dtype, extractor.distance) == ((4, extractor.dim), torch.float32, "fd-minilm")
    np.testing.assert_allclose(h, encoder().encode(told), atol=1e-6)
    assert (h[0] - h[1]).norm() < (h[0] - h[2]).norm()
    assert extractor.sha256 in encoder().id


def test_a_run_is_measured(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While it trains, and by the command."""
    run = tiny(
        tmp_path,
        "words",
        data=config.resolved()["data"],
        model=config.resolved()["model"],
        eval={"every_kimg": 0.06, "n": 30, "best": "js_4", "data": config.eval.data},
        precision="fp32",
    )
    train(run, prepare(run, "auto"), Host())
    recorded = evaluations.read(Storage(run_root(run)))
    assert [each["images_seen"] for each in recorded] == [60, 120]
    assert evaluate.main([run_root(run), "--n", "30", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("fd-ngrams", "js_1", "js_2", "js_3", "js_4", "novel", "dictionary"):
        assert found[name] == pytest.approx(recorded[-1]["measures"][name], rel=1e-6)
    assert found["baseline"]["name"] == "real texts"


def test_several_temperatures(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a G that draws symbols: the lower, the less varied. Others are refused. The report shows what was kept."""
    drawing = {"name": "relgan", "width": 8}
    of = {"data": config.resolved()["data"], "precision": "fp32"}
    run = tiny(tmp_path, "drawn", model=drawing, game={"objective": "likelihood"}, **of)
    other = tiny(tmp_path, "other", model={"name": "textgan", "width": 4, "z_dim": 4}, train__total_kimg=0.012, **of)
    for each in (run, other):
        train(each, prepare(each, "auto"), Host())
    at = ["--n", "60", "--device", "cpu", "--json", "--temperatures"]
    assert evaluate.main([run_root(run), *at, "0.2,1", "--keep"]) == 0
    cold, usual = map(json.loads, capsys.readouterr().out.splitlines())
    kept = evaluations.read_temperatures(Storage(run_root(run)))
    assert [each["measures"]["bleu"] for each in kept] == [cold["bleu"], usual["bleu"]]
    shown = page([run_root(run)], neighbours=False)
    assert "Quality against variety" in shown
    assert "real texts" in shown.partition("Quality against variety")[2].partition("</figure>")[0]
    assert "Quality against variety" not in page([run_root(other)], neighbours=False)
    assert evaluate.main([run_root(run), "--n", "60", "--keep"]) == 2
    assert "--keep: needs --temperatures" in capsys.readouterr().err
    assert [each["protocol"]["temperature"] for each in (cold, usual)] == [0.2, 1.0]
    assert cold["self_bleu"] > usual["self_bleu"]
    assert cold["nll_held_out"] == usual["nll_held_out"] > 0
    assert evaluate.main([run_root(other), *at, "1"]) == 2
    assert "--temperatures: G of textgan draws no symbols" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main([run_root(run), *at, "0,1"])


def test_the_oracle_finds_its_own_texts_likely() -> None:
    """As likely as published, and random ones, or its own with another beginning, far less; shorter ones by token."""
    rows = oracle().draw(100, "a test")
    real = nats_by_oracle(rows)
    assert 5.5 < real < 6.3, "5.75 nats a token in SeqGAN and RelGAN, of another seed"
    mixed = np.random.default_rng(0).permuted(rows, axis=1)
    random = np.random.default_rng(0).integers(1, 1 + VOCABULARY, rows.shape)
    assert real + 1 < nats_by_oracle(mixed) < nats_by_oracle(random) + 2
    assert 10 < nats_by_oracle(random) < 12, "10.3 in SeqGAN"
    ended = np.where(np.arange(ORACLE_LENGTH) < 5, rows, 0)
    assert nats_by_oracle(ended) == pytest.approx(nats_by_oracle(rows[:, :5]))
    assert math.isnan(nats_by_oracle(np.zeros_like(rows)))


@pytest.mark.slow
def test_the_oracle_judges_runs_on_its_texts_alone(config: RunConfig) -> None:
    options = {"length": 20, "alphabet": "numbers", "vocabulary": VOCABULARY}
    data = {"medium": "text", "options": options}
    model = {"name": "relgan", "width": 8}
    own = [validate({"data": {**data, "path": path}, "model": model}) for path in SETS]
    fewer = validate({"data": {**data, "path": SETS[0], "options": {**options, "vocabulary": 10}}, "model": model})
    assert [*("nll_oracle" in told_by(each) for each in (*own, fewer, config))] == [True, True, False, False]
    medium, rows = Text(length=20, alphabet="numbers", vocabulary=VOCABULARY), oracle().draw(40, "a test")
    none = np.zeros(0, np.int64)
    told = Texts(medium, rows, np.zeros(40), None, none, none, by_oracle=True)
    assert told.by_words
    assert told.measures(rows)["nll_oracle"] == pytest.approx(nats_by_oracle(rows))
    assert told.of_real(40)["nll_oracle"] == pytest.approx(nats_by_oracle(rows[:20]))
    assert "seed 0" in told.protocol(40)["nll_oracle"]
