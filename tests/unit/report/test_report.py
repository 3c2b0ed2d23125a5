"""`python -m gandist.report`: the page of real runs, in a real browser."""

import io
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gandist.cli.text import number
from gandist.data import dataset
from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.report import main
from gandist.report.axes import decades, ticks
from gandist.report.curves import thin
from gandist.report.drawn import cheap, draw, nearest
from gandist.report.page import page
from gandist.report.recorded import Mark, read, thinned
from gandist.run.checkpoint import Checkpoints
from gandist.run.trained import Trained, open_trained
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.browser import browser as browser
from tests.helpers.browser import check, open_page
from tests.helpers.s3_server import serve_bucket
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import tiny

SEEN = [0, 24, 48, 72, 96, 120]
EVIL = '</script><script>document.title="evil"</script><img src=x onerror="document.title=1">\'">'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run by class, another with a higher learning rate and a penalty, and one by captions."""
    folder = tmp_path_factory.mktemp("runs")
    captioned = make_set(folder / "set", 20, captions=True).base
    text = {"model__classes": 0, "model__text_dim": 384, "data__channels": 3, "data__path": captioned}
    changes: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"optim__lr_G": 0.01, "game__penalties": {"r1": {"weight": 0.5}}},
        "text": text,
    }
    found = {}
    for name, changed in changes.items():
        config = tiny(folder, name, **changed, train__sample_kimg=0.024, precision="fp32")
        assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
        found[name] = Path(run_root(config))
    return found


def shown(browser: webdriver.Chrome) -> list[WebElement]:
    """The grids of samples that are seen, one a run."""
    return [image for image in browser.find_elements(By.CSS_SELECTOR, "img[data-seen]") if image.is_displayed()]


def titled(browser: webdriver.Chrome, title: str) -> WebElement:
    """The chart of that title."""
    charts = browser.find_elements(By.CSS_SELECTOR, ".chart")
    (found,) = [chart for chart in charts if chart.find_element(By.TAG_NAME, "figcaption").text == title]
    return found


def table(browser: webdriver.Chrome, caption: str) -> list[str]:
    """Its rows, the heading first."""
    tables = browser.find_elements(By.TAG_NAME, "table")
    (found,) = [each for each in tables if each.find_element(By.TAG_NAME, "caption").text == caption]
    return [row.text for row in found.find_elements(By.TAG_NAME, "tr")]


def measured_run(run: Path, extractor: str = "classifier") -> None:
    """Give a run what one that was measured three times, and rolled back once, has written."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    more = [{**rows[-1], "images_seen": seen} for seen in (180, 240)]
    rows = [*rows, *more]
    for row, value in zip(rows[1:], (3.0, 1.5, 2.0), strict=True):
        row |= {f"quality/{name}": value for name in ("fd-classifier", "precision", "recall", "density", "coverage")}
        row |= {"quality/kid": value / 10, "quality/kid_se": 0.01, "tick_s": 3.0, "eval_s": 2.0}
    rows[0] |= {"tick_s": 1.0}
    rows[2] |= {"rollback": "from 480 images: diverged: loss/G is 3e+03", "rollbacks": 1}
    rows[3] |= {"verdict": "overfitting", "reason": "G repeats", "rollbacks": 1}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    protocol = {
        "extractor": extractor,
        "n_fake": 500,
        "floor": 0.5,
        "floor_is": f"fd-{extractor} of two halves",
        "manifold": {"n": 500},
    }
    found = [
        {
            "images_seen": row["images_seen"],
            "measures": {
                "fd-classifier": row["quality/fd-classifier"],
                "kid": row["quality/kid"],
                "kid_se": 0.01,
                "fd-classifier/class-0": 7.0,
                "ppl": None,
            },
            "protocol": protocol,
        }
        for row in rows[1:]
    ]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that makes images larger, with latents, and two evaluations of it with what needs no learning."""
    config = tiny(
        tmp_path_factory.mktemp("restoring"),
        "large",
        model__name="resnet",
        model__classes=0,
        model__options={"blocks": 1},
        data__channels=3,
        data__path=make_set(tmp_path_factory.mktemp("set"), 20).base,
        condition={"kind": "degraded", "options": {"scale": 4}},
        train__sample_kimg=0.06,
        precision="fp32",
    )
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    run = Path(run_root(config))
    found: list[dict[str, Any]] = [
        {
            "images_seen": seen,
            "measures": {"fd-classifier": 9.0, "psnr": psnr, "ssim": 0.4, "l1": 0.2},
            "baselines": {"bicubic": {"psnr": 17.0, "l1": 0.1}, "nearest": {"psnr": 16.0, "l1": 9.0}},
            "by_operation": {
                "blur": {
                    "n": 12,
                    "psnr": psnr,
                    "kid": 0.1,
                    "kid_se": 0.02,
                    "baseline": {"name": "bicubic", "psnr": 17.0},
                },
                "noise": {"n": 0},
            },
            "protocol": {"extractor": "classifier", "best_by": "psnr"},
        }
        for seen, psnr in ((60, 15.0), (120, 14.0))
    ]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row, evaluation in zip(rows, found, strict=True):
        row |= {f"quality/{name}": value for name, value in evaluation["measures"].items()}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_a_run_whose_g_is_given_pictures(restoring: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert main([str(restoring), "--out", str(file)]) == 0
    for width in (360, 1200):
        open_page(browser, file, width)
        check(browser, file)
    facts = {each.text.replace("\n", " ") for each in browser.find_elements(By.CSS_SELECTOR, "dl div")}
    assert facts >= {"Condition degraded, scale 4", "Best checkpoint 60 images: 15", "Best by psnr, higher is better"}
    assert "on inputs that stay the same" in browser.find_element(By.CSS_SELECTOR, "#samples + p").text

    first, *others = browser.find_elements(By.CSS_SELECTOR, ".example")
    assert len(others) == 5
    slider = first.find_element(By.CSS_SELECTOR, "input")
    pictures = [image.accessible_name.partition(",")[0] for image in first.find_elements(By.TAG_NAME, "img")]
    assert (slider.aria_role, pictures) == ("slider", ["Output", "Input", "Target"])
    seen = []
    for key in (Keys.HOME, Keys.END, Keys.ARROW_LEFT):
        slider.send_keys(key)
        before = first.find_element(By.CSS_SELECTOR, ".before")
        seen.append((slider.get_attribute("aria-valuetext"), before.value_of_css_property("clip-path")))
    words = [f"{share}% input, the rest output" for share in (0, 100, 99)]
    assert [text for text, _ in seen] == words
    assert len({clip for _, clip in seen}) == 3
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "figcaption > strong")]
    assert titles == ["large", "Several outputs."]

    assert table(browser, "Measures of the averaged generator") == [
        "Measure newest, at 120 images best, at 60 images bicubic, without learning nearest, without learning",
        "fd-classifier 9 9 - -",
        "psnr 14 15 17 16",
        "ssim 0.4 0.4 - -",
        "l1 0.2 0.2 0.1 9",
    ]
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert table(browser, "Measures by operation") == [
        "Group n psnr kid",
        "blur 12 14 0.1 ± 0.02",
        "blur: bicubic, without learning 17 -",
        "noise 0 - -",
    ]
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".chart figcaption")]
    assert titles[1:4] == [
        "Peak signal-to-noise ratio in dB: higher is better",
        "Structural similarity: higher is better",
        "Absolute difference from the target: lower is better",
    ]
    notes = [note.text for note in titled(browser, titles[1]).find_elements(By.CSS_SELECTOR, ".note")]
    assert notes == ["bicubic 17, without learning", "nearest 16, without learning"]
    assert len(titled(browser, titles[1]).find_elements(By.CSS_SELECTOR, "line.level")) == 2
    assert len(titled(browser, titles[3]).find_elements(By.CSS_SELECTOR, "line.level")) == 1, "nearest lies far away"


def test_examples_that_cannot_be_read_are_told(restoring: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(restoring, run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("data: null", f"data: {tmp_path}/gone"))
    assert re.search(r"Not drawn: eval.data: .*/gone: no such folder", page([str(run)]))


def test_what_several_runs_share_without_learning_is_said_once(restoring: Path, tmp_path: Path) -> None:
    for name in "xy":
        shutil.copytree(restoring, tmp_path / name)
    file = tmp_path / "y" / "evaluations.jsonl"
    file.write_text(file.read_text().replace('"psnr": 16.0', '"psnr": 12.5'))
    html = page([str(tmp_path / name) for name in "xy"])
    assert html.count("</svg>bicubic 17, without learning<") == 1
    assert f"{tmp_path}/y: nearest 12.5, without learning<" in html


def test_quality_and_what_happened(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "a.html"
    shutil.copytree(runs["a"], run)
    measured_run(run)
    assert main([str(run), "--out", str(file)]) == 0
    for width in (360, 1200):
        open_page(browser, file, width)
        check(browser, file)
    facts = {each.text.replace("\n", " ") for each in browser.find_elements(By.CSS_SELECTOR, "dl div")}
    assert facts >= {
        "fd-classifier 2",
        "Best checkpoint 180 images, not kept: 1.5",
        "Evaluation took 37.5% of the time",
        "Roll-backs 1",
        "Health overfitting: G repeats",
    }
    assert table(browser, "Measures of the averaged generator") == [
        "Measure newest, at 240 images best, at 180 images",
        "fd-classifier 2 1.5",
        "kid 0.2 ± 0.01 0.15 ± 0.01",
        "ppl not finite not finite",
    ]
    protocol = table(browser, "Protocol of the newest evaluation")
    assert protocol[1:4] == ["extractor classifier", "n fake 500", "floor 0.5"]
    assert protocol[-1] == "manifold n 500"

    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".chart figcaption")]
    assert titles[:5] == [
        "Fréchet distance: lower is better",
        "Kernel distance: lower is better",
        "Precision, recall, density, coverage: higher is better",
        "Signs of health",
        "Losses",
    ]
    labels = [each.text.strip() for each in titled(browser, titles[2]).find_elements(By.TAG_NAME, "li")]
    assert labels == ["precision", "recall", "density", "coverage"]
    assert [each.text.strip() for each in titled(browser, titles[1]).find_elements(By.TAG_NAME, "li")] == ["kid"]
    distance = titled(browser, titles[0])
    assert distance.find_element(By.CSS_SELECTOR, ".note").text == "Floor 0.5: fd-classifier of two halves"
    assert len(distance.find_elements(By.CSS_SELECTOR, "line.level")) == 1
    name = distance.find_element(By.CSS_SELECTOR, "figcaption + svg").accessible_name
    assert name == (
        "Fréchet distance: lower is better: fd-classifier from 3 to 2; Floor 0.5: fd-classifier of two halves; "
        "after 0.12 kimg rolled back from 480 images; after 0.24 kimg overfitting"
    )
    assert [each.get_attribute("class") for each in distance.find_elements(By.CSS_SELECTOR, "g.mark")] == [
        "mark rollback",
        "mark verdict",
    ]
    back = distance.find_element(By.CSS_SELECTOR, "g.rollback title").get_attribute("textContent")
    assert back == "rolled back from 480 images: diverged: loss/G is 3e+03"
    happened = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "h3 + ul li")]
    assert happened == [f"after 120 images: {back}", "after 240 images: overfitting: G repeats"]


def test_runs_under_other_protocols_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    for name, extractor in (("x", "classifier"), ("y", "inception"), ("z", "inception")):
        shutil.copytree(runs["a"], tmp_path / name)
        measured_run(tmp_path / name, extractor)
    told = "The protocols differ in extractor: these values cannot be compared."
    assert told in page([str(tmp_path / name) for name in "xy"])
    html = page([str(tmp_path / name) for name in "yz"])
    assert "cannot be compared" not in html
    assert html.count("</svg>Floor 0.5: fd-inception of two halves") == 1


def test_a_run(runs: dict[str, Path], browser: webdriver.Chrome, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(runs["a"])]) == 0
    file = runs["a"] / "report.html"
    assert re.fullmatch(rf"{file}: 0\.\d MB\n", capsys.readouterr().out)
    open_page(browser, file)
    check(browser, file)

    slider = browser.find_element(By.ID, "seen")
    assert (slider.aria_role, slider.accessible_name) == ("slider", "Images seen")
    (last,) = shown(browser)
    sources = [last.get_attribute("src")]
    slider.send_keys(Keys.HOME)
    for seen in SEEN[:-1]:
        (grid,) = shown(browser)
        sources.append(grid.get_attribute("src"))
        assert grid.accessible_name == f"Samples of a at {seen} images seen"
        assert browser.find_element(By.CSS_SELECTOR, ".at").text == str(seen)
        assert slider.get_attribute("aria-valuetext") == f"{seen} images seen"
        slider.send_keys(Keys.ARROW_RIGHT)
    assert shown(browser) == [last]
    assert len(set(sources)) == len(SEEN)

    names = [figure.accessible_name for figure in browser.find_elements(By.CSS_SELECTOR, ".chart > svg")]
    assert any(re.match(r"Losses: loss/D from .* to .*; loss/G from", name) for name in names)
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "figcaption > strong")]
    assert titles == ["a", "Classes.", "Interpolation.", "Nearest training images."]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(browser.find_elements(By.TAG_NAME, landmark)) == 1


def test_pointing_at_a_curve_reads_it_out(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    assert main([str(runs["a"]), "--out", str(file)]) == 0
    open_page(browser, file)
    chart = titled(browser, "Losses")
    webdriver.ActionChains(browser).move_to_element(chart.find_element(By.CSS_SELECTOR, "svg")).perform()
    loss = json.loads((runs["a"] / "metrics.jsonl").read_text().splitlines()[0])["loss/D"]
    assert chart.find_element(By.CSS_SELECTOR, "output").text == f"{float(f'{loss:.4g}')} at 0.06"


def test_runs_side_by_side(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    """On a phone as well as on a wide screen."""
    file = tmp_path / "new" / "both.html"
    shutil.copytree(runs["a"], tmp_path / "again")
    assert main([*(str(run) for run in (runs["a"], runs["b"], tmp_path / "again")), "--out", str(file)]) == 0
    for width in (1200, 360):
        open_page(browser, file, width)
        check(browser, file)
        assert len(shown(browser)) == 3
    # Two share a name: they are told apart by their folders.
    headings = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "thead th")]
    assert headings == ["Field", str(runs["a"]), "b", str(tmp_path / "again")]
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert rows == [
        "game.penalties.r1.interval - 1 -",
        "game.penalties.r1.weight - 0.5 -",
        "optim.lr_G 0.001 0.01 0.001",
    ]
    assert len(titled(browser, "Losses").find_elements(By.TAG_NAME, "li")) == 6


def test_captions_stand_beside_their_rows(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    file = tmp_path / "text.html"
    assert main([str(runs["text"]), "--out", str(file)]) == 0
    open_page(browser, file)
    check(browser, file)
    (grid,) = shown(browser)
    labels = browser.find_elements(By.CSS_SELECTOR, "#samples ~ .runs .labels li")
    assert [label.text for label in labels] == (runs["text"] / "samples/captions.txt").read_text().splitlines()
    height = grid.size["height"] / len(labels)
    for row, label in enumerate(labels):
        middle = label.rect["y"] + label.rect["height"] / 2 - grid.rect["y"]
        assert row * height < middle < (row + 1) * height


def test_nothing_in_a_run_becomes_markup(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["text"], run)
    shutil.rmtree(run / "checkpoints")
    (run / "samples/captions.txt").write_text(f"{EVIL}\n")
    config = json.dumps({"run": {"name": EVIL}, "game": {"objective": EVIL}, "data": {EVIL: EVIL}})
    (run / "config.yaml").write_text(config)
    row = {"images_seen": 130, "verdict": EVIL, "reason": EVIL, f"loss/{EVIL}": 1.0, f"{EVIL}/x": 2}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    out = tmp_path / "evil.html"
    assert main([str(run), "--out", str(out)]) == 0
    open_page(browser, out)
    check(browser, out)
    assert browser.title == f"{EVIL} - gandist report"
    assert browser.find_element(By.TAG_NAME, "h1").text == EVIL
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1


class Listener(BaseHTTPRequestHandler):
    """Writes down what it is asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""


