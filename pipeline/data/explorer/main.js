// The page: one question, its answer, and what is drawn beside it. Everything comes from /v1 of the same server.

import { showCard, showLinks, skillText } from "./card.js";
import { exceedanceChart, plumeChart, plumeSummary, reliabilityChart, short, signed, tableOf, percent } from "./charts.js";
import { layersOf } from "./layers.js";
import { FieldMap } from "./map.js";
import { Members } from "./members.js";
import { blanks, fill, firstBlanks, firstQuestion, fromPair, offer, otherText, toText } from "./sentence.js";
import { sides } from "./sides.js";

const byId = (id) => document.getElementById(id);
const state = { catalog: null, answer: null, comparison: null, view: null, chart: null, plume: null, layers: null, turn: 0 };
const FOLLOWING = ["card", "skill-panel", "exceedance-panel", "plume-panel", "map-panel"]; // what shows another question until the new one's is there
const map = new FieldMap(byId("map"), { legend: byId("legend"), place: byId("map-place"), onAsk: askAbout });
const members = new Members({ play: byId("play"), back: byId("back"), next: byId("next") }, showMember);

async function fetched(path) {
  const token = sessionStorage.getItem("token");
  const reply = await fetch(path, token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  byId("token-form").hidden = reply.status !== 401;
  return reply;
}

async function get(path) {
  const reply = await fetched(path);
  const body = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(body.text), body);
  return body;
}

// What is drawn beside an answer, and its skill, are of the state of the stores that the answer is of: the one that a link has pinned, or the newest.
// Where a link lets the part of a region on the grid do, or names the level of intervals, that holds for all that is asked from there.
const pinned = () => (state.asOf ? `&as_of=${encodeURIComponent(state.asOf)}` : "") + (state.isPartial ? "&partial=true" : "");
const withLevel = () => pinned() + (state.level ? `&level=${encodeURIComponent(state.level)}` : ""); // where intervals are answered
const asking = (path, text, more = "") => get(`${path}?q=${encodeURIComponent(text)}${/ask|compare/.test(path) ? withLevel() : pinned()}${more}`);

async function fetchFile(address, name) {
  const reply = await fetched(address);
  if (!reply.ok) return;
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await reply.blob()), download: name });
  link.click();
}

function address(pins, text = state.answer.question.text) {
  // Where the page shows this question, and what it is compared with.
  const other = otherAsked();
  return `${location.origin}/?${new URLSearchParams({ q: text, ...(other ? { with: other } : {}), ...pins, ...(state.isPartial ? { partial: true } : {}), ...(state.level ? { level: state.level } : {}) })}`;
}

const permalink = () => address({ as_of: state.answer.provenance.as_of });
const otherAsked = () => state.comparison?.answers[1].question.text || "";
const shownAnswers = () => state.comparison?.answers || [state.answer];

async function answered(text, other) {
  const found = await (other ? asking("/v1/compare", text, `&with=${encodeURIComponent(other)}`) : asking("/v1/ask", text));
  return other ? { answer: found.answers[0], comparison: found } : { answer: found, comparison: null };
}

const age = (isOld, ...ids) => ids.forEach((id) => byId(id).classList.toggle("old", isOld));

async function ask(text, other, { keep = false } = {}) {
  const turn = ++state.turn;
  if (!keep) state.asOf = "";
  byId("answer").setAttribute("aria-busy", "true");
  age(true, ...FOLLOWING);
  write(text, other);
  const isAsWritten = stillWritten();
  try {
    const found = await answered(text, other);
    if (turn !== state.turn) return;
    Object.assign(state, found, { asOf: found.answer.provenance.as_of });
    if (!state.catalog || state.asOf > state.catalog.as_of) await learn(); // a run has committed since the page came
    showAnswer();
    if (!keep && location.href !== permalink()) history.pushState({}, "", permalink());
    const isOurs = isAsWritten();
    if (isOurs) write(state.answer.question.text, otherAsked());
    await Promise.allSettled([isOurs ? restate() : null, draw(text, other, turn)]);
    if (turn === state.turn) for (const id of FOLLOWING) if (byId(id).classList.contains("old")) byId(id).hidden = true;
  } catch (error) {
    if (turn !== state.turn) return;
    refuse(error);
    if (isAsWritten()) restate();
  } finally {
    if (turn === state.turn) byId("answer").setAttribute("aria-busy", "false");
  }
  if (turn === state.turn && isPending()) awaitSkill(text, other, turn);
}

