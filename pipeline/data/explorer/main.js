// The page: one question, its answer, and what is drawn beside it. Everything comes from /v1 of the same server.

import { showCard, showLinks, skillText } from "./card.js";
import { exceedanceChart, fans, plumeChart, plumeSummary, reliabilityChart, short, tableOf, percent } from "./charts.js";
import { FieldMap } from "./map.js";
import { blanks, fill, firstQuestion, fromSteps, offer, toText } from "./sentence.js";

const byId = (id) => document.getElementById(id);
const state = { catalog: null, answer: null, view: null, chart: null, coverage: null, turn: 0 };
const map = new FieldMap(byId("map"), { legend: byId("legend"), place: byId("map-place"), onAsk: askAbout });

async function get(path) {
  const token = sessionStorage.getItem("token");
  const reply = await fetch(path, token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  if (reply.status === 401) byId("token-form").hidden = false;
  const body = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(body.text), body);
  return body;
}

// An answer that a link has pinned to a state of the stores is asked of that state, with all that is drawn beside it.
const pinned = () => (state.asOf ? `&as_of=${encodeURIComponent(state.asOf)}` : "");
const asking = (path, text, more = "") => get(`${path}?q=${encodeURIComponent(text)}${pinned()}${more}`);

async function fetchFile(address, name) {
  const reply = await fetch(address, { headers: { Authorization: `Bearer ${sessionStorage.getItem("token")}` } });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await reply.blob()), download: name });
  link.click();
}

function permalink() {
  const query = new URLSearchParams({ q: state.answer.question.text, as_of: state.answer.provenance.as_of });
  return `${location.origin}/?${query}`;
}

async function ask(text, { keep = false } = {}) {
  const turn = ++state.turn;
  if (!keep) state.asOf = "";
  byId("answer").setAttribute("aria-busy", "true");
  byId("text").value = text;
  try {
    const answer = await asking("/v1/ask", text);
    if (turn !== state.turn) return;
    state.answer = answer;
    byId("text").value = answer.question.text;
    showAnswer();
    if (!keep) history.pushState({}, "", permalink());
    await Promise.allSettled([restate(answer.question.text), draw(text, turn)]);
  } catch (error) {
    if (turn === state.turn) refuse(error);
  } finally {
    if (turn === state.turn) byId("answer").setAttribute("aria-busy", "false");
  }
  if (turn === state.turn && state.answer?.skill.verdict === "pending") awaitSkill(text, turn);
}

function showAnswer() {
  const { answer } = state;
  showCard(byId("card"), answer);
  showLinks(byId("links"), answer, {
    permalink: permalink(), pinned: `&as_of=${encodeURIComponent(answer.provenance.as_of)}`, fetchFile: sessionStorage.getItem("token") ? fetchFile : null,
    yaml: async () => (await asking("/v1/explain", answer.question.text)).yaml,
  });
  showSkill(answer.skill);
  showBanner(answer);
}

function showBanner({ provenance, question }) {
  const newest = state.catalog.forecasts.at(-1), isOld = provenance.as_of !== state.catalog.as_of || provenance.forecast !== newest;
  byId("banner").hidden = !isOld;
  if (!isOld) return;
  const link = document.createElement("a");
  Object.assign(link, { href: `/?q=${encodeURIComponent(question.text.replace(/ forecast \S+/, ""))}`, textContent: "Ask the newest" });
  byId("banner").replaceChildren(`This is ${provenance.forecast} as of ${provenance.as_of.slice(0, 16).replace("T", " ")} UTC; a newer run has been committed since (newest forecast: ${newest}). `, link, ".");
}

function refuse(error) {
  byId("card").replaceChildren(Object.assign(document.createElement("p"), { className: "headline", textContent: error.text || "The service does not answer." }));
  byId("links").replaceChildren();
  for (const panel of ["exceedance", "plume", "map", "skill"]) byId(`${panel}-panel`).hidden = true;
}

async function draw(text, turn) {
  const view = await asking("/v1/view", text);
  if (turn !== state.turn) return;
  state.view = view;
  drawCurves();
  const { related } = await asking("/v1/explain", text);
  byId("map-panel").hidden = !related.map;
  if (!related.map) return;
  state.mapText = related.map.replace(/ vs \S+/, "");
  const coverage = await asking("/v1/ask", state.mapText, "&format=covjson");
  if (turn !== state.turn) return;
  state.coverage = coverage;
  const [first] = state.answer.question.resolved.scenarios;
  byId("map-title").textContent = `The same question everywhere${first ? `, under ${first}` : ""}`;
  showMap();
  byId("map-table").href = `/v1/ask?q=${encodeURIComponent(state.mapText)}${pinned()}&format=csv`;
  if (byId("skill-map").checked) await measureMap(turn);
}