def test_a_page_is_forbidden_to_load_anything(runs: dict[str, Path], browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Were there markup in it after all; without the policy the same page does load."""
    file = tmp_path / "page.html"
    html = page([str(runs["a"])])
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        foreign = f'<img src="http://127.0.0.1:{server.server_port}/x.png"><script>document.title = "evil"</script>'
        html = html.replace("</body>", f"{foreign}</body>")
        for text, title, asked in (
            (html, "a - gandist report", []),
            (html.replace("Content-Security-Policy", "other"), "evil", ["/x.png"]),
        ):
            file.write_text(text)
            open_page(browser, file)
            assert (browser.title, Listener.asked) == (title, asked)
        server.shutdown()


def test_a_run_without_a_checkpoint_or_samples(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["a"], run)
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "samples")
    html = page([str(run)])
    assert f"Not drawn: {run}/checkpoints: no checkpoint yet" in html
    assert "has written no samples yet" in html


def test_data_that_is_gone_costs_only_what_it_is_needed_for(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["text"], run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("/set/shards", "/gone"))
    assert re.search(r"Not drawn: .*/gone: no such folder", page([str(run)]))


@pytest.mark.parametrize("missing", ["folder", "config.yaml", "metrics.jsonl"])
def test_what_is_no_run_is_told(
    runs: dict[str, Path], tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    if missing != "folder":
        shutil.copytree(runs["a"], run)
        (run / missing).unlink()
    assert main([str(runs["a"]), str(run), "--out", str(tmp_path / "out.html")]) == 2
    written = capsys.readouterr()
    expected = {
        "folder": f"gandist: {run}: is no run: there is no such folder\n",
        "config.yaml": f"gandist: {run}: is no run: it has no config.yaml\n",
        "metrics.jsonl": f"gandist: {run}/metrics.jsonl: no metrics yet; the first come after train.tick_kimg\n",
    }
    assert (written.out, written.err) == ("", expected[missing])
    assert not (tmp_path / "out.html").exists()
    assert run.exists() == (missing != "folder")


def test_where_it_cannot_be_written_is_told(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out in (str(tmp_path / "file/x.html"), str(tmp_path), "s3://bucket/x.html"):
        assert main([str(runs["a"]), "--out", out]) == 2
        written = capsys.readouterr()
        assert written.out == ""
        assert written.err.startswith("gandist: ")
        assert out.removesuffix("/x.html") in written.err


def test_drawing_again_gives_the_same_pictures(runs: dict[str, Path]) -> None:
    first, again = (draw(str(runs["text"]), True)[0] for _ in range(2))
    assert [picture.title for picture in first] == ["Interpolation", "Nearest training images"]
    assert first == again


@pytest.mark.parametrize("n", [1, 3])
def test_a_page_of_a_run_with_few_images(n: int, tmp_path: Path) -> None:
    index = make_set(tmp_path, n, classes=0, channels=1, shard_size=5)
    changes = {"data__path": index.base, "model__classes": 0, "train__batch": 1, "train__total_kimg": 0.004}
    config = tiny(tmp_path, "few", **changes, health__diverged="ignore", precision="fp32")
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    found = nearest(open_trained(run_root(config), torch.device("cpu")))
    assert f"its {n} nearest of {n} training images" in found.text
    with Image.open(io.BytesIO(found.preview.content)) as picture:
        assert (picture.width + 2) * 8 == (picture.height + 2) * (1 + n)
    assert main([run_root(config)]) == 0


@pytest.mark.parametrize(
    ("neighbours", "changes", "sought"),
    [
        (None, {}, True),
        (False, {}, False),
        (None, {"model": {"resolution": 256}}, False),
        (True, {}, True),
        (None, {"data": {"path": "s3://bucket/set"}}, False),
    ],
)
def test_neighbours_are_sought_where_that_is_cheap(
    runs: dict[str, Path], neighbours: bool | None, changes: dict[str, dict[str, Any]], sought: bool
) -> None:
    """10,000 images at 32 px are looked at unasked; at 256 px, or far away, they are not."""
    config = open_trained(str(runs["a"]), torch.device("cpu")).config
    for section, fields in changes.items():
        config = config.model_copy(update={section: getattr(config, section).model_copy(update=fields)})
    assert (cheap(config) if neighbours is None else neighbours) == sought
    if not changes:
        pictures, missing, _ = draw(str(runs["a"]), neighbours)
        assert ("Nearest training images" in [picture.title for picture in pictures]) == sought
        assert missing == []


class Copycat(Trained):
    """A generator that gives training images, a little dimmed."""

    def draw(self, n: int, seed: int = 0, batch: int = 250) -> np.ndarray:
        numbers = 7 * np.arange(n)
        images = dataset.open_set(self.config, dataset.open_index(self.config)).gather(numbers)[0]
        return (0.98 * images).astype(np.uint8)


def test_copies_of_training_images_are_found(runs: dict[str, Path]) -> None:
    trained = open_trained(str(runs["a"]), torch.device("cpu"))
    picture = nearest(Copycat(**vars(trained)))
    assert "4 nearest of 10,000 training images" in picture.text
    pixels = np.asarray(Image.open(io.BytesIO(picture.preview.content))).astype(int)
    fakes, copies = pixels[:, :96], pixels[:, 98:194]
    assert np.abs(fakes - copies).max() <= 6
    assert np.abs(fakes - pixels[:, 196:292]).max() > 50


def test_a_run_in_an_object_store(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with serve_bucket("bucket") as url:
        address = url.replace("bucket", "bucket/run", 1)
        storage = Storage(address)
        for file in runs["a"].rglob("*"):
            if file.is_file():
                storage.write_bytes(str(file.relative_to(runs["a"])), file.read_bytes())
        assert main([address]) == 0
        assert capsys.readouterr().out.startswith(f"{storage.uri('report.html')}: 0.")
        html = (storage.read_bytes("report.html") or b"").decode()
    assert html.count("data-seen=") == len(SEEN)
    assert "Classes." in html


def test_restarts_and_verdicts_are_marked(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["a"], run)
    usual = {"tick_s": 10.0, "loss/D": 1.0, "world_size": 2}
    rows: list[dict[str, Any]] = [
        {"images_seen": 100, "time_s": 1000.0},
        {"images_seen": 200, "time_s": 1010.1},
        {"images_seen": 300, "time_s": 1080.1},
        {"images_seen": 400, "time_s": 1090.1, "world_size": 3, "verdict": "healthy"},
        {"images_seen": 500, "time_s": 1100.1, "world_size": 3, "verdict": "collapsing", "reason": "few modes"},
        {"images_seen": 600, "time_s": 1110.1, "world_size": 3, "verdict": "collapsing", "attempt": 3},
        {"images_seen": 700, "time_s": 1220.1, "world_size": 3, "verdict": "healthy", "attempt": 3},
        {"images_seen": 800, "time_s": 1230.1, "world_size": 3, "attempt": 4},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps({**usual, **row}) + "\n" for row in rows))
    assert read(str(run), 0).marks() == [
        Mark(200, "restart", "restarted after 60 s"),
        Mark(300, "restart", "restarted: 2 to 3 workers"),
        Mark(500, "verdict", "collapsing: few modes"),
        Mark(700, "restart", "restarted: attempt 4"),
        Mark(700, "verdict", "healthy"),
    ]
    html = page([str(run)])
    assert html.count('<g class="mark restart"') == 3 * html.count('class="chart"')
    assert "after 500 images: collapsing: few modes" in html


def test_a_run_that_goes_on_is_one_page(tmp_path: Path) -> None:
    for total_kimg in (0.06, 0.12):
        config = tiny(tmp_path, "run", train__total_kimg=total_kimg)
        assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    run = read(run_root(config), 0)
    assert (run.attempts, [row["images_seen"] for row in run.rows]) == (2, [60, 120])
    assert [*run.samples] == [120]  # no budget: the last alone
    assert run.n_samples == 3


def test_grids_are_thinned_to_fit() -> None:
    assert thinned([], 5, 100) == []
    assert thinned([1] * 4, 5, 100) == [0, 1, 2, 3]
    assert thinned([1] * 9, 5, 100) == [0, 2, 4, 6, 8]
    assert thinned([40] * 9, 5, 100) == [0, 8]
    assert thinned([400] * 9, 5, 100) == [8]


def test_thinning_keeps_extremes_and_gaps() -> None:
    points: list[tuple[float, float | None]] = [(float(x), float(x % 7)) for x in range(10_000)]
    points[1234], points[5000], points[5001] = (1234.0, 99.0), (5000.0, None), (5001.0, -50.0)
    kept = thin(points, 300)
    assert len(kept) <= 310
    assert {(1234.0, 99.0), (5001.0, -50.0)} <= set(kept)
    assert sum(y is None for _, y in kept) == 1
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (5, 5), (0, 0), (1e-5, 3e-4), (-2, -1.9), (0, 123456)])
def test_ticks_are_round_and_around(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] >= high - 1e-9
    step = found[1] - found[0]
    assert f"{step:.6e}"[0] in "125"
    np.testing.assert_allclose(np.diff(found), step)


def test_decades() -> None:
    assert decades(0.02, 50) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert 2 <= len(decades(1e-30, 1e20)) <= 8


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (2e-4, "2e-4"), (2.5e-4, "2.5e-4"), (1.23456, "1.23"), (-1500, "-1,500"), (3e7, "3e7")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
