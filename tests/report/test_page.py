"""The page: what it says, that it asks for nothing, and that a real browser shows every plot in light and dark."""

import html
import json
import re
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from thalweg.report import render

from .conftest import CERTIFICATE, RECORD, evidence

HEIGHT = 4600


@pytest.fixture(scope="module")
def page(kind):
    return render(evidence(kind, labels=kind == (6, 8)), CERTIFICATE, RECORD)


class Tags(HTMLParser):
    """Collects tags and their attributes, and notices what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in {"meta", "link", "img", "input", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_whole_and_asks_for_nothing(page):
    tags = Tags(page)
    assert not tags.open
    for _, attributes in tags.found:
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            value = attributes.get(name, "")
            assert not value or value.startswith(("data:", "#")), value
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    names = re.findall(r'\sid="([^"]*)"', page)
    assert len(names) == len(set(names))


def test_everything_that_is_seen_has_words(page):
    for tag, attributes in Tags(page).found:
        if tag == "img":
            assert attributes["alt"]
        if tag in ("canvas", "svg"):
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


def test_the_verdict_comes_first_and_the_marks_are_words(page):
    assert 0 < page.index("1 of 2 checks fail") < page.index("<h2")
    for mark in ("✓ holds", "✗ fails", "– not tested"):
        assert mark in page
    assert "1.5 ± 0.1" in page


def test_what_was_typed_is_shown_as_text(page):
    assert "<title>cells &lt;1&gt;" in page
    assert html.escape(CERTIFICATE["verdict"]) in page
    assert "a &lt; b &amp; c" in page
    assert "thalweg fit --target cells.csv --out run\nthalweg report run" in page
    assert "ab" * 32 in page


def test_without_training_there_is_no_plot_of_it():
    import dataclasses

    bare = dataclasses.replace(evidence((2,), sde=False), loss=np.zeros(0), grad_norm=np.zeros(0))
    text = render(bare, CERTIFICATE, RECORD)
    assert "gradient norm" not in text
    assert text.count("<canvas") == 1


# Appended to a copy of the page: where each drawing is, and the errors that a page itself can see.
PROBE = """<pre id="probe" style="display:none"></pre><script>
addEventListener("load", () => setTimeout(() => {
  const boxes = [...document.querySelectorAll("main img, main svg, main canvas")].map((e) => {
    const b = e.getBoundingClientRect();
    return [e.tagName.toLowerCase(), b.left, b.top, b.width, b.height];
  });
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.getElementById("probe").textContent = JSON.stringify({ boxes, wide });
}, 300));
</script></body>"""


def visit(chromium, text, folder, *, dark=False, width=1200):
    """Open a page: where its drawings are, the screenshot, and what it wrote to the console."""
    (folder / "page.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
        *("--force-prefers-reduced-motion", "--enable-logging=stderr", "--virtual-time-budget=3000"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{HEIGHT}"),
        *(f"--screenshot={folder / 'page.png'}", "--dump-dom"),
        (folder / "page.html").as_uri() + ("?theme=dark" if dark else "?theme=light"),
    )
    done = subprocess.run([chromium, *options], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(html.unescape(re.search(r'<pre id="probe"[^>]*>(.*?)</pre>', done.stdout, re.S).group(1)))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    with Image.open(folder / "page.png") as image:
        return found, np.asarray(image.convert("RGB")), console


@pytest.mark.chromium
@pytest.mark.parametrize(
    ("event", "dark"), [((1,), False), ((2,), True), ((6, 8), False), ((6, 8), True), ((5, 4, 3), True)]
)
def test_in_a_browser(event, dark, chromium, tmp_path):
    page = render(evidence(event, labels=event == (6, 8)), CERTIFICATE, RECORD)
    found, screen, console = visit(chromium, page, tmp_path, dark=dark)
    assert not console
    assert not found["wide"]
    background = screen[2, 2].astype(int)
    assert (background.max() < 60) if dark else (background.min() > 230)
    assert len(found["boxes"]) >= 4
    for tag, left, top, width, height in found["boxes"]:
        assert top + height < HEIGHT
        box = screen[round(top) : round(top + height), round(left) : round(left + width)].reshape(-1, 3).astype(int)
        assert len(box) > 5000, tag
        # Drawn on, and not only with an edge: many pixels are far from the one that is there most often.
        colours, counts = np.unique(box, axis=0, return_counts=True)
        away = np.abs(box - colours[counts.argmax()]).max(axis=1) > 40
        assert away.mean() > 0.001, (tag, away.mean())
        assert len(colours) > 8, tag


@pytest.mark.chromium
@pytest.mark.parametrize("event", [(2,), (6, 8)])
def test_on_a_telephone_nothing_sticks_out(event, chromium, tmp_path):
    page = render(evidence(event), CERTIFICATE, RECORD)
    found, _, console = visit(chromium, page, tmp_path, width=500)
    assert not console
    assert not found["wide"]


@pytest.mark.chromium
def test_the_browser_test_can_fail(chromium, tmp_path):
    """An error in the page is seen, so that its absence means something."""
    broken = "<!doctype html><html><body><main><canvas></canvas></main><script>nowhere();</script></body></html>"
    found, _, console = visit(chromium, broken, tmp_path)
    assert any("nowhere is not defined" in line for line in console)
    assert len(found["boxes"]) == 1
