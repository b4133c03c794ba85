"""Chapters 2 to 9 in a real browser: points are dropped, densities drawn, sliders dragged, models trained.

What a button trains is trained here, so this takes minutes.
"""

import math
import re

import pytest
from lab import chromium

pytestmark = pytest.mark.slow


@pytest.fixture
def at(browser, lab):
    """Opens chapters; no page may have complained by the end."""
    opened = []

    def go(name, until="figure svg"):
        opened.append(chromium.Visit(browser, lab))
        return opened[-1].open(name, until)

    yield go
    for visit in opened:
        visit.close()


def text_of(page, what):
    return page.page.locator(f'[data-what="{what}"]').first.inner_text()


def press(page, name):
    page.page.get_by_role("button", name=name).click()


def test_a_dropped_point_follows_the_score_to_the_data(at):
    page = at("score", until='[role="application"] svg svg')
    box = page.page.get_by_role("application").locator("svg").first.bounding_box()
    scale = box["width"] / 420
    # (-3, 0.5) in the data: the area is 44 units from the left, 364 wide; 8 from the top, 364 high.
    page.page.mouse.click(box["x"] + scale * (44 + 364 / 8), box["y"] + scale * (8 + 364 * 3.5 / 8))
    page.until(lambda: "Arrived at (-2" in page.page.inner_text("body"))
    x, y = map(float, re.search(r"Arrived at \((-?[\d.]+), (-?[\d.]+)\)", page.page.inner_text("body")).groups())
    assert math.hypot(x + 2, y) < 0.45  # the cluster at (-2, 0)
    start = chromium.points(page.drawn("Arrows of the score", 'path[data-name="the walk home"]')[0].split("L")[0])[0]
    assert start == pytest.approx((364 / 8, 364 * 3.5 / 8), abs=2)

    # By keyboard: down and to the right, as far as another cluster.
    page.page.get_by_role("application").focus()
    for key in ["Shift+ArrowDown"] * 4 + ["Shift+ArrowRight"] * 7:
        page.page.keyboard.press(key)
    page.until(lambda: "Arrived at (1." in page.page.inner_text("body") or "(0." in page.page.inner_text("body"))

    # Gradient and belief agree at the point, whatever the noise.
    before = page.measured("score, x")
    page.drag(0.2)
    page.until(lambda: page.measured("score, x") != before)
    for what in ("score, x", "score, y", "−noise / σ, x", "−noise / σ, y"):
        closed, measured = page.measured(what)
        assert measured == pytest.approx(closed, abs=2e-3)

    # Langevin ends in the clusters.
    page.page.wait_for_selector('td[data-what^="distance from the nearest"]')
    closed, measured = page.measured("distance from the nearest")
    assert measured == pytest.approx(closed, rel=0.25)