const isPending = () => Boolean(state.answer) && shownAnswers().some((answer) => answer.skill.verdict === "pending");

function showAnswer() {
  const { answer, comparison } = state, other = otherAsked();
  showCard(byId("card"), answer, comparison);
  age(false, "card", "skill-panel");
  showLinks(byId("links"), answer, {
    permalink: permalink(), newest: address({}), other, pinned: withLevel(), isPartial: state.isPartial, level: state.level, fetchFile: sessionStorage.getItem("token") ? fetchFile : null,
    yaml: async () => (await explained(answer.question.text, other)).map((found) => found.yaml).join("---\n"),
  });
  showSkill();
  showBanner();
}

function showBanner() {
  const { answer } = state, { as_of: asOf } = answer.provenance, newest = state.catalog.forecasts.at(-1);
  const isOld = asOf !== state.catalog.as_of || shownAnswers().every(({ provenance }) => provenance.forecast !== newest);
  byId("banner").hidden = !isOld;
  if (!isOld) return;
  const link = document.createElement("a"), href = state.comparison ? address({}) : address({}, answer.question.text.replace(/ forecast \S+/, ""));
  Object.assign(link, { href, textContent: "Ask the newest" });
  byId("banner").replaceChildren(`This is ${answer.provenance.forecast} as of ${asOf.slice(0, 16).replace("T", " ")} UTC; a newer run has been committed since (newest forecast: ${newest}). `, link, ".");
}

function refuse(error) {
  Object.assign(state, { answer: null, comparison: null, view: null });
  age(false, "card");
  byId("banner").hidden = true;
  byId("card").replaceChildren(Object.assign(document.createElement("p"), { className: "headline", textContent: error.text || "The service does not answer." }));
  byId("links").replaceChildren();
  members.of(0);
  for (const panel of ["exceedance", "plume", "map", "skill"]) byId(`${panel}-panel`).hidden = true;
}

async function draw(text, other, turn) {
  const views = await Promise.all([text, other].filter(Boolean).map((each) => asking("/v1/view", each)));
  if (turn !== state.turn) return;
  state.view = sides(views, state.comparison?.names || []);
  members.of(Math.max(0, ...Object.values(state.view.plume?.members || {}).map((rows) => rows.length)));
  drawCurves();
  const { related } = await asking("/v1/explain", text);
  byId("map-panel").hidden = !related.map;
  if (!related.map) return;
  state.mapText = related.map;
  const found = await fetchMap(turn);
  if (turn !== state.turn) return;
  age(false, "map-panel");
  byId("map-panel").classList.toggle("unmade", !found);
  if (!found) return;
  const scenarios = state.answer.question.resolved.scenarios.join(" and "), { forecast } = state.answer.question;
  byId("map-title").textContent = `The same question everywhere${scenarios ? `, under ${scenarios}` : ""}${forecast ? `, in ${forecast}` : ""}`;
  map.aim(state.answer.question.resolved.region?.cell_centre);
  offerLayers(found);
  byId("map-table").href = `/v1/ask?q=${encodeURIComponent(state.mapText)}${withLevel()}&format=csv`;
  if (byId("skill-map").checked) await measureMap(turn);
}

function offerLayers(found) {
  // A map, or of two scenarios their difference and each alone; what was chosen stays chosen while it is there.
  state.layers = layersOf(found);
  const box = byId("layer"), names = Object.keys(state.layers), chosen = names.includes(box.value) ? box.value : names[0];
  box.replaceChildren(...names.map((name) => new Option(name)));
  box.value = chosen;
  byId("layer-label").hidden = names.length < 2;
  showMap();
}

function showMap() {
  const layer = state.layers[byId("layer").value];
  map.show(layer, byId("colour").value, byId("hatched").checked);
  byId("map-summary").textContent = layer.summary();
  byId("hatched-label").hidden = !layer.hasSkill;
  for (const id of ["colour", "skill-map"]) byId(id).parentElement.hidden = layer.isContrast;
}