function showMap() {
  map.show(state.coverage, byId("colour").value, byId("hatched").checked);
  byId("map-summary").textContent = map.summary();
  byId("hatched-label").hidden = !state.coverage.ranges.skill_verdict;
}

async function measureMap(turn) {
  // A job of the service: it is asked how far it is until it is done.
  const found = await asking("/v1/ask", state.mapText, "&format=covjson&skill=everywhere").catch((error) => ({ job: { state: "failed", text: error.text } }));
  let { job } = found;
  while (job?.state === "running" && turn === state.turn) {
    byId("job").textContent = `Past forecasts are being replayed at each cell: ${Math.round(100 * job.progress)} %`;
    await new Promise((done) => setTimeout(done, 500));
    job = await get(`/v1/jobs/${job.id}`);
  }
  if (turn !== state.turn) return;
  byId("job").textContent = job.state === "failed" ? job.text || "The skill could not be measured." : "";
  if (job.state !== "done") return;
  state.coverage = await get(job.result);
  if (!state.coverage.ranges.skill_verdict) byId("job").textContent = "There are no past forecasts to judge this map by.";
  showMap();
}

function drawCurves() {
  const { exceedance: curve, plume, event } = state.view;
  byId("exceedance-panel").hidden = !curve;
  byId("plume-panel").hidden = !plume;
  if (curve) {
    const threshold = curve.thresholds[0] ?? Object.values(curve.values)[0][0];
    state.chart = exceedanceChart(byId("exceedance"), curve, threshold);
    watchDrag(state.chart.svg);
    moveTo(threshold, { count: false });
    byId("counted").textContent = "Drag the line, or use the slider, to count the members beyond another threshold.";
    const rows = [5, 10, 25, 33, 50, 66, 75, 90, 95].map((rank) => [`${rank} %`, ...[...Object.values(curve.values), curve.reference].map((values) => beyond(values, rank / 100))]);
    tableOf(byId("exceedance-table"), ["exceeded with", ...Object.keys(curve.values).map((name) => name || "members"), "reference"], rows);
  }
  if (plume) {
    const made = plumeChart(byId("plume"), plume, event, byId("spaghetti").checked);
    byId("plume-summary").textContent = plumeSummary(plume, made);
    const head = ["", ...made.flatMap(([name]) => [`${name} 5 %`, `${name} median`, `${name} 95 %`])];
    tableOf(byId("plume-table"), head, plume.dates.map((date, at) => [date, ...fans(plume).flatMap(([, rows]) => [0, 2, 4].map((which) => short(rows[at][which])))]));
  }
}

function beyond(values, chance) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known.length ? short(known[Math.min(known.length - 1, Math.floor(known.length * (1 - chance)))]) : "–";
}

function moveTo(value, { count = true } = {}) {
  const { range } = state.chart, curve = state.view.exceedance;
  state.threshold = value;
  state.chart.move(value);
  byId("slider").value = Math.round((1000 * (value - range[0])) / (range[1] - range[0]));
  byId("slider").setAttribute("aria-valuetext", `${short(value)} ${curve.units}`);
  if (count) byId("counted").textContent = counted(value, curve);
}

function counted(value, curve) {
  const rising = !["below", "at_most"].includes(curve.operator);
  const share = (values) => {
    const known = values.filter((each) => each !== null);
    return [known.filter((each) => (rising ? each > value : each < value)).length, known.length];
  };
  const word = rising ? "above" : "below";
  const parts = Object.entries(curve.values).map(([name, values]) => { const [yes, all] = share(values); return `${name ? `${name}: ` : ""}${yes} of ${all} members (${percent(yes / all)})`; });
  const [yes, all] = share(curve.reference);
  return `${word} ${short(value)} ${curve.units}: ${parts.join("; ")}${all ? `; ${yes} of ${all} reference samples` : ""}.`;
}

function watchDrag(svg) {
  const valueAt = (event) => {
    const box = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width, { range, sx } = state.chart;
    return Math.min(range[1], Math.max(range[0], sx.back(((event.clientX - box.left) / box.width) * width)));
  };
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); moveTo(valueAt(event)); });
  svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) moveTo(valueAt(event)); });
  svg.addEventListener("pointerup", askThreshold);
}

