// The answer as a card: headline, number line, dots, chips, warnings; and the links that take it elsewhere.

import { differenceLine, numberLine, percent, signed, swatch } from "./charts.js";
import { points } from "./layers.js";

const factor = (ratio) => Number(ratio.toPrecision(2)).toString(); // 2.1, 170
const VERDICTS = {
  skilful: "skilful in past forecasts", no_evidence: "no skill shown", worse_than_climatology: "worse than the usual odds",
  not_measured: "skill not measured", not_applicable: "skill cannot be measured", pending: "skill is being measured …",
};

function made(name, text, attributes = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...attributes });
}

export function showCard(target, answer, comparison) {
  const told = comparison || answer, parts = sidesOf(answer, comparison);
  const own = answer.difference ? answer.headline.text.split(answer.scenarios[0].headline.text)[0] : told.headline.text;
  const pieces = [made("p", own, { className: "headline" })];
  if (told.difference) pieces.push(...difference(told, parts.map((part) => part.name)));
  const readings = new Set((comparison ? parts : [answer]).map((each) => each.question.reads_as));
  if (readings.size === 1) pieces.push(made("p", [...readings][0], { className: "quiet" }));
  parts.forEach((part, at) => {
    if (part.name && part.members?.total) pieces.push(side(part, at));
    if (readings.size > 1) pieces.push(made("p", part.question.reads_as, { className: "quiet" }));
    if (part.members?.total) pieces.push(numberLine(part), dots(part.members), chips(part));
    if (comparison || at === parts.length - 1) pieces.push(state(comparison ? part : answer));
  });
  const warnings = made("ul", "", { className: "warnings" });
  warnings.append(...warned(answer, comparison).map((text) => made("li", text)));
  target.replaceChildren(...pieces, warnings);
}

function sidesOf(answer, comparison) {
  // One part for each number of the card, under its name.
  if (comparison) return comparison.answers.map((part, at) => ({ ...part, name: comparison.names[at] }));
  return (answer.scenarios || [answer]).map((part) => ({ ...part, name: part.scenario }));
}

function side(part, at) {
  const line = made("p", "", { className: "side" });
  line.append(swatch(at), made("strong", `${part.name}: `), part.headline.text.replace(`Under ${part.name}: `, ""));
  return line;
}

function state({ skill, calibration }) {
  const list = made("ul", "", { className: "chips" });
  list.append(made("li", skillText(skill), { className: "skill-chip" }), made("li", calibration.state.replaceAll("_", " ")));
  return list;
}

function warned(answer, comparison) {
  // What both sides say is said once.
  if (!comparison) return answer.warnings.map((warning) => warning.text);
  const texts = comparison.answers.map((part) => part.warnings.map((warning) => warning.text));
  const shared = texts[0].filter((text) => texts[1].includes(text));
  const single = texts.flatMap((own, at) => own.filter((text) => !shared.includes(text)).map((text) => `${comparison.names[at]}: ${text}`));
  return [...comparison.warnings.map((warning) => warning.text), ...shared, ...single];
}

export function skillText(skill) {
  const words = VERDICTS[skill.verdict] || skill.verdict;
  return typeof skill.value === "number" ? `${words} (Brier skill ${signed(skill.value.toFixed(2))}, ${skill.hindcasts} past forecasts)` : words;
}

function chips(part) {
  const list = made("ul", "", { className: "chips" });
  const { event, not: other, unknown, excluded, total, samples_per_member: samples } = part.members;
  list.append(made("li", `${event} of ${event + other} yes${unknown ? `, ${unknown} unknown` : ""}${excluded ? `, ${excluded} without the condition` : ""}${samples > 1 ? `; ${total} members` : ""}`));
  const base = part.base_rate;
  list.append(made("li", base ? `usually ${base.value > 0 && base.value < 1 ? percent(base.value) : base.value ? "always" : "never"} (${base.events} of ${base.years})` : "usual odds unknown"));
  if (part.ratio?.value) list.append(made("li", `${factor(part.ratio.value)} times the usual odds`));
  if (part.headline.likelihood_term) list.append(made("li", `${part.headline.likelihood_term} (scale of the IPCC)`));
  return list;
}