def test_a_network_learns_the_density_that_the_reader_draws(at):
    page = at("learning", until='[role="application"] svg svg')
    press(page, "Train on the ring")
    page.until(lambda: page.page.locator('[data-what="steps"]').count() and int(text_of(page, "steps")) >= 50)
    early = float(text_of(page, "apart"))
    page.until(lambda: int(text_of(page, "steps")) == 800, 120)
    assert float(text_of(page, "apart")) < 0.75 * early

    page.page.wait_for_selector('svg[aria-label^="1,000 points: drawn from the network"]')
    page.still()
    page.page.get_by_role("button", name="Clear the drawing").click()
    page.page.get_by_role("application").scroll_into_view_if_needed()
    box = page.page.get_by_role("application").locator("svg").first.bounding_box()
    scale = box["width"] / 420

    def place(x, y):
        return box["x"] + scale * (44 + 364 * (x + 4) / 8), box["y"] + scale * (8 + 364 * (4 - y) / 8)

    page.page.mouse.move(*place(-3, 3))
    page.page.mouse.down()
    page.page.mouse.move(*place(3, 3), steps=40)  # a line along the top
    page.page.mouse.up()
    page.page.wait_for_timeout(500)
    press(page, "Train on the drawing")
    picture = "1,000 points of the drawing: drawn from the network"
    page.page.wait_for_selector(f'svg[aria-label^="{picture}"]', timeout=180_000)
    dots = chromium.points(page.drawn(picture, 'path[stroke-linecap="round"]')[0])
    inner = page.picture(picture).locator("svg")
    height, width = (float(inner.get_attribute(name)) for name in ("height", "width"))
    y = sorted(4 - 8 * down / height for _, down in dots)
    x = sorted(8 * across / width - 4 for across, _ in dots)
    assert len(dots) > 950
    assert y[len(y) // 2] == pytest.approx(3, abs=0.15)
    assert x[len(x) // 10] < -1.8 < 1.8 < x[-len(x) // 10]


def test_more_evaluations_have_less_error(at):
    page = at("way-back", until='svg[aria-label^="default with 6 evaluations"]')
    errors = r"aria-label=\"(\w+)[^\"]*evaluations: its ends beside the exact ones, error ([\d.]+)\""
    few = dict(re.findall(errors, page.page.content()))
    page.drag(0.9)
    page.page.wait_for_selector('svg[aria-label^="default with 3"]')
    page.until(lambda: len(dict(re.findall(errors, page.page.content()))) == 4)
    many = dict(re.findall(errors, page.page.content()))
    assert few.keys() == many.keys() == {"Euler", "Heun", "DPM", "default"}
    assert all(float(many[name]) < float(few[name]) / 3 for name in few)
    press(page, "Tune for")
    page.page.wait_for_selector('td[data-what="error with 8 evaluations"]', timeout=120_000)
    for n in (3, 4, 5, 6, 8):
        default, tuned = page.measured(f"error with {n} evaluations")
        assert tuned < default
    # Fresh noise: one start has one end without it, and several with.
    assert text_of(page, "reached without") == "1"
    assert int(text_of(page, "reached")) >= 2
    page.drag(0.0, which=1)
    page.until(lambda: text_of(page, "reached") == "1")


def test_guidance_reduces_diversity(at):
    page = at("guidance", until='td[data-what^="kinds of sample"]')
    page.still()
    assert page.measured("kinds of sample")[1] == pytest.approx(3, abs=0.05)
    page.drag(0.75)
    page.until(lambda: page.measured("kinds of sample")[1] < 2.2)
    assert page.measured("mean distance from the middle")[1] > 2.4
    page.page.wait_for_selector('img[alt^="Forty digits"]')  # by the model that comes with unmelt
    press(page, "Learn the digits here")
    page.page.wait_for_selector("text=Learning the digits", timeout=120_000)  # a bar, while it does
    page.page.wait_for_selector("text=Learning the digits", state="detached", timeout=600_000)
    few, near = "kinds: different real digits", "from a real digit to the nearest"
    assert page.measured("classified as this digit")[1] > 0.95
    kinds, missed = page.measured(few)[1], page.measured(near)[1]
    page.drag(0.75, which=3)
    page.page.wait_for_selector("text=Guided with w = 6 while t is between 0 and 1. >> nth=1")
    page.still()
    guided, far = page.measured(few)[1], page.measured(near)[1]
    assert guided < 0.85 * kinds
    assert far > 1.2 * missed
    # Only at low noise: less of what is real is missed.
    page.drag(0.5, which=5)
    page.until(lambda: page.measured(near)[1] < 0.95 * far, 120)
    assert page.measured(few)[1] >= guided


def test_optimal_transport_needs_one_step(at):
    page = at("straight-paths", until='svg[aria-label^="80 paths"]')
    page.page.get_by_role("switch").click()
    page.page.wait_for_selector('svg[aria-label$="cosine, divided by alpha plus sigma"]')
    ends = [
        page.drawn(f"80 paths from noise to the ring on the schedule {name}", 'path[stroke-linecap="round"]')[1]
        for name in ("flow matching", "cosine")
    ]
    assert all(
        math.dist(a, b) < 0.5 for a, b in zip(*map(chromium.points, ends), strict=True)
    )  # the same curves, to half a unit of the picture
    page.page.wait_for_selector('td[data-what^="energy distance"]')
    press(page, "Learn both ways here")
    page.page.wait_for_selector("text=Learning with pairs", timeout=120_000)
    page.page.wait_for_selector("text=Learning with pairs", state="detached", timeout=400_000)
    page.still()  # the second network begins after the first has gone
    assert page.measured("energy distance, at random")[1] > 10 * page.measured("energy distance, optimal transport")[1]
    page.drag(1.0)
    page.until(lambda: page.measured("energy distance, at random")[1] < 0.1)
    assert page.measured("straightness S (0 is straight)")[1] < 0.1 * page.measured("straightness S (0 is straight)")[0]


def test_tokens_are_unmasked_in_parallel(at):
    page = at("words", until='pre[aria-label^="Masked"]')
    page.drag(0.0, which=1)
    page.until(lambda: int(text_of(page, "masked")) < 10)
    few = int(text_of(page, "masked"))
    page.drag(1.0, which=1)
    page.until(lambda: int(text_of(page, "masked")) == 64)
    assert few < int(text_of(page, "autoregressive")) < 30  # one token per pass, after 16 passes and a prompt
    assert page.page.locator('pre[aria-label^="Masked"] [data-kind="masked"]').count() == 0
    # A gap where the reader puts it.
    page.page.locator("textarea").fill("for i in [gap](10):\n    print(i)")
    page.page.locator("textarea").blur()
    filled = 'pre[aria-label^="Masked: sees both sides: for i in "]'
    page.page.wait_for_selector(filled)
    for made in page.page.locator(filled).all_inner_texts():
        assert made.startswith("for i in ")
        assert made.endswith("(10):\n    print(i)")
    page.page.locator("textarea").fill("nothing to fill")
    page.page.locator("textarea").blur()
    page.page.wait_for_selector("text=a marker where the gap is")


def test_a_student_jumps_where_its_teacher_cannot(at):
    page = at("few-steps", until='svg[aria-label^="600 starts"]')
    assert page.measured("energy distance, 1 Euler step")[1] > 1
    page.still()  # what is still to come below would move the slider
    page.drag(1.0)
    page.until(lambda: page.page.locator('td[data-what="energy distance, 50 Euler steps"]').count() > 0)
    assert page.measured("energy distance, 50 Euler steps")[1] < 0.1
    for name in ("coordinate 1", "coordinate 2"):
        velocity, average = page.measured(name)
        assert average == pytest.approx(velocity, abs=2e-3)
    page.page.wait_for_selector('td[data-what="energy distance, the student, 1"]')
    press(page, "Learn to jump here")
    page.page.wait_for_selector("text=The student learns", timeout=600_000)
    page.page.wait_for_selector("text=The student learns", state="detached", timeout=600_000)
    assert page.measured("energy distance, the student, 1")[1] < 0.1
    assert page.measured("energy distance, the teacher, 1")[1] > 1
    assert page.measured("San York")[1] == pytest.approx(0.25, abs=0.03)


def test_a_sentence_becomes_pictures(at):
    page = at("pictures", until='img[alt^="12 pictures of a red star above a blue cat at step"]')
    assert page.measured("all")[1] > 0.5
    field = page.page.get_by_role("textbox").first  # the other holds the seed
    field.fill("two red stars")
    field.blur()
    page.page.wait_for_selector('img[alt^="12 pictures of two red stars"]')
    page.page.wait_for_selector("text=two red stars | 2 red star")
    assert page.measured("all")[1] > 0.5
    field.fill("a zebra")
    field.blur()
    page.page.wait_for_selector("text=unknown: 'zebra'")