function askThreshold() {
  // The dragged threshold becomes the question's, where the question has one that can be written so.
  const parts = fits();
  if (!parts || !state.view.exceedance.operator) return;
  ask(toText({ ...parts, threshold: `${short(state.threshold)} ${state.view.exceedance.units}` }));
}

function askAbout(latitude, longitude) {
  const parts = fits();
  if (parts) ask(toText({ ...parts, region: `point(${Number(latitude.toFixed(2))}, ${Number(longitude.toFixed(2))})` }));
}

function fits() {
  const { question } = state.answer;
  return question.ask === "prob" && question.event ? fromSteps(question.event, question.resolved.scenarios.filter(() => state.catalog.scenarios.length)) : null;
}

async function restate(text) {
  try {
    const found = await asking("/v1/explain", text);
    byId("reading").className = "";
    byId("reading").textContent = found.reads_as;
    const parts = found.ask === "prob" && found.event ? fromSteps(found.event, found.resolved.scenarios) : null;
    byId("sentence").disabled = !parts;
    if (parts) fill(parts);
  } catch (error) {
    byId("reading").className = "wrong";
    byId("reading").textContent = error.text || "The service does not answer.";
  }
}

function showSkill(skill) {
  byId("skill-panel").hidden = false;
  const words = skill.reason ? `${skillText(skill)}: ${skill.reason}` : skillText(skill);
  byId("skill").textContent = typeof skill.low === "number" ? `${words}; interval ${skill.low.toFixed(2)} to ${skill.high.toFixed(2)}; above 0 is better than the usual odds.` : words;
  byId("reliability").replaceChildren();
  if (skill.reliability) reliabilityChart(byId("reliability"), skill.reliability);
  const rows = (skill.past || []).map((row) => [row.init_time, percent(row.share), row.happened ? "yes" : "no"]);
  tableOf(byId("past"), ["forecast of", "members said", "came true"], rows);
}

async function awaitSkill(text, turn) {
  for (let wait = 0; wait < 60 && turn === state.turn; wait++) {
    await new Promise((done) => setTimeout(done, 1000));
    const answer = await asking("/v1/ask", text).catch(() => null);
    if (!answer || turn !== state.turn || answer.skill.verdict === "pending") continue;
    state.answer = answer;
    showAnswer();
    return;
  }
}

function later(work, wait) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, wait); };
}

async function begin() {
  state.catalog = await get("/v1/catalog");
  const { catalog } = state;
  byId("title").textContent = `${catalog.title} – ${catalog.members} members, ${catalog.forecasts.at(-1)}`;
  byId("attribution").textContent = catalog.attribution.join("; ");
  offer(catalog);
  byId("examples").querySelector("ul").replaceChildren(...Object.values(catalog.events).map((text) => {
    const item = document.createElement("li"), link = Object.assign(document.createElement("a"), { textContent: text, href: `/?q=${encodeURIComponent(text)}` });
    item.append(link);
    return item;
  }));
  await fromAddress();
}

async function fromAddress() {
  const query = new URLSearchParams(location.search), text = query.get("q") || firstQuestion(state.catalog);
  state.asOf = query.get("as_of") || "";
  await restate(text);
  await ask(text, { keep: true });
}

byId("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(byId("text").value); });
byId("sentence").addEventListener("input", later(() => { byId("text").value = toText(blanks()); restateOnly(); }, 150));
byId("text").addEventListener("input", later(() => restate(byId("text").value), 250));
byId("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); ask(byId("text").value); } });
byId("slider").addEventListener("input", () => { const { range } = state.chart; moveTo(range[0] + (byId("slider").value / 1000) * (range[1] - range[0])); });
byId("slider").addEventListener("change", askThreshold);
byId("spaghetti").addEventListener("change", drawCurves);
for (const id of ["colour", "hatched"]) byId(id).addEventListener("change", () => state.coverage && showMap());
byId("skill-map").addEventListener("change", () => { if (state.coverage && byId("skill-map").checked) measureMap(state.turn); });
byId("token-form").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("token", byId("token").value); byId("token-form").hidden = true; begin(); });
window.addEventListener("popstate", fromAddress);
window.addEventListener("resize", later(() => { if (state.view) drawCurves(); map.draw(); if (state.answer) showSkill(state.answer.skill); }, 200));

async function restateOnly() {
  try {
    byId("reading").textContent = (await asking("/v1/explain", byId("text").value)).reads_as;
    byId("reading").className = "";
  } catch (error) {
    byId("reading").className = "wrong";
    byId("reading").textContent = error.text;
  }
}

begin().catch((error) => refuse(error));
