"""The page, driven in a real browser against a real server."""

import json
from urllib.parse import quote

import pytest

from tests.browser import CHROMIUM, browser
from tests.issued_system import build
from tests.serving import serving

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


def test_a_permalink_gives_the_same_answer_and_an_old_one_says_so(page, address):
    link = page.js("document.querySelector('#permalink').href")
    headline = page.text(".headline")
    assert "snapshot=" in link
    assert "forecast=fc-1960-10-01" in link
    page.goto(link)
    page.until(f"{DONE} && document.querySelector('.headline').textContent === {json.dumps(headline)}")
    assert page.js("document.querySelector('#banner').hidden")
    page.goto("about:blank")
    page.goto(link.split("&snapshot=")[0] + "&snapshot=OLD")
    page.until("document.querySelector('#banner')?.hidden === false")
    assert "newer run" in page.text("#banner")


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
