"""Chapter 1 in a real browser: the slider is dragged, and numbers and pictures match the closed forms."""

import math
import os
import subprocess
import sys

import pytest
from lab import chromium


def spread(dots):
    """Standard deviation over both coordinates, in units of the picture."""
    middle = [sum(each) / len(dots) for each in zip(*dots, strict=True)]
    return math.sqrt(sum((x - middle[0]) ** 2 + (y - middle[1]) ** 2 for x, y in dots) / (2 * len(dots)))


def test_the_ring_melts_as_the_slider_is_dragged(visitor):
    page = visitor.open("melting", until='svg[aria-label^="Six clusters"]')
    page.page.wait_for_selector('pre[aria-label^="Text melted"]')
    before = page.measured("distance between the modes")
    assert before[0] == pytest.approx(4 * math.cos(math.pi / 8), abs=1e-3)

    page.drag(0.6)
    page.until(lambda: page.measured("distance between the modes")[0] < 0.8 * before[0])
    t = float(page.page.get_by_role("slider").first.get_attribute("aria-valuenow"))
    assert 0.5 < t < 0.7
    page.picture(f"Six clusters of points on a ring, melted to t = {t:g}").wait_for()
    alpha = math.cos(math.pi / 2 * t)
    closed, measured = page.measured("distance between the modes")
    assert closed == pytest.approx(4 * alpha, abs=1e-3)
    assert abs(measured - closed) < 4 * math.sqrt((0.3 * alpha) ** 2 + 1 - alpha**2) * math.sqrt(4 / 2000)
    closed, measured = page.measured("standard deviation of the noise")
    assert closed == pytest.approx(math.sqrt(1 - alpha**2), abs=1e-3)
    assert measured == pytest.approx(closed, rel=4 / math.sqrt(2 * 2000))

    # What is drawn: each cluster's dots are as wide as they should be, in units of which the picture has 8 across.
    _, _, width, height = area(page, "Six clusters")
    clusters = [chromium.points(d) for d in page.drawn("Six clusters", 'path[stroke-linecap="round"]')]
    assert len(clusters) == 6
    assert sum(map(len, clusters)) > 1980  # a few lie outside
    sd = math.sqrt((0.15 * alpha) ** 2 + 1 - alpha**2)
    for dots in clusters:
        scaled = [(x * 8 / width, y * 8 / height) for x, y in dots]
        assert spread(scaled) == pytest.approx(sd, rel=0.15)
    masked = page.page.locator('pre [data-kind="masked"]').evaluate_all("all => all.map(e => e.textContent.length)")
    whole = page.page.locator("pre").evaluate("each => each.textContent.length")
    assert sum(masked) / whole == pytest.approx(t, abs=0.12)


def area(page, words):
    inner = page.picture(words).locator("svg")
    return tuple(float(inner.get_attribute(name)) for name in ("x", "y", "width", "height"))


def test_the_slider_and_the_schedule_work_by_keyboard(visitor):
    page = visitor.open("melting", until='svg[aria-label^="Six clusters"]')
    slider = page.page.get_by_role("slider").first
    slider.focus()
    page.page.keyboard.press("Home")
    page.until(lambda: page.measured("distance between the modes")[0] == 4.0)
    assert page.measured("standard deviation of the noise") == (0.0, 0.0)
    page.page.get_by_label("schedule", exact=True).first.select_option("exponential")
    page.page.keyboard.press("Tab")
    slider.focus()
    for _ in range(25):
        page.page.keyboard.press("ArrowRight")
    page.until(lambda: page.measured("distance between the modes")[0] == pytest.approx(4 * math.exp(-0.75), abs=1e-3))


def test_the_contents_page_links_to_the_chapter(visitor):
    page = visitor.open(until="h1").page
    page.get_by_role("link", name="Melting").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector('svg[aria-label^="Signal and noise"]')
    assert page.url.endswith("/melting/")
    page.get_by_role("link", name="Contents").click()
    page.wait_for_selector("text=The unmelt lab")


def test_without_a_browser_the_tests_are_skipped_with_a_warning(tmp_path):
    words = [sys.executable, "-m", "pytest", __file__, "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "links_to"]
    nowhere = {"PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "UNMELT_CHROMIUM": ""}
    found = subprocess.run(words, env={**os.environ, **nowhere}, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 skipped" in found.stdout
    assert "! THE LAB WAS NOT TESTED IN A BROWSER: there is no Chromium" in found.stdout


def test_a_browser_is_found_at_any_usual_place(monkeypatch, tmp_path):
    mine = tmp_path / "google-chrome"
    mine.write_text("#!/bin/sh\n", encoding="utf-8")
    mine.chmod(0o755)
    monkeypatch.delenv("UNMELT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.found() == str(mine)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("UNMELT_CHROMIUM", str(mine))
    assert chromium.found() == str(mine)
