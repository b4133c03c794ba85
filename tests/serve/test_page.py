"""The page of a server in a real browser: pictures appear from noise, gaps are filled, work is stopped."""

import base64
import io
import json
import time
import urllib.request

import numpy as np
import pytest
from lab import chromium
from PIL import Image
from running import served

import unmelt as um
from unmelt.serve import ServerSettings
from unmelt.shipped import PLACE

pytest.importorskip("fastapi")

KEY = "a key"

RECORD = """() => {
  window.seen = {};
  new MutationObserver((changes) => {
    for (const { target } of changes) (window.seen[target.alt] ??= []).push(target.src);
  }).observe(document.getElementById("pictures"), { subtree: true, attributes: true, attributeFilter: ["src"] });
}"""
"""Remember what each picture showed."""


@pytest.fixture(scope="module")
def models():
    lab = PLACE / "lab"
    return {
        "digits": um.load("digits", "cpu"),
        "code": um.load(lab / "code", "cpu"),
        "emoji": um.load("emoji", "cpu"),
    }


@pytest.fixture(scope="module")
def address(models):
    with served(models, ServerSettings(steps=10_000)) as address:
        yield f"{address}/"


@pytest.fixture
def visitor(browser, address):
    with chromium.visit(browser, address) as visit:
        yield visit.open(until="#draw")


def pixels(source):
    content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def rows_in_flight(address):
    lines = urllib.request.urlopen(f"{address}metrics").read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("unmelt_rows_in_flight "))


def test_pictures_of_a_class_appear_from_noise(visitor, models):
    page = visitor.page
    assert not page.locator("#prompt-line").is_visible()  # it learned classes and no captions
    page.select_option("#class", "5")
    for name, value in (("number", 2), ("steps", 20), ("guidance", 3), ("seed", 4)):
        page.fill(f"#{name}", str(value))
    page.evaluate(RECORD)
    page.click("#draw")
    page.wait_for_selector("#stop", state="visible")
    visitor.until(lambda: page.locator('img[data-state="completed"]').count() == 2)
    page.wait_for_selector("#stop", state="hidden")
    seen = page.evaluate("window.seen")
    assert set(seen) == {"5, seed 4", "5, seed 5"}
    for seed in (4, 5):
        shown = [pixels(each) for each in seen[f"5, seed {seed}"]]
        end = models["digits"].sample(1, label="5", guidance=3.0, steps=20, seed=seed)[0, 0]
        assert np.abs(shown[-1] - (end * 255).round().int().numpy()).max() <= 1
        distances = [np.abs(each - shown[-1]).mean() for each in shown]
        assert len(shown) >= 3
        assert distances[0] > 30 > distances[-2]  # of 255: noise at first, nearly there before the last


@pytest.mark.parametrize("planned", [True, False])
def test_a_sentence_becomes_a_picture_by_a_plan(visitor, models, planned):
    page = visitor.page
    page.select_option("#model", "emoji")
    page.fill("#prompt", "a red star above a blue cat")
    page.set_checked("#plan", planned)
    for name, value in (("number", 1), ("steps", 6), ("guidance", 2), ("seed", 4)):
        page.fill(f"#{name}", str(value))
    page.click("#draw")
    visitor.until(lambda: page.locator('img[data-state="completed"]').count() == 1)
    shown = pixels(page.locator("#pictures img").get_attribute("src"))
    asked = {"prompt": "a red star above a blue cat", "plan": planned, "guidance": 2.0, "steps": 6, "seed": 4}
    wanted = models["emoji"].sample(1, **asked)[0]
    assert np.abs(shown - (wanted.permute(1, 2, 0) * 255).round().int().numpy()).max() <= 1


DROP = """([bytes, name]) => {
  const given = new DataTransfer();
  given.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true }));
}"""


