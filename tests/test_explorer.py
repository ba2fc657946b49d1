"""The page, driven in a real browser against a real server."""

import itertools
import json
import re
from importlib.resources import files
from urllib.parse import quote

import numpy as np
import pytest

from tests.browser import CHROMIUM, browser
from tests.issued_system import build, record, write_ensemble
from tests.serving import serving
from tests.test_figures import DEUTERANOPIA, difference

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

WARM = "prob sst.anom.mean(over=middle).mean(time=lead 1..2) > 0.5 K"
DONE = "document.querySelector('#answer')?.getAttribute('aria-busy') === 'false' && document.querySelector('.headline')"

SMALL_TEXT = """
[...document.querySelectorAll('p, li, label, svg text')].filter((each) => {
  const box = each.ownerSVGElement;
  const scale = box ? box.getBoundingClientRect().width / box.viewBox.baseVal.width : 1;
  return each.getBoundingClientRect().width > 0 && parseFloat(getComputedStyle(each).fontSize) * scale < 10;
}).map((each) => each.textContent)
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    workspace = build(tmp_path_factory.mktemp("page") / "w", first=1930)
    with serving(workspace) as address:
        yield address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium, address):
    chromium.requests.clear()
    chromium.problems.clear()
    chromium.size(1280, 900)
    chromium.goto("about:blank")
    chromium.goto(f"{address}/?q={quote(WARM)}")
    chromium.until(DONE)
    yield chromium
    assert [problem for problem in chromium.problems if "422" not in problem] == []  # a refused question is no fault
    outside = [url for url in chromium.requests if not url.startswith((address, "data:", "about:", "blob:"))]
    assert outside == []


def words(page):
    return page.text("#card")


def value(page, selector):
    return page.js(f"document.querySelector({json.dumps(selector)}).value")


def write(page, selector, text):
    """Put text in the place of what a field holds, as a person would."""
    page.js(f"(() => {{ const box = document.querySelector({json.dumps(selector)}); box.focus(); box.select(); }})()")
    page.type(text)


def test_a_question_is_answered_and_its_skill_fills_in(page):
    assert "of 20 members" in page.text(".headline")
    assert value(page, "#region") == "middle"
    assert value(page, "#threshold") == "0.5 K"
    page.until("document.querySelector('#skill-chip').textContent.startsWith('skilful')")
    assert page.js("document.querySelectorAll('#reliability svg circle').length") > 3
    assert page.js("document.querySelectorAll('#past tr').length") > 15
    assert page.js("document.querySelectorAll('.dots i').length") == 20


def test_blanks_make_the_text_and_the_text_is_explained_as_it_is_typed(page):
    write(page, "#threshold", "1 K")
    page.until("document.querySelector('#text').value.endsWith('> 1 K')")
    page.until("document.querySelector('#reading').textContent.includes('above 1 K')")
    write(page, "#text", "prob sst.anom.mean(over=midle).mean(time=lead 1) > 0.5 K")
    page.until("document.querySelector('#reading').textContent.includes('Did you mean middle?')")
    write(page, "#text", "prob (sst > p66).frac(over=middle).max(time=lead 1..3) >= 30 %")
    page.until("document.querySelector('#sentence').disabled")


def test_dragging_the_threshold_counts_at_once_and_asks_on_release(page):
    page.until("document.querySelector('#exceedance svg')")
    before = value(page, "#slider")
    page.drag("#exceedance svg", 0.75, 0.4)
    page.until("document.querySelector('#text').value.includes('> -')")
    page.until(DONE)
    assert value(page, "#slider") != before
    threshold = float(value(page, "#text").rsplit("> ", 1)[1].removesuffix(" K"))
    assert -3 < threshold < 0.4
    assert f"{threshold:g} K" in words(page)


def test_the_slider_and_the_map_work_by_keyboard(page):
    page.js("document.querySelector('#slider').focus()")
    page.key("ArrowLeft")
    page.until("document.querySelector('#counted').textContent.includes('of 20 members')")
    page.until("!document.querySelector('#text').value.endsWith('> 0.5 K')")
    page.until(DONE)
    page.until("document.querySelector('#map canvas').height > 20 && document.querySelector('#map-place').textContent")
    page.js("document.querySelector('#map').focus()")
    place = page.text("#map-place")
    page.key("ArrowUp")
    assert page.text("#map-place") != place
    page.key("Enter")
    page.until("document.querySelector('#region').value.startsWith('point(4,')")
    page.until(DONE)
    assert "grid cell of 4N" in words(page)


def test_enter_asks_and_tab_reaches_every_control(page):
    write(page, "#text", "prob sst.anom.mean(over=middle).mean(time=lead 3) < 0 K")
    page.key("Enter", text="\r")
    page.until(
        "document.querySelector('.headline') && document.querySelector('#card').textContent.includes('below 0 K')"
    )
    page.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    seen = set()
    for _ in range(40):
        page.key("Tab")
        seen.add(page.js("document.activeElement.id || document.activeElement.textContent"))
    assert {"verb", "variable", "region", "window", "threshold", "text", "go", "slider", "spaghetti", "map"} <= seen


def test_a_permalink_gives_the_same_answer_also_after_a_newer_run(page, tmp_path):
    workspace = build(tmp_path / "w", first=1950)
    with serving(workspace) as address:
        page.goto(f"{address}/?q={quote(WARM)}")
        page.until(f"{DONE} && document.querySelector('#permalink')?.href.includes('as_of=')")
        link, newest = (page.js(f"document.querySelector('#{name}').href") for name in ("permalink", "newest"))
        headline = page.text(".headline")
        assert page.js("document.querySelector('#banner').hidden")
        truth = record()
        write_ensemble(workspace, truth, [truth["time_bnds"].values[-1, 1]], kind="forecast", leads=6, count=20, seed=9)
        page.goto(link)
        page.until(f"{DONE} && document.querySelector('#banner')?.hidden === false")
        assert page.text(".headline") == headline
        assert page.text("#banner").startswith("This is fc-1960-10-01 as of ")
        page.goto(newest)
        page.until(f"{DONE} && document.querySelector('#title').textContent.endsWith('fc-1961-01-01')")
        assert page.js("document.querySelector('#banner').hidden")
        page.requests.clear()


def test_a_map_is_hatched_where_past_forecasts_show_no_skill(page):
    page.until("document.querySelector('#map-summary').textContent.startsWith('From ')")
    page.click("#skill-map")
    page.until("document.querySelector('#legend').textContent.includes('no skill in past forecasts')", seconds=60)
    assert not page.js("document.querySelector('#hatched-label').hidden")
    assert page.text("#job") == ""
    page.click("#skill-map")


def test_the_question_can_be_taken_elsewhere(page):
    page.js("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    for name, begins in (("YAML", "ask: prob"), ("Python", "ask(workspace, "), ("curl", "curl 'http")):
        page.js(f"[...document.querySelectorAll('#links a')].find((a) => a.textContent === 'Copy as {name}').click()")
        page.until(f"window.copied?.startsWith({json.dumps(begins)})")


def test_two_scenarios_are_compared_on_one_axis(page, tmp_path):
    with serving(build(tmp_path / "w", hindcast_months=(), scenarios=("high", "low"))) as address:
        page.goto(f"{address}/?q={quote(WARM + ' scenario high vs low')}")
        page.until(f"{DONE} && document.querySelector('#plume svg')")
        assert "points (interval" in page.text("#difference")
        assert page.js("document.querySelectorAll('#card .dots').length") == 2
        assert page.js("document.querySelectorAll('#exceedance svg path').length") == 3
        page.requests.clear()


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA], ids=["full", "deuteranopia"])
def test_neighbouring_classes_of_the_map_differ_in_every_kind_of_vision(matrix):
    scales = re.findall(r"colours: \[([^\]]+)\]", (files("pipeline") / "data/explorer/map.js").read_text())
    assert len(scales) == 2
    for scale in scales:
        colours = re.findall(r"#[0-9a-f]{6}", scale)
        assert min(difference(*pair, matrix) for pair in itertools.pairwise(colours)) >= 10


def test_every_member_can_be_shown(page):
    page.until("document.querySelector('#plume svg')")
    lines = "document.querySelectorAll('#plume svg path').length"
    before = page.js(lines)
    page.click("#spaghetti")
    page.until(f"{lines} > {before + 10}")


def test_a_phone_has_no_sideways_scrolling_and_readable_text(page, address):
    page.size(390, 844, mobile=True)
    page.goto(f"{address}/?q={quote(WARM)}")
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    assert page.js("document.documentElement.scrollWidth") <= 390
    small = page.js(SMALL_TEXT)
    assert small == []


def test_refusals_are_shown_in_words(page, address):
    page.goto(f"{address}/?q={quote('prob sst.mean(over=middle).mean(time=lead 99) > 300 K')}")
    page.until("document.querySelector('.headline')?.textContent.includes('this forecast ends at lead 6')")
