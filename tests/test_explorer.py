"""The page, driven in a real browser against a real server."""

import itertools
import json
import re
import time
from importlib.resources import files
from urllib.parse import quote

import cftime
import httpx
import numpy as np
import pytest

from pipeline import ask
from pipeline.answers.headline import percent, points
from pipeline.answers.skill_field import VERDICTS
from pipeline.reporting.palette import difference_classes
from pipeline.service import Limits
from tests.browser import CHROMIUM, browser, wait_for
from tests.issued_system import build, calibrate, record, write_ensemble
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
def workspace(tmp_path_factory):
    return build(tmp_path_factory.mktemp("page") / "w", first=1930)


@pytest.fixture(scope="module")
def address(workspace):
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
    page.until("document.querySelector('.skill-chip').textContent.startsWith('skilful')")
    assert page.js("document.querySelectorAll('#reliability svg circle').length") > 3
    assert page.js("document.querySelectorAll('#past tr').length") > 15
    assert page.js("document.querySelectorAll('.dots i').length") == 20


def test_a_probability_is_told_in_words_too(chromium, tmp_path):
    workspace = build(tmp_path / "w")
    calibrate(workspace)
    with serving(workspace) as address:
        chromium.goto(f"{address}/?q={quote('prob sst.anom.mean(over=middle).mean(time=lead 1) > 0 K')}")
        chromium.until("document.querySelector('.chips')?.textContent.includes('unlikely (scale of the IPCC)')")
        assert chromium.text(".headline").startswith("Probability")


def test_members_without_the_condition_are_no_pooled_ones(page, address, workspace):
    given = f"{WARM} given sst.anom.mean(over=middle).mean(time=lead 1) > -1.2 K"
    counts = ask(workspace, given).to_json()["members"]
    page.goto(f"{address}/?q={quote(given)}")
    page.until(DONE)
    said = f"{counts['event']} of {counts['event'] + counts['not']} yes, {counts['excluded']} without the condition"
    assert page.text(".chips li") == said
    assert counts["excluded"] > 0


def test_blanks_make_the_text_and_the_text_is_explained_as_it_is_typed(page):
    offered = page.js("[...document.querySelectorAll('#regions option')].map((option) => option.value)")
    assert {"middle", "nino34", "ar6_med", "spain"} <= set(offered)
    write(page, "#threshold", "1 K")
    page.until("document.querySelector('#text').value.endsWith('> 1 K')")
    page.until("document.querySelector('#reading').textContent.includes('above 1 K')")
    write(page, "#text", "prob sst.anom.mean(over=midle).mean(time=lead 1) > 0.5 K")
    page.until("document.querySelector('#reading').textContent.includes('Did you mean middle?')")
    write(page, "#text", "prob sst.anom(clim=model).mean(over=middle).mean(time=lead 1..2) > 0.5 K")
    page.until("document.querySelector('#sentence').disabled")
    write(page, "#text", WARM)
    page.until("!document.querySelector('#sentence').disabled")
    write(page, "#text", "prob (sst > p66).frac(over=middle).max(time=lead 1..3) >= 30 %")
    page.until("document.querySelector('#sentence').disabled")


HOLD = """
window.held = [];
const real = window.fetch;
window.fetch = async (...asked) => {
  const reply = await real(...asked);
  if (window.held && asked[0].includes("0.25")) await new Promise((done) => window.held.push(done));
  return reply;
};
"""


def test_what_is_written_while_an_answer_is_on_its_way_stays(page):
    page.js(HOLD)
    write(page, "#text", WARM.replace("0.5", "0.25"))
    page.key("Enter", text="\r")
    page.until("window.held.length === 2")  # its answer, and its words
    write(page, "#threshold", "1 K")
    page.js("(() => { const held = window.held; window.held = null; held.forEach((done) => done()); })()")
    page.until(f"{DONE} && document.querySelector('#card').textContent.includes('0.25 K')")
    assert value(page, "#text").endswith("> 1 K")
    assert value(page, "#threshold") == "1 K"
    page.until("document.querySelector('#reading').textContent.includes('above 1 K')")


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


