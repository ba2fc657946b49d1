// The question as a sentence with blanks, and as text: each follows the other.

const BLANKS = ["verb", "variable", "anomaly", "region", "span", "window", "operator", "threshold", "scenario", "versus", "forecast", "other-region", "other-forecast"];
const SYMBOLS = { above: ">", at_least: ">=", below: "<", at_most: "<=" };
const byId = (id) => document.getElementById(id);

export function blanks() {
  return Object.fromEntries(BLANKS.map((id) => [id, byId(id).value.trim()]));
}

export function toText(parts) {
  const number = `${parts.variable}${parts.anomaly ? ".anom" : ""}.${parts.verb}(over=${parts.region})`;
  const limit = `${SYMBOLS[parts.operator]} ${parts.threshold}`;
  const late = parts.span === "any" || parts.span === "all";
  const event = late ? `(${number} ${limit}).${parts.span}(time=${parts.window})` : `${number}.${parts.span}(time=${parts.window}) ${limit}`;
  const versus = parts.versus && parts.versus !== parts.scenario ? ` vs ${parts.versus}` : "";
  return `prob ${event}${parts.scenario ? ` scenario ${parts.scenario}${versus}` : ""}${parts.forecast ? ` forecast ${parts.forecast}` : ""}`;
}

export function otherText(parts) {
  // The question that this one is compared with, or nothing.
  const region = parts["other-region"], forecast = parts["other-forecast"];
  return region || forecast ? toText({ ...parts, region: region || parts.region, forecast: forecast || parts.forecast }) : "";
}

export function fromPair(question, other) {
  // The blanks that spell a question and the one it is compared with, or null where no blanks do.
  const parts = fromQuestion(question), second = other && fromQuestion(other);
  if (!other || !parts) return parts;
  const rest = (each) => toText({ ...each, region: "", forecast: "" });
  if (!second || rest(parts) !== rest(second)) return null;
  const elsewhere = second.region === parts.region ? "" : second.region;
  const earlier = second.forecast === parts.forecast ? "" : second.forecast || `fc-${other.resolved.init_time}`;
  return { ...parts, "other-region": elsewhere, "other-forecast": earlier };
}

function fromQuestion({ ask, event, given, forecast, resolved }) {
  // The blanks that spell a question, or null where no blanks do.
  if (ask !== "prob" || given) return null;
  const [scenario, versus] = resolved.scenarios, known = [...byId("forecast").options].map((option) => option.value);
  const left = [...event], found = { anomaly: "", scenario: scenario || "", versus: versus || "", forecast: !forecast || forecast === "latest" ? "" : `fc-${forecast.replace(/^fc-/, "")}` };
  if (!known.includes(found.forecast)) return null;
  const take = (key) => (left.length && key in left[0] ? left.shift()[key] : undefined);
  found.variable = take("var");
  const anomaly = take("anom");
  if (anomaly?.clim) return null; // the blank knows the usual reference alone
  if (anomaly) found.anomaly = "anom";
  for (const verb of ["mean", "max", "min"]) if (left.length && left[0][verb]?.over) { found.verb = verb; found.region = take(verb).over; break; }
  for (const verb of ["mean", "max", "min"]) if (!found.span && left.length && left[0][verb]?.time) { found.span = verb; found.window = take(verb).time; }
  for (const word of Object.keys(SYMBOLS)) if (left.length && word in left[0]) { found.operator = word; found.threshold = take(word); break; }
  for (const verb of ["any", "all"]) if (!found.span && left.length && left[0][verb]?.time) { found.span = verb; found.window = take(verb).time; }
  const whole = !left.length && ["variable", "verb", "region", "span", "window", "operator", "threshold"].every((key) => typeof found[key] === "string");
  return whole ? found : null;
}

export function fill(parts) {
  for (const id of BLANKS) byId(id).value = parts[id] ?? "";
}

export function offer(catalog) {
  // What can stand in the blanks.
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text ?? value });
  byId("variable").replaceChildren(...catalog.variables.map((info) => option(info.name, info.long_name || info.name)));
  const regions = { ...catalog.regions.own, ...catalog.regions.index, ...catalog.regions.ar6, ...catalog.regions.countries };
  byId("regions").replaceChildren(...Object.entries(regions).map(([name, title]) => option(name, title)));
  byId("windows").replaceChildren(...windows(catalog).map((text) => option(text)));
  byId("thresholds").replaceChildren(...["p90", "p66.7", "p33.3", "p10", "record", "1 sigma"].map((text) => option(text)));
  const forecasts = [...catalog.forecasts].reverse();
  for (const id of ["forecasts", "other-forecasts"]) byId(id).hidden = forecasts.length < 2;
  byId("forecast").replaceChildren(option("", `newest (${forecasts[0]})`), ...forecasts.map((name) => option(name)));
  byId("other-forecast").replaceChildren(option("", "the same"), ...forecasts.map((name) => option(name)));
  if (catalog.scenarios.length) {
    byId("scenarios").hidden = false;
    byId("scenario").replaceChildren(...catalog.scenarios.map((name) => option(name)));
    byId("versus").replaceChildren(option("", "nothing"), ...catalog.scenarios.map((name) => option(name)));
  }
}

function windows(catalog) {
  const { labels, units, count } = catalog.lead;
  if (units === "years") return [`${labels[Math.floor(count / 2)].slice(0, 4)}..${labels[Math.min(count - 1, Math.floor(count / 2) + 9)].slice(0, 4)}`, "all"];
  if (units === "months") return [`lead 1..${Math.min(3, count)}`, ...labels.map((label) => label.slice(0, 7)), "all"];
  return [`lead 1..${Math.min(7, count)}`, "all"];
}

export function firstBlanks(catalog) {
  const region = Object.keys(catalog.regions.own)[0] || "globe";
  return {
    verb: "mean", variable: catalog.variables[0].name, anomaly: "", region, span: "mean", window: windows(catalog)[0],
    operator: "above", threshold: "p66.7", scenario: catalog.scenarios[0] || "",
  };
}

// The experiment's own first, since a variable that is masked may have too little of the region that is named first.
export const firstQuestion = (catalog) => Object.values(catalog.events)[0] || toText(firstBlanks(catalog));