async function fetchMap(turn, { skill = false } = {}) {
  // Where the service makes a job of it, it is asked how far it is until it is done. Null where that failed, or another question came.
  const isOver = () => turn !== state.turn, tell = (text) => { if (!isOver()) byId("job").textContent = text; };
  try {
    const found = await asking("/v1/ask", state.mapText, `&format=covjson${skill ? "&skill=everywhere" : ""}`);
    let { job } = found;
    if (job?.state === "running" && !isOver() && !skill) {
      age(false, "map-panel");
      byId("map-panel").classList.add("unmade");
    }
    while (job?.state === "running" && !isOver()) {
      tell(`${skill ? "Past forecasts are being replayed at each cell" : "The map is being made"}: ${Math.round(100 * job.progress)} %`);
      await new Promise((done) => setTimeout(done, 500));
      job = await get(`/v1/jobs/${job.id}`);
    }
    if (job?.state === "failed") throw job;
    const whole = job && !isOver() ? await get(job.result) : found;
    tell("");
    return isOver() ? null : whole;
  } catch (error) {
    tell(error.text || "The map could not be made.");
    return null;
  }
}

async function measureMap(turn) {
  const found = await fetchMap(turn, { skill: true });
  if (!found) return;
  offerLayers(found);
  if (!Object.values(state.layers).some((layer) => layer.hasSkill)) byId("job").textContent = "There are no past forecasts to judge this map by.";
}

function drawCurves() {
  const { exceedance: curve, plume, events } = state.view;
  age(false, "exceedance-panel", "plume-panel");
  byId("exceedance-panel").hidden = !curve;
  byId("plume-panel").hidden = !plume;
  if (curve) {
    const threshold = curve.thresholds[0][1][0] ?? Object.values(curve.values)[0][0];
    state.chart = exceedanceChart(byId("exceedance"), curve, threshold);
    watchDrag(state.chart.svg);
    moveTo(threshold, { count: false });
    byId("counted").textContent = "Drag the line, or use the slider, to count the members beyond another threshold.";
    const columns = [...Object.entries(curve.values), ...curve.usual];
    const rows = [5, 10, 25, 33, 50, 66, 75, 90, 95].map((rank) => [`${rank} %`, ...columns.map(([, values]) => beyond(values, rank / 100))]);
    tableOf(byId("exceedance-table"), ["exceeded with", ...columns.map(([name]) => name)], rows);
  }
  if (plume) {
    state.plume = plumeChart(byId("plume"), plume, events, byId("spaghetti").checked);
    state.plume.show(members.at);
    const { made } = state.plume;
    byId("plume-summary").textContent = plumeSummary(plume, made);
    const head = ["", ...made.flatMap(([name]) => [`${name} 5 %`, `${name} median`, `${name} 95 %`])];
    const rows = plume.labels.map((label, at) => [label, ...made.flatMap(([, steps]) => [0, 2, 4].map((which) => steps[at][which]))]);
    tableOf(byId("plume-table"), head, rows.filter((row) => row.slice(1).some(Number.isFinite)).map(([label, ...values]) => [label, ...values.map((value) => short(Number.isFinite(value) ? value : null))]));
    const names = made.map(([name]) => name), count = Math.max(...names.map((name) => plume.members[name].length));
    tableOf(byId("member-table"), ["member", ...names.flatMap((name) => [name, "event"])], Array.from({ length: count }, (_, member) => [plume.numbers[member], ...names.flatMap((name) => future(name, member))]));
  }
}

function future(name, member) {
  // The number behind the question in one member, or where that is not one number its last step; and what came of it.
  const { exceedance: curve, plume, events } = state.view, rows = plume.members[name];
  if (!rows[member]) return ["–", "–"];
  const [own, units] = curve?.values[name]?.length === rows.length ? [curve.values[name][member], curve.units] : [rows[member].filter((value) => value !== null).at(-1), plume.units];
  return [`${short(own)} ${units}`, { 1: "● yes", 0: "○ no" }[events[name]?.[member]] || "unknown"];
}