def test_the_slider_and_the_map_work_by_keyboard(page, address):
    """Of values whose spread is small beside them, so that a step of the slider must be written with its decimals."""
    page.goto(f"{address}/?q={quote('prob sst.mean(over=middle).mean(time=lead 1..2) > 300 K')}")
    page.until(f"{DONE} && document.querySelector('#exceedance svg')")
    page.js("document.querySelector('#slider').focus()")
    page.key("ArrowRight")
    page.until("document.querySelector('#counted').textContent.includes('of 20 members')")
    page.until("!document.querySelector('#text').value.endsWith('> 300 K')")
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
    for _ in range(50):
        page.key("Tab")
        seen.add(page.js("document.activeElement.id || document.activeElement.textContent"))
    controls = {"verb", "variable", "region", "window", "threshold", "other-region", "text", "go", "slider"}
    assert controls | {"spaghetti", "play", "back", "next", "map"} <= seen


def test_a_link_that_lets_a_part_of_a_region_do_is_answered_and_kept(page, address, workspace):
    text = WARM.replace("middle", "box(lat=-6..6, lon=192..240)")
    page.goto(f"{address}/?q={quote(text)}")
    page.until(DONE)
    assert "outside the grid" in page.text(".headline")
    answer = ask(workspace, text, partial=True)
    page.goto(address + answer.permalink)
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    assert page.text(".headline") == answer.headline
    assert "outside the grid; the rest was used" in page.text("#card")
    links = page.js("['permalink', 'newest'].map((id) => document.querySelector(`#${id}`).href)")
    assert links[0] == address + answer.permalink
    assert links[1].endswith("&partial=true")
    page.click("#go")
    page.until(f"{DONE} && document.querySelector('#permalink')")
    assert page.text(".headline") == answer.headline


def test_a_link_that_names_the_level_of_intervals_is_answered_and_kept(page, address, workspace):
    answer = ask(workspace, WARM, level=0.8)
    page.goto(address + answer.permalink)
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    assert page.text(".headline") == answer.headline
    assert "80 % interval" in answer.headline
    assert page.js("document.querySelector('#permalink').href") == address + answer.permalink
    assert all(
        "&level=80" in link
        for link in page.js("[...document.querySelectorAll('#links a[download]')].map((a) => a.href)")
    )
    page.click("#go")
    page.until(f"{DONE} && document.querySelector('#permalink')")
    assert page.text(".headline") == answer.headline


def test_a_permalink_gives_the_same_answer_also_after_a_newer_run(page, tmp_path):
    workspace = build(tmp_path / "w", first=1950)
    with serving(workspace) as address:
        page.goto(f"{address}/?q={quote(WARM)}")
        page.until(f"{DONE} && document.querySelector('#permalink')?.href.includes('as_of=')")
        link, newest = (page.js(f"document.querySelector('#{name}').href") for name in ("permalink", "newest"))
        assert link == address + ask(workspace, WARM).permalink
        headline = page.text(".headline")
        assert page.js("document.querySelector('#banner').hidden")
        truth = record()
        write_ensemble(workspace, truth, [truth["time_bnds"].values[-1, 1]], kind="forecast", leads=6, count=20, seed=9)
        page.click("#go")  # the page was there before the run
        page.until(f"{DONE} && document.querySelector('#title').textContent.endsWith('fc-1961-01-01')")
        assert page.js("document.querySelector('#banner').hidden")
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
    page.send("Network.setBlockedURLs", urls=["*/v1/jobs/*"])  # as of a service that stopped
    page.click("#skill-map")
    page.until("document.querySelector('#job').textContent === 'The map could not be made.'")
    page.send("Network.setBlockedURLs", urls=[])
    page.problems[:] = [problem for problem in page.problems if "ERR_BLOCKED_BY_CLIENT" not in problem]
    page.click("#skill-map")
    page.click("#skill-map")
    page.until("document.querySelector('#legend').textContent.includes('no skill shown in past forecasts')", seconds=60)
    assert not page.js("document.querySelector('#hatched-label').hidden")
    assert page.text("#job") == ""
    page.click("#skill-map")


