"""What must hold on every page, wide and narrow, by mouse and by keyboard, and when the lab goes away.

Chapters that train show models that come with unmelt; test_touching.py covers training.
"""

import pytest
from lab import chromium

from unmelt.lab import chapters

NAMES = [each.name for each in chapters()]
FIRST = {
    "melting": 'pre[aria-label^="Text melted"]',
    "score": 'td[data-what^="largest share"]',
    "learning": '[role="application"] svg svg',
    "way-back": 'svg[aria-label^="24 walks"]',
    "guidance": 'img[alt^="Forty digits"]',
    "straight-paths": 'td[data-what^="energy distance"]',
    "words": 'pre[aria-label^="Masked"]',
    "few-steps": 'td[data-what="energy distance, the student, 1"]',
    "pictures": 'img[alt^="12 pictures"]',
    "drafts": 'pre[aria-label^="The text after"]',
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES]

# Words of a picture that are cut off by its edge, or lie on one another: [[the words, ...], ...]
POOR = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg[role="img"]')) {
    const edge = svg.getBoundingClientRect();
    const words = [...svg.querySelectorAll("text")].map((each) => [each.textContent, each.getBoundingClientRect()]);
    for (const [said, box] of words)
      if (Math.min(box.left - edge.left, edge.right - box.right, box.top - edge.top, edge.bottom - box.bottom) < -1)
        found.push([svg.getAttribute("aria-label"), said, "is cut off"]);
    words.forEach(([said, a], k) => words.slice(k + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 3) found.push([svg.getAttribute("aria-label"), said, "lies on", other]);
    }));
  }
  return found;
}"""

# Pictures without words for those who cannot see them; pictures only, not the small signs beside words.
SILENT = """() => [
  ...[...document.querySelectorAll("figure > svg, [role=img]")].filter((e) => !e.getAttribute("aria-label")?.trim()),
  ...[...document.querySelectorAll("img")].filter((each) => !each.alt.trim()),
].map((each) => each.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_page_opens_complete_and_labels_its_pictures(browser, lab, name, width, scheme):
    with chromium.visit(browser, lab, width=width, scheme=scheme) as visit:
        page = visit.open(name, until=FIRST[name]).page
        visit.still()
        assert page.locator("h1").inner_text() == f"{NAMES.index(name) + 1}. {chapters()[NAMES.index(name)].title}"
        assert page.evaluate(POOR) == []
        assert page.evaluate(SILENT) == []
        # Nothing is wider than the window, so that nobody has to scroll sideways.
        assert page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('#App'))") <= 1
        # Words and paper are as far apart as they should be (WCAG: 4.5).
        assert page.evaluate(CONTRAST) >= 4.5


CONTRAST = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const bright = (colour) => {
    pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((byte) => linear(byte / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = bright(getComputedStyle(document.querySelector("#App")).backgroundColor);
  const inks = [...document.querySelectorAll("h1, p, th, td, figcaption, svg text")].map((each) => {
    const style = getComputedStyle(each);
    return bright(each instanceof SVGElement ? style.fill : style.color);
  });
  return Math.min(...inks.map((ink) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)));
}"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "words"])
def test_every_slider_has_a_name_and_moves_by_arrow_keys(browser, lab, name):
    with chromium.visit(browser, lab) as visit:
        page = visit.open(name, until=FIRST[name]).page
        visit.still()
        sliders = page.get_by_role("slider")
        assert sliders.count() > 0 or name == "straight-paths"
        for k in range(sliders.count()):
            thumb = sliders.nth(k)
            named = thumb.evaluate(
                "e => e.getAttribute('aria-label') || e.getRootNode().getElementById(e.getAttribute('aria-labelledby'))"
                "?.textContent || e.getRootNode().textContent"
            )
            assert named.strip()
            before = thumb.get_attribute("aria-valuenow")
            thumb.focus()
            page.keyboard.press("ArrowRight")
            if thumb.get_attribute("aria-valuenow") == before:  # it stood at its end
                page.keyboard.press("ArrowLeft")
            visit.until(lambda thumb=thumb, before=before: thumb.get_attribute("aria-valuenow") != before)
        visit.still()


@pytest.mark.slow
def test_a_page_shows_that_its_lab_was_killed_and_reconnects(browser, tmp_path):
    port = chromium.free_port()
    with chromium.served(port=port, UNMELT_CACHE=str(tmp_path)) as (process, address):
        visit = chromium.Visit(browser, address)  # its page will complain, and should
        visit.open("melting", until=FIRST["melting"])
        visit.still()
        process.kill()
        process.wait()
        visit.page.get_by_text("kernel not found").wait_for()
    with chromium.served(port=port, UNMELT_CACHE=str(tmp_path)) as (_, address):  # at once, on the same port
        visit.page.reload()
        visit.page.wait_for_selector(FIRST["melting"])
        before = visit.measured("distance between the modes")
        visit.drag(0.7)
        visit.until(lambda: visit.measured("distance between the modes")[0] < 0.8 * before[0])
        visit.context.close()


@pytest.mark.slow
def test_an_unwritable_cache_is_reported_on_the_page(browser):
    with (
        chromium.served(UNMELT_CACHE="/proc/nowhere") as (_, address),
        chromium.visit(browser, address) as visit,
    ):
        page = visit.open("guidance", until=FIRST["guidance"]).page
        page.get_by_role("button", name="Learn the digits").click()
        page.get_by_text("UNMELT_CACHE=/tmp/unmelt unmelt lab").wait_for()
