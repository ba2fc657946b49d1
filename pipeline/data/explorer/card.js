// The answer as a card: headline, number line, dots, chips, warnings; and the links that take it elsewhere.

import { numberLine, percent } from "./charts.js";

const VERDICTS = {
  skilful: "skilful in past forecasts", no_evidence: "no skill shown", worse_than_climatology: "worse than the usual odds",
  not_measured: "skill not measured", not_applicable: "skill cannot be measured", pending: "skill is being measured …",
};

function made(name, text, attributes = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...attributes });
}

export function showCard(target, answer) {
  const parts = answer.scenarios || [answer];
  const own = answer.scenarios ? answer.headline.text.split(answer.scenarios[0].headline.text)[0] : answer.headline.text;
  const pieces = [made("p", own || answer.headline.text, { className: "headline" }), made("p", answer.question.reads_as, { className: "quiet" })];
  for (const part of parts.filter((each) => each.members?.total)) {
    if (part.scenario) pieces.push(made("p", part.headline.text));
    pieces.push(numberLine(part), dots(part.members), chips(part));
  }
  if (answer.difference) pieces.push(difference(answer));
  const state = made("ul", "", { className: "chips" });
  state.append(made("li", skillText(answer.skill), { id: "skill-chip" }), made("li", answer.calibration.state.replaceAll("_", " ")));
  const warnings = made("ul", "", { className: "warnings" });
  warnings.append(...answer.warnings.map((warning) => made("li", warning.text)));
  target.replaceChildren(...pieces, state, warnings);
}

export function skillText(skill) {
  const words = VERDICTS[skill.verdict] || skill.verdict;
  return typeof skill.value === "number" ? `${words} (Brier skill ${skill.value.toFixed(2)}, ${skill.hindcasts} past forecasts)` : words;
}

function chips(part) {
  const list = made("ul", "", { className: "chips" });
  const { event, not: other, unknown, total } = part.members;
  list.append(made("li", `${event} of ${event + other} yes${unknown ? `, ${unknown} unknown` : ""}; ${total} members`));
  const base = part.base_rate;
  list.append(made("li", base ? `usually ${base.value > 0 && base.value < 1 ? percent(base.value) : base.value ? "always" : "never"} (${base.events} of ${base.years})` : "usual odds unknown"));
  if (part.ratio?.value) list.append(made("li", `${part.ratio.value.toPrecision(2)} times the usual odds`));
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

function difference(answer) {
  const [one, other] = answer.scenarios.map((part) => part.scenario), { value, low, high } = answer.difference;
  const points = (share) => `${share >= 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(0)}`;
  const ratio = answer.probability_ratio?.value, times = ratio ? ` ${one} has ${ratio.toPrecision(2)} times the chance of ${other}.` : "";
  return made("p", `${one} less ${other}: ${points(value)} points (interval ${points(low)} to ${points(high)}).${times}`, { id: "difference" });
}

export function showLinks(target, answer, { permalink, pinned, yaml, fetchFile }) {
  const query = encodeURIComponent(answer.question.text), is_field = ["map", "series"].includes(answer.question.ask);
  const forms = ["json", "csv", "netcdf", "png", ...(is_field ? ["covjson"] : [])];
  const links = forms.map((form) => {
    const link = made("a", form.toUpperCase(), { href: `/v1/ask?q=${query}${pinned}&format=${form}`, download: `answer.${form === "netcdf" ? "nc" : form}` });
    if (fetchFile) link.addEventListener("click", (event) => { event.preventDefault(); fetchFile(link.href, link.download); });
    return link;
  });
  const copy = (name, text) => {
    const link = made("a", `Copy as ${name}`, { href: permalink });
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      await navigator.clipboard?.writeText(typeof text === "string" ? text : await text());
      link.textContent = `${name} copied`;
    });
    return link;
  };
  const quoted = answer.question.text.replaceAll("'", "'\\''");
  target.replaceChildren(
    made("a", "Permalink", { href: permalink, id: "permalink" }), made("a", "Always the newest", { href: `/?q=${query}`, id: "newest" }), ...links,
    copy("YAML", yaml), copy("Python", `ask(workspace, ${JSON.stringify(answer.question.text)})`),
    copy("curl", `curl '${location.origin}/v1/ask?q=${query.replaceAll("'", "%27")}${pinned}'`), copy("shell command", `tercile ask '${quoted}'`),
  );
}