def test_a_cell_whose_skill_was_not_measured_is_hatched_too(page):
    flags = {"skill_verdict": {"values": list(range(len(VERDICTS)))}}
    coverage = json.dumps({"domain": {}, "ranges": flags})
    layer = f"import('/explorer/layers.js').then((found) => found.layersOf({coverage})[''])"
    hatched = page.js(f"{layer}.then((layer) => [0, 1, 2, 3].map((at) => layer.isHatched(at)))")
    assert [name for name, is_hatched in zip(VERDICTS, hatched, strict=True) if not is_hatched] == ["skilful"]


def test_the_question_can_be_taken_elsewhere(page):
    page.js("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    for name, begins in (("YAML", "ask: prob"), ("Python", "ask(workspace, "), ("curl", "curl 'http")):
        page.js(f"[...document.querySelectorAll('#links a')].find((a) => a.textContent === 'Copy as {name}').click()")
        page.until(f"window.copied?.startsWith({json.dumps(begins)})")


@pytest.fixture(scope="module")
def projection(tmp_path_factory):
    return build(tmp_path_factory.mktemp("both") / "w", hindcast_months=(), scenarios=("high", "low"))


@pytest.fixture(scope="module")
def two_scenarios(projection):
    with serving(projection) as address:
        yield address


BOTH = "prob sst.anom.mean(over=middle).mean(time=lead 1..2) > -0.3 K scenario high vs low"
MAP_DONE = f"{DONE} && document.querySelector('#map-title').textContent.endsWith('under high and low')"

HATCHED = """
(() => {
  // By cell, from the south: whether its middle has more than one colour, as hatching has.
  const canvas = document.querySelector('#map canvas'), pen = canvas.getContext('2d');
  const w = canvas.width / 4, h = canvas.height / 3;
  return Array.from({ length: 12 }, (_, at) => {
    const x = (at % 4) * w, y = canvas.height - (Math.floor(at / 4) + 1) * h;
    const { data } = pen.getImageData(x + w / 4, y + h / 4, w / 2, h / 2), seen = new Set();
    for (let place = 0; place < data.length; place += 4) seen.add(data.slice(place, place + 3).join());
    return seen.size > 1;
  });
})()
"""


def test_two_scenarios_are_compared_on_one_axis(page, two_scenarios):
    page.goto(f"{two_scenarios}/?q={quote(WARM + ' scenario high vs low')}")
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    assert "points (interval" in page.text("#difference")
    assert page.js("document.querySelectorAll('#card .dots').length") == 2
    assert page.js("document.querySelectorAll('#exceedance svg path').length") == 3
    page.requests.clear()


def test_differences_are_written_as_in_python(page):
    shares = [0.0, 0.004, -0.004, 0.005, -0.005, 0.125, -0.125, 0.3, -0.3, 1.0, -1.0]
    written = page.js(f"import('/explorer/layers.js').then((layers) => {json.dumps(shares)}.map(layers.points))")
    assert written == [points(share) for share in shares]


def test_shares_are_rounded_as_in_python(page):
    shares = [events / 40 for events in range(1, 40)]
    written = page.js(f"import('/explorer/charts.js').then((charts) => {json.dumps(shares)}.map(charts.percent))")
    assert written == [percent(share) for share in shares]


def difference_of(address):
    """The ranges of the difference on the map beside ``BOTH``, as the service gives them."""
    question = BOTH.replace("prob", "map of").replace(".mean(over=middle)", "")
    reply = httpx.get(f"{address}/v1/ask", params={"q": question, "format": "covjson"}, trust_env=False).json()
    (found,) = [each["ranges"] for each in reply["coverages"] if each["id"] == "difference"]
    return {name: values["values"] for name, values in found.items()}


def test_two_scenarios_are_one_map_of_their_difference_hatched_where_it_is_not_clear(page, two_scenarios):
    page.goto(f"{two_scenarios}/?q={quote(BOTH)}")
    page.until(MAP_DONE)
    found = difference_of(two_scenarios)
    unclear = [verdict == 1 for verdict in found["difference_verdict"]]
    assert 2 < sum(unclear) < 10
    assert page.js(HATCHED) == unclear
    assert page.text("#legend").count("no clear difference") == 1
    assert "about the same, ±5 points" in page.text("#legend")
    low, high = (points(end(found["difference"])) for end in (min, max))
    assert page.text("#map-summary").startswith(f"high less low: {low} to {high} points; clearly different over ")
    assert page.js("document.querySelector('#colour').closest('label').hidden")
    assert "scenario%20high%20vs%20low" in page.js("document.querySelector('#map-table').href")
    page.requests.clear()


def test_a_cell_of_the_difference_is_told_and_asked_about_by_keyboard(page, two_scenarios):
    page.goto(f"{two_scenarios}/?q={quote(BOTH)}")
    page.until(MAP_DONE)
    found = difference_of(two_scenarios)
    page.js("document.querySelector('#map').focus()")
    for key, at in (("ArrowUp", 10), ("ArrowLeft", 9), ("ArrowDown", 5), ("ArrowLeft", 4)):
        page.key(key)
        assert page.text("#map-place").endswith("; no clear difference") == (found["difference_verdict"][at] == 1)
        assert f": {points(found['difference'][at])} points (interval " in page.text("#map-place")
    told = page.text("#map-place").split("high less low: ")[1].split(";")[0]
    page.key("Enter")
    page.until("document.querySelector('#text').value.includes('over=point(0, -172)')")
    page.until(f"document.querySelector('#difference') && {MAP_DONE}")
    assert f"high less low: {told}" in page.text("#difference")
    page.requests.clear()


def test_either_scenario_can_be_seen_alone(page, two_scenarios):
    page.goto(f"{two_scenarios}/?q={quote(BOTH)}")
    page.until(MAP_DONE)
    shown = page.js("[...document.querySelector('#layer').options].map((each) => each.value)")
    assert shown == ["high less low", "high", "low"]
    page.js("document.querySelector('#layer').focus()")
    for _ in range(2):
        page.key("ArrowDown")
    page.until("document.querySelector('#layer').value === 'low'")
    assert "members with the event: " in page.text("#map-place")
    assert "more than usual in " in page.text("#map-summary")
    assert "no clear difference" not in page.text("#legend")
    assert not page.js("document.querySelector('#colour').closest('label').hidden")
    assert not any(page.js(HATCHED))
    page.click("#go")
    page.until(MAP_DONE)
    assert value(page, "#layer") == "low"
    page.goto(f"{two_scenarios}/?q={quote(BOTH.replace(' vs low', ''))}")
    page.until(f"{DONE} && document.querySelector('#map-title').textContent.endsWith('under high')")
    assert page.js("document.querySelector('#layer-label').hidden")
    page.requests.clear()


def test_a_map_that_becomes_a_job_is_waited_for(page, projection):
    with serving(projection, limits=Limits(read=1000)) as address:
        page.goto(f"{address}/?q={quote(BOTH)}")
        page.until(MAP_DONE)
        assert any("/v1/jobs/" in url for url in page.requests)
        assert page.text("#map-summary").startswith("high less low: ")
        assert page.text("#job") == ""
        page.requests.clear()
    with serving(projection, limits=Limits(read_job=1000)) as address:
        page.goto(f"{address}/?q={quote(BOTH)}")
        page.until(f"{DONE} && document.querySelector('#job').textContent.includes('Ask for it with `tercile ask`.')")
        page.problems[:] = [problem for problem in page.problems if "413" not in problem]
        page.requests.clear()


def test_a_map_of_two_scenarios_can_be_the_question(page, two_scenarios):
    page.goto(f"{two_scenarios}/?q={quote('map of sst.anom.mean(time=lead 1) > -1 K scenario high vs low')}")
    page.until(MAP_DONE)
    assert page.text(".headline").startswith("The share under high less that under low: ")
    assert page.text("#legend").count("no clear difference") == 1
    page.requests.clear()


@pytest.fixture(scope="module")
def two_forecasts(tmp_path_factory):
    workspace = build(tmp_path_factory.mktemp("two") / "w", hindcast_months=())
    later = cftime.datetime(1961, 1, 1, calendar="noleap")
    write_ensemble(workspace, record(), [later], kind="forecast", leads=6, count=20, seed=9)
    with serving(workspace) as address:
        yield address


def columns(page, table):
    return page.js(f"[...document.querySelectorAll('{table} th')].map((cell) => cell.textContent)")


def choose(page, selector, option):
    page.js(
        f"(() => {{ const box = document.querySelector('{selector}'); box.value = {json.dumps(option)};"
        "box.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def test_two_regions_are_compared_as_pairs_by_keyboard_and_the_permalink_brings_them_back(page, address):
    page.until("document.querySelector('#plume svg')")
    write(page, "#other-region", "point(4, 188)")
    page.until("document.querySelector('#other').value.includes('over=point(4, 188)')")
    page.until("document.querySelector('#reading').textContent.includes('Compared with: ')")
    page.key("Enter", text="\r")
    page.until(f"document.querySelector('#difference') && {DONE} && document.querySelector('#plume svg')")
    assert "middle less point(4, 188): " in page.text("#difference")
    assert "compared in pairs" in page.text("#difference")
    assert "The ratio is at least" in page.text("#difference")  # no member has the event there
    assert page.js("document.querySelectorAll('#card .dots').length") == 2
    page.until("document.querySelectorAll('#exceedance-table th').length === 5")
    assert columns(page, "#exceedance-table")[1:] == [
        *("middle", "point(4, 188)"),
        *("reference, middle", "reference, point(4, 188)"),
    ]
    assert columns(page, "#plume-table")[1:4] == ["middle 5 %", "middle median", "middle 95 %"]
    page.until("document.querySelectorAll('#reliability svg path').length === 4", seconds=40)
    headline, link = page.text(".headline"), page.js("document.querySelector('#permalink').href")
    page.goto("about:blank")
    page.goto(link)
    page.until(f"{DONE} && document.querySelector('#difference')")
    assert page.text(".headline") == headline
    page.until("document.querySelector('#other-region').value === 'point(4, 188)'")


def test_two_forecasts_are_compared_as_independent_on_one_axis_of_dates(page, two_forecasts):
    page.goto(f"{two_forecasts}/?q={quote(WARM.replace('lead 1..2', '1961-01..1961-02'))}")
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    choose(page, "#other-forecast", "fc-1960-10-01")
    page.until("document.querySelector('#other').value.endsWith('forecast fc-1960-10-01')")
    page.click("#go")
    page.until(f"document.querySelector('#difference') && {DONE}")
    page.until("document.querySelectorAll('#plume-table th').length === 7")
    assert "fc-1961-01-01 less fc-1960-10-01" in page.text("#difference")
    assert "fc-1961-01-01 has 8 times the chance of fc-1960-10-01 (interval 2 to 46)" in page.text("#difference")
    assert "compared as independent" in page.text("#difference")
    months = page.js("[...document.querySelectorAll('#plume-table td:first-child')].map((cell) => cell.textContent)")
    assert months == [*(f"1960-{month}" for month in (10, 11, 12)), *(f"1961-0{month}" for month in range(1, 7))]
    shown = "[...document.querySelectorAll('#plume-table tr')].at({}).textContent"
    assert page.js(shown.format(1)).startswith("1960-10–––")
    assert page.js(shown.format(-1)).endswith("–––")
    assert columns(page, "#exceedance-table") == ["exceeded with", "fc-1961-01-01", "fc-1960-10-01", "reference"]
    assert page.js("document.querySelector('#banner').hidden")
    page.requests.clear()


def test_any_two_questions_are_compared_as_text(page, address):
    given = "sst.anom.mean(over=middle).max(time=all) > -1 K"
    other = f"prob (sst.anom.mean(over=middle) > 0.5 K).any(time=lead 1..2) given {given}"
    page.goto(f"{address}/?q={quote(WARM)}&with={quote(other)}")
    page.until(f"document.querySelector('#difference') && {DONE}")
    assert page.text(".headline").startswith("first: ")
    page.until("document.querySelector('#sentence').disabled && document.querySelector('#other-part').open")
    page.js(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )  # as where the page is another machine's
    page.js("[...document.querySelectorAll('#links a')].at(-1).click()")
    page.until("document.querySelector('#links pre')")
    assert page.text("#links pre") == f"tercile ask '{WARM}' --against '{other}'"
    page.js("document.querySelector('#other').value = ''")
    page.js("document.querySelector('#go').click()")
    page.until(f"!document.querySelector('#difference') && {DONE}")
    assert "with=" not in page.js("location.search")


def test_forecasts_of_different_years_lie_on_one_axis_of_leads(page):
    def view(year, value):
        course = {"units": "K", "dates": [f"{year}-01", f"{year}-02"], "members": {"": [[value, value]]}}
        usual = {"low": [0, 0], "high": [1, 1], "thresholds": [0.5], "numbers": [3]}
        return {"plume": {**course, **usual, "past": {"dates": [f"{year - 1}-12"], "values": [value]}}, "event": [1]}

    views = json.dumps([view(1950, 1), view(1960, 2)])
    found = page.js(f"import('/explorer/sides.js').then((found) => found.sides({views}, ['a', 'b']))")
    assert found["plume"]["labels"] == ["lead 0", "lead 1", "lead 2"]
    assert found["plume"]["members"] == {"a": [[None, 1, 1]], "b": [[None, 2, 2]]}
    assert found["plume"]["numbers"] == [3]
    assert found["plume"]["usual"] == [["usual", [None, [0, 1], [0, 1]]]]
    assert found["plume"]["past"] == [["observed, a", [1, None, None]], ["observed, b", [2, None, None]]]
    assert (found["exceedance"], found["events"]) == (None, {"a": [1], "b": [1]})


def test_members_are_played_one_by_one_and_stopped_by_keyboard(page):
    page.until("document.querySelector('#plume svg')")
    before = page.js("document.querySelectorAll('#plume svg path').length")
    page.js("document.querySelector('#play').focus()")
    page.key("Enter", text="\r")
    page.until("document.querySelector('#member').textContent.startsWith('Member 1, 2 of 20. ')")
    assert page.text("#play") == "Stop"
    assert page.js("document.querySelectorAll('#plume svg path').length") == before + 2
    page.key("Enter", text="\r")
    stopped = page.text("#member")
    assert page.text("#play") == "Play members"
    time.sleep(0.8)
    assert page.text("#member") == stopped


def test_play_ends_with_the_last_member_which_says_what_the_table_says(page):
    page.until("document.querySelector('#plume svg')")
    page.click("#back")
    page.click("#back")
    assert page.text("#member").startswith("Member 18, 19 of 20. ")
    page.click("#play")
    page.until("document.querySelector('#play').textContent === 'Play members'")
    row = page.js("[...document.querySelectorAll('#member-table tr')].at(-1).textContent")
    number, event = re.fullmatch(r"19(−?[\d.]+ K)(● yes|○ no)", row).groups()
    assert page.text("#member") == f"Member 19, 20 of 20. {number}; event: {event}."
    yes = page.js("document.querySelector('#member-table').textContent.split('● yes').length - 1")
    assert yes == page.js("document.querySelectorAll('#card .dots .yes').length")
    page.click("#next")
    assert page.text("#member") == ""


def test_where_motion_is_not_wanted_members_are_stepped_through(page, address):
    less = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.send("Emulation.setEmulatedMedia", features=[less])
    try:
        page.goto("about:blank")
        page.goto(f"{address}/?q={quote(WARM)}")
        page.until(f"{DONE} && document.querySelector('#plume svg')")
        assert page.js("document.querySelector('#play').hidden")
        page.click("#next")
        assert page.text("#member").startswith("Member 0, 1 of 20. ")
        page.send("Emulation.setEmulatedMedia", features=[])
        page.until("!document.querySelector('#play').hidden")
        page.click("#play")
        page.until("document.querySelector('#play').textContent === 'Stop'")
        page.send("Emulation.setEmulatedMedia", features=[less])
        page.until("document.querySelector('#play').hidden && document.querySelector('#play').textContent !== 'Stop'")
    finally:
        page.send("Emulation.setEmulatedMedia", features=[])


def test_the_coast_of_a_continent_is_drawn_on_a_map_of_a_part_of_it(page):
    """Of Iberia, whose line begins far east, in a count of longitudes from 0 and from -180."""
    drawn = """Promise.all([import('/explorer/map.js'), fetch('/explorer/coastline.json').then((it) => it.json())])
      .then(([{ FieldMap }, { lines }]) => [-10, 350].map((west) => {
        const seen = [], pen = { beginPath() {}, stroke() {}, lineTo: (x, y) => seen.push([x, y]) };
        FieldMap.prototype.coast.call({ lines }, pen, (x) => x - west, (y) => 45 - y, 15);
        return seen.filter(([x, y]) => x >= 0 && x <= 15 && y >= 0 && y <= 10).length;
      }))"""
    first, second = page.js(drawn)
    assert first == second > 20


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA], ids=["full", "deuteranopia"])
def test_neighbouring_classes_of_the_map_differ_in_every_kind_of_vision(matrix):
    scales = re.findall(r"colours: \[([^\]]+)\]", (files("pipeline") / "data/explorer/map.js").read_text())
    assert len(scales) == 2
    for scale in scales:
        colours = re.findall(r"#[0-9a-f]{6}", scale)
        assert min(difference(*pair, matrix) for pair in itertools.pairwise(colours)) >= 10


def test_a_difference_has_the_colours_of_its_picture():
    text = (files("pipeline") / "data/explorer/map.js").read_text()
    breaks, colours = re.search(r"difference: \{\s+breaks: \[(.+)\],\s+colours: \[(.+)\]", text).groups()
    classes = difference_classes()
    assert tuple(json.loads(f"[{colours}]")) == classes.colours
    assert [100 * edge for edge in json.loads(f"[{breaks}]")][1:-1] == pytest.approx(list(classes.breaks[1:-1]))


def test_every_member_can_be_shown(page):
    page.until("document.querySelector('#plume svg')")
    lines = "document.querySelectorAll('#plume svg path').length"
    before = page.js(lines)
    page.click("#spaghetti")
    page.until(f"{lines} > {before + 10}")


@pytest.mark.parametrize("other", ["", WARM.replace("middle", "box(lat=-4..4, lon=-170..-160)")], ids=["one", "two"])
def test_a_phone_has_no_sideways_scrolling_and_readable_text(page, address, other):
    page.size(390, 844, mobile=True)
    page.goto("about:blank")
    page.goto(f"{address}/?q={quote(WARM)}&with={quote(other)}")
    page.until(f"{DONE} && document.querySelector('#plume svg')")
    page.js("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.js("document.querySelector('.headline').textContent += 'x'.repeat(200)")  # as the name of a region can be
    assert page.js("document.documentElement.scrollWidth") <= 390
    small = page.js(SMALL_TEXT)
    assert small == []


def test_refusals_are_shown_in_words(page, address):
    page.goto(f"{address}/?q={quote('prob sst.mean(over=middle).mean(time=lead 99) > 300 K')}")
    page.until("document.querySelector('.headline')?.textContent.includes('this forecast ends at lead 6')")
    assert value(page, "#region") == "middle"  # blanks that make a question, whatever the text is


def test_dots_are_told_apart_in_forced_colours_and_on_paper(page):
    dots = "[...document.querySelectorAll('.dots i')].map((dot) => getComputedStyle(dot)"
    try:
        page.send("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
        assert len(set(page.js(f"{dots}.backgroundColor)"))) == 2
        page.send("Emulation.setEmulatedMedia", media="print")
        assert set(page.js(f"{dots}.printColorAdjust)")) == {"exact"}
    finally:
        page.send("Emulation.setEmulatedMedia", media="", features=[])


def test_behind_a_token_the_page_says_which_is_wrong_and_gets_its_files(page, projection, tmp_path):
    with serving(projection, token="sesam") as address:
        page.goto(f"{address}/?q={quote(WARM + ' scenario high')}")
        page.until("document.querySelector('#card')?.textContent === 'Send the token of this service.'")
        write(page, "#token", "sesame")
        page.key("Enter", text="\r")
        page.until("document.querySelector('#card').textContent === 'That is not the token of this service.'")
        write(page, "#token", "sesam")
        page.key("Enter", text="\r")
        page.until("document.querySelector('#token-form').hidden && document.querySelector('#map-table').href")
        page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.click("#map-table")
        assert wait_for((tmp_path / "map.csv").read_text).startswith("# question: map of sst.anom")
        page.goto("about:blank")  # and hear of all that was asked for
        page.problems[:] = [problem for problem in page.problems if "401" not in problem]
        page.requests.clear()


SHOWN = "[...document.querySelectorAll('section.panel')].filter((each) => each.offsetParent).map((each) => each.id)"


def test_what_is_not_of_this_question_is_not_left_beside_it(page):
    page.until("document.querySelector('#map-summary').textContent")
    page.send("Network.setBlockedURLs", urls=["*format=covjson*"])
    page.click("#go")
    page.until(f"{DONE} && document.querySelector('#job').textContent.includes('The map could not be made.')")
    assert page.js("document.querySelector('#map').offsetParent") is None
    page.send("Network.setBlockedURLs", urls=["*/v1/view*"])
    page.click("#go")
    page.until(f"{DONE} && {SHOWN}.length === 1")
    assert page.js(SHOWN) == ["skill-panel"]
    page.send("Network.setBlockedURLs", urls=[])
    page.click("#go")
    page.until(f"{DONE} && {SHOWN}.length === 4 && document.querySelector('#map').offsetParent")
    write(page, "#text", "prob sst > 300 K")
    page.click("#go")
    page.until(f"{DONE} && {SHOWN}.length === 0")
    page.size(1000, 900)
    time.sleep(0.5)  # what is drawn anew at another size is so after a fifth of a second
    assert page.js(SHOWN) == []
    page.problems[:] = [problem for problem in page.problems if "ERR_BLOCKED_BY_CLIENT" not in problem]


def test_the_page_begins_with_the_first_question_of_the_experiment(page, address):
    page.goto(address)
    page.until(f"{DONE} && document.querySelector('#text').value === {json.dumps(WARM.replace('1..2', '1..3'))}")
    assert "of 20 members" in page.text(".headline")


def test_the_map_begins_at_the_point_of_the_question(page, address):
    page.goto(f"{address}/?q={quote('prob sst.mean(over=point(-4, 188)).mean(time=lead 1) > 300 K')}")
    page.until(f"{DONE} && document.querySelector('#map-place').textContent.startsWith('4.0° S, 172.0° W: ')")