def test_pictures_are_made_of_a_dropped_one(visitor, models):
    page, start = visitor.page, models["digits"].sample(1, label="8", seed=0)
    content = io.BytesIO()
    Image.fromarray((start[0, 0] * 255).round().byte().numpy()).save(content, "PNG")
    page.evaluate(DROP, [list(content.getvalue()), "eight.png"])
    page.wait_for_selector("#dropped", state="visible")
    page.select_option("#class", "3")
    for name, value in (("number", 1), ("steps", 20), ("guidance", 3), ("seed", 4), ("strength", 0.5)):
        page.fill(f"#{name}", str(value))
    page.evaluate(RECORD)
    page.click("#draw")
    visitor.until(lambda: page.locator('img[data-state="completed"]').count() == 1)
    (shown,) = page.evaluate("window.seen").values()
    given = (start * 255).round() / 255
    wanted = models["digits"].edit(given, strength=0.5, label="3", guidance=3.0, steps=20, seed=4)
    assert np.abs(pixels(shown[-1]) - (wanted[0, 0] * 255).round().int().numpy()).max() <= 1
    assert len(shown) >= 3
    page.click("#forget")
    page.wait_for_selector("#dropped", state="hidden")


def test_gaps_in_a_text_are_filled_from_the_first_to_the_last(visitor, address):
    page = visitor.page
    page.select_option("#model", "code")
    page.fill("#draft", "def add(")
    page.click("#gap")
    page.locator("#draft").press_sequentially("):\n    return ")
    page.click("#gap")
    assert page.input_value("#draft") == "def add([...]):\n    return [...]"
    for name, value in (("tokens", 6), ("text-seed", 3)):
        page.fill(f"#{name}", str(value))
    page.click("#write")
    page.wait_for_selector("#stop", state="visible")
    page.wait_for_selector("#stop", state="hidden")
    first, second = page.locator("#written mark").all_text_contents()
    assert page.locator("#written").text_content() == f"def add({first}):\n    return {second}"
    asked = {"model": "code", "max_tokens": 6, "seed": 3}
    for body, wanted in (
        ({"prompt": "def add(", "suffix": "):\n    return "}, first),
        ({"prompt": f"def add({first}):\n    return "}, second),
    ):
        content = json.dumps({**asked, **body}).encode()
        sent = urllib.request.Request(f"{address}v1/completions", content, {"Content-Type": "application/json"})
        assert json.load(urllib.request.urlopen(sent))["choices"][0]["text"] == wanted
    assert first


def test_stopped_pictures_free_their_rows(visitor, address):
    page = visitor.page
    page.fill("#steps", "10000")
    page.click("#draw")
    visitor.until(lambda: rows_in_flight(address) == 4)
    page.click("#stop")
    visitor.until(lambda: rows_in_flight(address) == 0, seconds=5)
    assert not page.locator("#problem").is_visible()


def test_mistakes_are_shown(visitor):
    page = visitor.page
    page.fill("#steps", "20000")
    page.click("#draw")
    page.wait_for_selector("#problem", state="visible")
    assert "at most 10000" in page.locator("#problem").text_content()
    visitor.until(lambda: visitor.complaints)  # the browser itself reports each refusal on its console
    assert all("400" in each for each in visitor.complaints)
    visitor.complaints.clear()
    time.sleep(0.2)
    visitor.complaints.clear()


def test_a_server_with_a_key_asks_for_it(browser, models):
    with served(models, ServerSettings(api_key=KEY)) as address, chromium.visit(browser, f"{address}/") as visit:
        page = visit.open(until="#key").page
        page.wait_for_selector("#problem", state="visible")
        assert page.locator("#model option").count() == 0
        page.fill("#key", KEY)
        page.press("#key", "Tab")
        visit.until(lambda: page.locator("#model option").count() == 3)
        assert not page.locator("#problem").is_visible()
        assert all("401" in each for each in visit.complaints)
        visit.complaints.clear()


def test_the_page_runs_no_scripts_of_others(address):
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