function dots(members) {
  // One dot for each member where they are few enough to count, a hundred otherwise.
  const all = members.event + members.not + members.unknown, shown = all <= 100 ? all : 100;
  const count = (number) => Math.round((number / all) * shown);
  const yes = count(members.event), open = count(members.unknown);
  const box = made("div", "", { className: "dots" });
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${members.event} of ${all} futures have the event`);
  for (let at = 0; at < shown; at++) box.append(made("i", "", { className: at < yes ? "yes" : at >= shown - open ? "open" : "" }));
  return box;
}

function difference({ difference: gap, probability_ratio: ratio }, [one, other]) {
  const ends = ratio.high === null ? `interval from ${factor(ratio.low)}` : `interval ${factor(ratio.low)} to ${factor(ratio.high)}`;
  const chance = ratio.value === null ? ` ${ratio.value_reason}${ratio.low > 0 ? ` The ratio is at least ${factor(ratio.low)}.` : ""}` : ` ${one} has ${factor(ratio.value)} times the chance of ${other} (${ends}).`;
  const how = gap.method.includes("paired") ? "Members are the same futures in both, so they are compared in pairs." : "Members were drawn apart, so they are compared as independent.";
  const text = `${one} less ${other}: ${points(gap.value)} points (interval ${points(gap.low)} to ${points(gap.high)}).${chance} ${how}`;
  return [differenceLine(gap, [one, other]), made("p", text, { id: "difference" })];
}

const FORMS = { json: "JSON", csv: "CSV", netcdf: "NetCDF", png: "PNG", svg: "SVG", covjson: "CoverageJSON" };

export function showLinks(target, answer, { permalink, newest, other, pinned, isPartial, level, yaml, fetchFile }) {
  const texts = other ? [answer.question.text, other] : [answer.question.text], coded = texts.map(encodeURIComponent);
  const address = other ? `/v1/compare?q=${coded[0]}&with=${coded[1]}${pinned}` : `/v1/ask?q=${coded[0]}${pinned}`;
  const file = (name, href, download) => {
    const link = made("a", name, { href, download });
    if (fetchFile) link.addEventListener("click", (event) => { event.preventDefault(); fetchFile(link.href, link.download); });
    return link;
  };
  const is_field = ["map", "series"].includes(answer.question.ask), forms = Object.keys(FORMS).filter((form) => is_field || form !== "covjson");
  const files = other
    ? [file("JSON", address, "comparison.json"), ...coded.map((query, at) => file(`CSV of the ${at ? "second" : "first"}`, `/v1/ask?q=${query}${pinned}&format=csv`, `answer-${at + 1}.csv`))]
    : forms.map((form) => file(FORMS[form], `${address}&format=${form}`, `answer.${form === "netcdf" ? "nc" : form}`));
  const copy = (name, text) => {
    const link = made("a", `Copy as ${name}`, { href: permalink });
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      const content = typeof text === "string" ? text : await text();
      if (!navigator.clipboard) { target.append(made("pre", content)); return; } // browsers have none for a page of http from elsewhere
      await navigator.clipboard.writeText(content);
      link.textContent = `${name} copied`;
    });
    return link;
  };
  const options = `${isPartial ? " --partial" : ""}${level ? ` --level ${level}` : ""}`, keywords = `${isPartial ? ", partial=True" : ""}${level ? `, level=${level / 100}` : ""}`;
  const python = texts.map((text) => `ask(workspace, ${JSON.stringify(text)}${keywords})`), shell = texts.map((text) => `'${text.replaceAll("'", "'\\''")}'`);
  target.replaceChildren(
    made("a", "Permalink", { href: permalink, id: "permalink" }), made("a", "Always the newest", { href: newest, id: "newest" }), ...files,
    copy("YAML", yaml), copy("Python", other ? `${python[0]}.compare(${python[1]})` : python[0]),
    copy("curl", `curl '${location.origin}${address.replaceAll("'", "%27")}'`), copy("shell command", `tercile ask ${shell.join(" --against ")}${options}`),
  );
}
