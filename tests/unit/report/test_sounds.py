"""The page of a run of sounds: they are seen as spectrograms and heard, in a real browser."""

import base64
import importlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.distributed.consensus import Host
from gandist.launch.resumption import run_root
from gandist.media.sound import library
from gandist.report import main
from gandist.report.page import page
from gandist.run.checkpoint import Checkpoints
from gandist.run.trained import open_trained
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.beeping import RATE, SAMPLES, beeping, humming, sound_set
from tests.helpers.browser import browser as browser
from tests.helpers.browser import check, open_page
from tests.unit.report.test_report import shown

STATE = "return [...arguments[0]].map(a => [a.readyState, a.duration, a.paused, a.error?.message ?? ''])"
PLAYED = "return [...document.querySelectorAll('audio')].filter(a => a.currentTime > 0).length"


BRIEF = {"batch": 12, "total_kimg": 0.024, "tick_kimg": 0.012, "sample_kimg": 0.012, "checkpoint_kimg": 0.012}


def config_of(run: Path) -> RunConfig:
    return open_trained(str(run), torch.device("cpu")).config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = beeping(folder, "beeps", sound_set(folder / "set"), train__sample_kimg=0.06, precision="fp32")
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    return Path(run_root(config))


def players(browser: webdriver.Chrome) -> list[WebElement]:
    """Those that are seen."""
    return [sound for sound in browser.find_elements(By.TAG_NAME, "audio") if sound.is_displayed()]


def loaded(browser: webdriver.Chrome, sounds: list[WebElement]) -> list[float]:
    """Their durations in seconds, once all have loaded."""
    WebDriverWait(browser, 20).until(lambda _: all(each[0] >= 1 for each in browser.execute_script(STATE, sounds)))
    states = browser.execute_script(STATE, sounds)
    assert all(message == "" for *_, message in states)
    return [duration for _, duration, *_ in states]


def test_sounds_are_heard(run: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    """The newest grid's by class, earlier ones as the slider shows them, and what is drawn from the checkpoint."""
    file = tmp_path / "page.html"
    assert main([str(run), "--neighbours", "--out", str(file)]) == 0
    for width in (360, 1200):
        open_page(browser, file, width)
        check(browser, file)
    there = players(browser)
    names = [sound.accessible_name for sound in there]
    assert names[:4] == [
        "class 0, beeps at 120 sounds seen, 1 of 2",
        "class 1, beeps at 120 sounds seen, 2 of 2",
        "class 0, Classes of beeps, 1 of 2",
        "class 1, Classes of beeps, 2 of 2",
    ]
    assert len(names) == len(set(names)) == 2 + 2 + 4 + 8
    one, pause = SAMPLES / RATE, 0.25
    of_ten, of_five = 10 * one + 9 * pause, 5 * one + 4 * pause
    expected = [one] * 2 + [of_ten] * 6 + [of_five] * 8
    assert loaded(browser, there) == pytest.approx(expected, abs=0.01)

    slider = browser.find_element(By.ID, "seen")
    slider.send_keys(Keys.HOME)
    (grid,) = shown(browser)
    assert grid.accessible_name == "Samples of beeps at 0 sounds seen"
    early = players(browser)[:2]
    assert early[1].accessible_name == "class 1, beeps at 0 sounds seen, 2 of 2"
    source = str(early[1].get_attribute("src")).removeprefix("data:audio/wav;base64,")
    assert base64.b64decode(source) == (run / "samples/00000000/1.wav").read_bytes()

    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "figcaption > strong")]
    assert titles == ["beeps", "Classes.", "Interpolation.", "Nearest training sounds."]
    charts = {each.text for each in browser.find_elements(By.CSS_SELECTOR, ".chart figcaption")}
    assert "Sounds a second" in charts
    words = browser.find_element(By.TAG_NAME, "main").text
    assert not re.search(r"\b(images?|pixels?)\b(?! divide)", words.partition("Configuration")[0], re.IGNORECASE)


def test_a_sound_is_played_by_a_key_and_one_at_a_time(run: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert main([str(run), "--out", str(file)]) == 0
    open_page(browser, file)
    first, second = players(browser)[2:4]
    loaded(browser, [first, second])
    first.send_keys(Keys.SPACE)
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(PLAYED) == 1)
    second.send_keys(Keys.SPACE)
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(PLAYED) == 2)
    ((*_, paused, _),) = browser.execute_script(STATE, [first])
    assert paused