function showMember({ at, count, isPlaying }) {
  // While members are played nothing is read aloud: ten words twice a second help nobody.
  const told = byId("member");
  told.setAttribute("aria-live", isPlaying ? "off" : "polite");
  state.plume?.show(at);
  const names = Object.keys(state.view?.plume?.members || {});
  const parts = at < 0 ? [] : names.map((name) => { const [value, event] = future(name, at); return `${names.length > 1 ? `${name}: ` : ""}${value}; event: ${event}`; });
  told.textContent = at < 0 ? "" : `Member ${state.view.plume.numbers[at]}, ${at + 1} of ${count}. ${parts.join(". ")}.`;
}

function beyond(values, chance) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known.length ? short(known[Math.min(known.length - 1, Math.floor(known.length * (1 - chance)))]) : "–";
}

function moveTo(value, { count = true } = {}) {
  // With as many decimals as tell one step of the slider from the next.
  const { range } = state.chart, curve = state.view.exceedance, slider = byId("slider"), span = range[1] - range[0];
  const threshold = state.threshold = Number(value.toFixed(Math.max(0, Math.ceil(Math.log10(slider.max / span)))));
  state.chart.move(threshold);
  slider.value = Math.round((slider.max * (threshold - range[0])) / span);
  slider.setAttribute("aria-valuetext", `${signed(threshold)} ${curve.units}`);
  if (count) byId("counted").textContent = counted(threshold, curve);
}

function counted(value, curve) {
  const rising = !["below", "at_most"].includes(curve.operator);
  const share = (values) => {
    const known = values.filter((each) => each !== null);
    return [known.filter((each) => (rising ? each > value : each < value)).length, known.length];
  };
  const word = rising ? "above" : "below";
  const parts = Object.entries(curve.values).map(([name, values]) => { const [yes, all] = share(values); return `${name === "members" ? "" : `${name}: `}${yes} of ${all} members (${percent(yes / all)})`; });
  const usual = curve.usual.map(([name, values]) => [name, ...share(values)]).filter(([, , all]) => all);
  return `${word} ${signed(value)} ${curve.units}: ${[...parts, ...usual.map(([name, yes, all]) => `${name}: ${yes} of ${all} samples`)].join("; ")}.`;
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
  if (parts && state.view.exceedance.operator) askBlanks({ ...parts, threshold: `${state.threshold} ${state.view.exceedance.units}` });
}

function askAbout(latitude, longitude) {
  const parts = fits();
  if (parts) askBlanks({ ...parts, region: `point(${Number(latitude.toFixed(2))}, ${Number(longitude.toFixed(2))})` });
}

const askBlanks = (parts) => ask(toText(parts), otherText(parts));
const fits = () => fromPair(...shownAnswers().map(({ question }) => question));
const explained = (...texts) => Promise.all(texts.filter(Boolean).map((text) => asking("/v1/explain", text)));
const asWritten = () => [byId("text").value, byId("other").value.trim()];
const write = (text, other) => { [byId("text").value, byId("other").value] = [text, other]; };

function stillWritten() {
  // Tells, once a reply has come, whether the question is as it was: what has been written meanwhile is not overwritten.
  const before = String(asWritten());
  return () => String(asWritten()) === before;
}

async function read() {
  // Both questions in words; null where one of them is wrong, or is being rewritten.
  const isAsWritten = stillWritten();
  try {
    const found = await explained(...asWritten());
    if (!isAsWritten()) return null;
    byId("reading").className = "";
    byId("reading").textContent = [...new Set(found.map((each) => each.reads_as))].join(" Compared with: ");
    return found;
  } catch (error) {
    if (!isAsWritten()) return null;
    byId("reading").className = "wrong";
    byId("reading").textContent = error.text || "The service does not answer.";
    return null;
  }
}

async function restate() {
  const found = await read();
  if (!found?.length) return;
  const parts = fromPair(...found);
  byId("sentence").disabled = !parts;
  if (parts) fill(parts);
  if (!parts && found.length > 1) byId("other-part").open = true;
}

