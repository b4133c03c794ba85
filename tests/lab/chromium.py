"""A lab on a port of its own, and a Chromium to visit it: what the tests, the screenshots and the bench share.

The browser is Debian's, or another by a usual name, or where UNMELT_CHROMIUM says, or the one that Playwright brought.

Whatever a page says on the console as an error, throws, or asks of another machine is remembered, and fails the visit.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"


def found():
    """The path of a browser, or None."""
    if told := os.environ.get("UNMELT_CHROMIUM"):
        return shutil.which(told)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


CHROMIUM = found()
QUIETLY = "quic", "background-networking", "component-update", "sync", "gpu"
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{each}" for each in QUIETLY)]

TRACK = """thumb => {
  let around = thumb;
  while (!around.querySelector('[data-testid="track"]')) around = around.parentNode;
  const box = around.querySelector('[data-testid="track"]').getBoundingClientRect();
  return [box.left, box.width];
}"""

MISSING = (
    "THE LAB WAS NOT TESTED IN A BROWSER: pip install playwright"
    if find_spec("playwright") is None
    else "THE LAB WAS NOT TESTED IN A BROWSER: there is no Chromium (apt-get install chromium, or make test-lab)"
    if CHROMIUM is None
    else ""
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def served(*options, port=None, **environment):
    """A running `unmelt lab`: (its process, its address)."""
    port = port or free_port()
    command = [sys.executable, "-m", "unmelt.cli", "lab", "--no-browser", "--port", str(port), *options]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, process)
        yield process, address
    finally:
        process.kill()
        process.wait()


def wait_for(address, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(address + "lab.json", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no lab at {address} after {seconds} s")


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


class Visit:
    """A page of the lab in a browser window; `complaints` must stay empty."""

    def __init__(self, browser, address, width=1280, height=900, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page, self.address, self.complaints = self.context.new_page(), address, []
        self.page.set_default_timeout(180_000)  # a busy machine
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"threw {error}"))
        self.page.on("request", self._asked)

    def _said(self, message):
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"asked for {request.url}")

    def open(self, name="", until="figure svg"):
        self.page.goto(f"{self.address}{name}/" if name else self.address)
        self.page.wait_for_selector(until, timeout=900_000)  # what it trains first may take minutes on a busy machine
        return self

    def picture(self, words):
        """The picture whose description begins with these words."""
        return self.page.locator(f'svg[aria-label^="{words}"]').first

    def drawn(self, words, part="path[data-name], svg path"):
        """The path data of a picture, in order."""
        return self.picture(words).locator(part).evaluate_all("all => all.map(each => each.getAttribute('d'))")

    def measured(self, what):
        """(closed form, measured) from the table row of this quantity."""
        cells = self.page.locator(f'td[data-what^="{what}"]')
        return tuple(float(cells.nth(k).inner_text().replace("\u2212", "-")) for k in (0, 1))

    def slider(self, which=0):
        """(a slider's thumb, (left, width) of its track), scrolled into view."""
        thumb = self.page.get_by_role("slider").nth(which)
        thumb.scroll_into_view_if_needed()
        return thumb, thumb.evaluate(TRACK)

    def drag(self, share, which=0):
        """Drag a slider's thumb along its track with the mouse."""
        thumb, (left, width) = self.slider(which)
        box = thumb.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.mouse.down()
        self.page.mouse.move(left + share * width, box["y"] + box["height"] / 2, steps=8)
        self.page.mouse.up()

    def until(self, condition, seconds=30):
        """Wait until the condition holds, polling it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("it never came to be so")

    def still(self, seconds=1.5, at_most=600):
        """Wait until nothing on the page has changed for this long and no progress bar is shown."""
        end, since, before = time.monotonic() + at_most, time.monotonic(), None
        while time.monotonic() < end:
            now = self.page.evaluate("document.body.innerHTML + document.querySelectorAll('progress').length")
            if now != before:
                since, before = time.monotonic(), now
            elif time.monotonic() - since > seconds:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("it never came to rest")

    def close(self):
        self.context.close()
        assert not self.complaints, self.complaints


@contextmanager
def visit(browser, address, **settings):
    found = Visit(browser, address, **settings)
    try:
        yield found
    except BaseException:
        found.context.close()
        if found.complaints:
            print(found.complaints)
        raise
    found.close()


def points(path):
    """The dots of a path, in units of the picture."""
    return [tuple(map(float, each.split(" "))) for each in path.replace("h0", "").split("M")[1:]]