def test_a_page_stays_small(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is said: first the earlier grids' sounds, then some of the newest."""
    size = (run / "samples/00000000/0.wav").stat().st_size
    for room, newest, earlier, said in (
        (6, 2, 2, ""),
        (4, 2, 1, "To keep the page small, the newest grid has 2 of its 2 sounds here, those of earlier grids 1."),
        (1, 1, 0, "To keep the page small, the newest grid has 1 of its 2 sounds here, earlier grids none."),
        (0, 0, 0, "To keep the page small, the newest grid has 0 of its 2 sounds here, earlier grids none."),
    ):
        monkeypatch.setattr(importlib.import_module("gandist.report.page"), "SOUNDS_BYTES", room * size)
        html = page([str(run)], False)
        for seen, n in ((120, newest), (60, earlier), (0, earlier)):
            assert len(re.findall(f'aria-label="[^"]*beeps at {seen} sounds seen[^"]*"></audio>', html)) == n
        assert (said in html) if said else "To keep the page small, the newest" not in html
    monkeypatch.setattr("gandist.report.drawn.HEARD_BYTES", 9 * size)
    html = page([str(run)], False)
    assert "Heard: each row from left to right; to keep the page small, 4 of the 10 of each row." in html
    monkeypatch.setattr("gandist.report.drawn.HEARD_BYTES", size)
    assert "1 of the 10 of each row and 1 of 4 rows." in page([str(run)], False)


def test_each_rows_sounds_are_its_own(run: Path) -> None:
    """The sounds of an interpolation are those of the pictures: ten in a row."""
    html = page([str(run)], False)
    sources = re.findall(
        r'src="data:audio/wav;base64,([^"]*)" aria-label="class (\d), Classes of beeps, \d of 2"', html
    )
    assert [label for _, label in sources] == ["0", "1"]
    for source, _ in sources:
        sound, rate = library().read(io.BytesIO(base64.b64decode(source)), dtype="int16")
        assert rate == RATE
        step = SAMPLES + RATE // 4
        parts = [sound[first : first + SAMPLES] for first in range(0, len(sound), step)]
        assert len(parts) == 10
        assert len({part.tobytes() for part in parts}) == 10
        assert not any(sound[first + SAMPLES : first + step].any() for first in range(0, len(sound) - SAMPLES, step))


def test_without_sounds_beside_them_grids_are_shown(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "beeps"
    shutil.copytree(run, copy)
    for folder in (copy / "samples").iterdir():
        shutil.rmtree(folder) if folder.is_dir() else None
    html = page([str(copy)], False)
    assert html.count("data-seen=") == 3
    assert not re.search('sounds seen[^"]*"></audio>', html)


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocoders")
    config = humming(folder, "hum", sound_set(folder / "set"), train=BRIEF)
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    return Path(run_root(config))


def test_a_vocoders_examples_are_heard(vocoder: Path, browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Input, output and target side by side, each with its player; the target is the sound of the set."""
    file = tmp_path / "page.html"
    assert main([str(vocoder), "--out", str(file)]) == 0
    for width in (360, 1200):
        open_page(browser, file, width)
        check(browser, file)
    names = [sound.accessible_name.partition(", hum")[0] for sound in players(browser)]
    kinds = ["input", "output", "target"]
    assert names[:9] == [f"{kind} {number}" for number in (1, 2, 3) for kind in kinds]
    assert names[9:27] == [kind for _ in range(6) for kind in kinds]
    assert loaded(browser, players(browser)[:27]) == pytest.approx([SAMPLES / RATE] * 27, abs=0.01)
    first = browser.find_elements(By.CSS_SELECTOR, ".heard")[0]
    tops = {round(image.rect["y"]) for image in first.find_elements(By.TAG_NAME, "img")}
    assert len(tops) == 1
    heard = [str(sound.get_attribute("src")) for sound in first.find_elements(By.TAG_NAME, "audio")]
    assert len(set(heard)) == 3
    target = library().read(io.BytesIO(base64.b64decode(heard[2].partition("base64,")[2])), dtype="int16")[0]
    rows = dataset.open_set(config_of(vocoder), dataset.open_index(config_of(vocoder))).gather(np.arange(24))[0]
    assert any(np.array_equal(row[:, 0], target) for row in rows)