function showSkill() {
  byId("skill-panel").hidden = false;
  const shown = shownAnswers().map(({ skill }, at) => [state.comparison?.names[at] || "", skill]);
  byId("skill").replaceChildren(...shown.map(([name, skill]) => {
    const words = `${name ? `${name}: ` : ""}${skillText(skill)}${skill.reason ? `: ${skill.reason}` : ""}`;
    const textContent = typeof skill.low === "number" ? `${words}; interval ${skill.low.toFixed(2)} to ${skill.high.toFixed(2)}; above 0 is better than the usual odds.` : words;
    return Object.assign(document.createElement("p"), { textContent });
  }));
  byId("reliability").replaceChildren();
  const tables = shown.filter(([, skill]) => skill.reliability).map(([name, skill]) => [name, skill.reliability]);
  if (tables.length) reliabilityChart(byId("reliability"), tables);
  const rows = shown.flatMap(([name, skill]) => (skill.past || []).map((row) => [row.init_time, ...(name ? [name] : []), percent(row.share), row.happened ? "yes" : "no"]));
  byId("past").parentElement.hidden = !rows.length;
  tableOf(byId("past"), ["forecast of", ...(state.comparison ? ["question"] : []), "members said", "came true"], rows);
}

async function awaitSkill(text, other, turn) {
  for (let wait = 0; wait < 60 && turn === state.turn; wait++) {
    await new Promise((done) => setTimeout(done, 1000 * Math.min(10, 1 + wait / 4))); // others' questions may be replayed before it
    const found = await answered(text, other).catch(() => null);
    if (!found || turn !== state.turn) continue;
    Object.assign(state, found);
    if (isPending()) continue;
    showAnswer();
    return;
  }
}

function later(work, wait) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, wait); };
}

async function learn() {
  // What can be asked of the newest run.
  const catalog = state.catalog = await get("/v1/catalog");
  byId("title").textContent = `${catalog.title} – ${catalog.members} members, ${catalog.forecasts.at(-1)}`;
  byId("attribution").textContent = catalog.attribution.join("; ");
  offer(catalog);
  byId("examples").querySelector("ul").replaceChildren(...Object.values(catalog.events).map((text) => {
    const item = document.createElement("li"), link = Object.assign(document.createElement("a"), { textContent: text, href: `/?q=${encodeURIComponent(text)}` });
    item.append(link);
    return item;
  }));
}

async function begin() {
  try {
    await learn();
    fill(firstBlanks(state.catalog)); // and not with nothing, until a question fills them
    await fromAddress();
  } catch (error) {
    refuse(error);
  }
}

async function fromAddress() {
  const query = new URLSearchParams(location.search), text = query.get("q") || firstQuestion(state.catalog);
  Object.assign(state, { asOf: query.get("as_of") || "", isPartial: ["true", "1"].includes(query.get("partial")), level: query.get("level") || "" });
  write(text, query.get("with") || "");
  restate();
  await ask(...asWritten(), { keep: true });
}

byId("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(...asWritten()); });
const readSoon = later(read, 150), restateSoon = later(restate, 250);
byId("sentence").addEventListener("input", () => { write(toText(blanks()), otherText(blanks())); readSoon(); });
for (const id of ["text", "other"]) {
  byId(id).addEventListener("input", restateSoon);
  byId(id).addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); ask(...asWritten()); } });
}
byId("slider").addEventListener("input", () => { const { range } = state.chart; moveTo(range[0] + (byId("slider").value / byId("slider").max) * (range[1] - range[0])); });
byId("slider").addEventListener("change", askThreshold);
byId("spaghetti").addEventListener("change", drawCurves);
for (const id of ["layer", "colour", "hatched"]) byId(id).addEventListener("change", () => state.layers && showMap());
byId("skill-map").addEventListener("change", () => { if (state.layers && byId("skill-map").checked) measureMap(state.turn); });
byId("map-table").addEventListener("click", (event) => {
  if (!sessionStorage.getItem("token")) return;
  event.preventDefault();
  fetchFile(event.target.href, event.target.download);
});
byId("token-form").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("token", byId("token").value); begin(); });
window.addEventListener("popstate", fromAddress);
window.addEventListener("resize", later(() => { if (state.view) drawCurves(); map.draw(); if (state.answer) showSkill(); }, 200));

begin();
