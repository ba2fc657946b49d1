// Charts as SVG, drawn at the width they are shown in, so that their text stays as large as the page's.

const SPACE = "http://www.w3.org/2000/svg";
export const STYLES = [
  { colour: "#005ea8", dash: "" }, { colour: "#b8430b", dash: "7 3" }, { colour: "#00735c", dash: "2 2" },
];
const MUTED = "#595959", LINE = "#808080", BAND = "#c9c9c9", INK = "#1a1a1a";

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  const place = (value) => from + ((value - low) / span) * (to - from);
  place.back = (pixel) => low + ((pixel - from) / (to - from)) * span;
  return place;
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough) || power;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

function frame(target, tall, title, x, y, { across, up, label, unit, entries = [] }) {
  const width = Math.max(280, target.clientWidth), lines = keyLines(entries, width, unit), extra = 18 * Math.max(0, lines.length - 1);
  const height = tall + extra, box = { left: 52, right: width - 14, top: 24 + extra, bottom: height - 38 };
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": title });
  svg.append(element("title", {}, title));
  const sx = scale(x[0], x[1], box.left, box.right), sy = scale(y[0], y[1], box.bottom, box.top);
  for (const [value, text] of up) {
    svg.append(element("line", { x1: box.left, x2: box.right, y1: sy(value), y2: sy(value), stroke: "#dcdcdc" }));
    svg.append(element("text", { x: box.left - 6, y: sy(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of across) {
    const at = sx(value), reach = 3.8 * text.length, anchor = at + reach > width ? "end" : "middle";
    svg.append(element("text", { x: anchor === "end" ? width - 2 : at, y: box.bottom + 17, "text-anchor": anchor }, text));
  }
  svg.append(element("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, label));
  svg.append(element("text", { x: 4, y: box.top - 10 }, unit), ...lines.flatMap((line, row) => drawnKey(line, box.right, 14 + 18 * row)));
  target.replaceChildren(svg);
  return { svg, sx, sy, box };
}

const keyWidth = (name) => 7.2 * name.length + 44;

function keyLines(entries, width, unit) {
  // Lines above the chart, beside the unit.
  const lines = [[]], space = width - 18 - 8 * unit.length, most = Math.floor((space - 44) / 7.2);
  let used = 0;
  for (const [name, style] of entries) {
    const shown = name.length > most ? `${name.slice(0, most - 1)}…` : name;
    if (used && used + keyWidth(shown) > space) { lines.push([]); used = 0; }
    lines.at(-1).push([shown, style]);
    used += keyWidth(shown);
  }
  return lines;
}

function drawnKey(line, right, y) {
  let left = right - line.reduce((sum, [name]) => sum + keyWidth(name), 0) + 10;
  return line.flatMap(([name, style]) => {
    const at = left;
    left += keyWidth(name);
    return [sample(style, at, y - 4), element("text", { x: at + 29, y }, name)];
  });
}

function sample({ colour, dash, thick = 3.5 }, x, y) {
  return element("line", { x1: x, x2: x + 24, y1: y, y2: y, stroke: colour, "stroke-width": thick, "stroke-dasharray": dash });
}

export function swatch(at) {
  // The sign of one side, as its lines have it.
  return element("svg", { viewBox: "0 0 26 12", class: "swatch", "aria-hidden": "true" }, sample(STYLES[at], 1, 6));
}

function path(points, attributes) {
  let pen = "M";
  const steps = [];
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) { pen = "M"; continue; }
    steps.push(`${pen}${x.toFixed(1)} ${y.toFixed(1)}`);
    pen = "L";
  }
  return element("path", { d: steps.join(""), fill: "none", ...attributes });
}

function area(upper, lower, attributes) {
  const whole = [...upper, ...lower.reverse()].filter(([, y]) => Number.isFinite(y));
  return element("path", { d: `M${whole.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z`, stroke: "none", ...attributes });
}

export const signed = (value) => value.toString().replace("-", "−");

export const short = (value) => (value === null || value === undefined ? "–" : signed(Number(value.toPrecision(5))));

const amounts = (values) => {
  // To a fiftieth of the range that they span, all with the same decimals, as cards have them.
  const span = Math.max(...values) - Math.min(...values), digits = span ? Math.max(0, Math.ceil(Math.log10(50 / span))) : 2;
  return values.map((value) => (Number(value.toFixed(digits)) < 0 ? "−" : "") + Math.abs(value).toFixed(digits));
};

export function numberLine(part) {
  // 0 to 100 %: bar the interval, circle the members' share, tall tick the usual odds, short tick members as drawn.
  const share = part.members.event / Math.max(1, part.members.event + part.members.not);
  const { climatology: base, raw, calibrated } = part.probability, { low, high } = part.interval;
  const drawn = calibrated !== null && raw !== null && raw !== undefined ? raw : null;
  const marks = [`● members ${percent(share)}`, `▬ ${Math.round(100 * part.interval.level)} % interval ${percent(low)} to ${percent(high)}`];
  if (base !== null) marks.push(`┃ usual odds ${percent(base)}`);
  if (drawn !== null) marks.push(`▾ before calibration ${percent(drawn)}`);
  const words = `${part.name ? `${part.name}: ` : ""}${marks.map((mark) => mark.slice(2)).join(", ")}`;
  const svg = element("svg", { viewBox: "0 0 420 44", role: "img", "aria-label": words, class: "line" });
  const x = scale(0, 1, 12, 408);
  svg.append(element("title", {}, words), element("line", { x1: x(0), x2: x(1), y1: 16, y2: 16, stroke: "#6b6b6b" }));
  svg.append(element("rect", { x: x(low), width: Math.max(1, x(high) - x(low)), y: 11, height: 10, fill: "#7ba3c9" }));
  if (base !== null) svg.append(element("line", { x1: x(base), x2: x(base), y1: 3, y2: 29, stroke: INK, "stroke-width": 2.5 }));
  if (drawn !== null) svg.append(element("path", { d: `M${x(drawn) - 5} 0h10l-5 8z`, fill: MUTED }));
  svg.append(element("circle", { cx: x(share), cy: 16, r: 6, fill: "#005ea8", stroke: "#fff" }));
  for (const at of [0, 0.5, 1]) svg.append(element("text", { x: x(at), y: 41, "text-anchor": at === 0 ? "start" : at === 1 ? "end" : "middle" }, `${100 * at} %`));
  const key = Object.assign(document.createElement("p"), { className: "marks" });
  key.append(...marks.map((mark) => Object.assign(document.createElement("span"), { textContent: mark })));
  const box = document.createElement("div");
  box.append(svg, key);
  return box;
}

export function differenceLine({ value, low, high }, [one, other]) {
  // −100 to +100 points: bar the interval, circle the difference, tall tick none.
  const words = `${one} less ${other}, in points`, x = scale(-1, 1, 12, 408);
  const svg = element("svg", { viewBox: "0 0 420 44", role: "img", "aria-label": words, class: "line" }, element("title", {}, words));
  svg.append(element("line", { x1: x(-1), x2: x(1), y1: 16, y2: 16, stroke: "#6b6b6b" }), element("rect", { x: x(low), width: Math.max(1, x(high) - x(low)), y: 11, height: 10, fill: "#8a8a8a" }));
  svg.append(element("line", { x1: x(0), x2: x(0), y1: 3, y2: 29, stroke: INK, "stroke-width": 2.5 }), element("circle", { cx: x(value), cy: 16, r: 6, fill: INK, stroke: "#fff" }));
  for (const [at, text, anchor] of [[-1, "−100", "start"], [0, "no difference", "middle"], [1, "+100 points", "end"]]) svg.append(element("text", { x: x(at), y: 41, "text-anchor": anchor }, text));
  return svg;
}

export function percent(share) {
  // A finite sample never says 0 or 100 %.
  if (share === null || share === undefined) return "–";
  if (share === 0 || share === 1) return share ? "all" : "none";
  for (let digits = 0; digits < 5; digits++) {
    const text = (100 * share).toFixed(digits);
    if (Number(text) > 0 && Number(text) < 100) return `${text} %`;
  }
  return share < 0.5 ? "almost none" : "almost all";
}

const usualStyle = (at, many) => (many ? { colour: LINE, dash: STYLES[at].dash, thick: 3 } : { colour: "#a8a8a8", dash: "", thick: 5 });
const known = (values) => values.filter((value) => value !== null);

export function exceedanceChart(target, view, threshold) {
  const names = Object.keys(view.values), others = view.thresholds.slice(1);
  const all = known([...Object.values(view.values).flat(), ...view.usual.flatMap(([, values]) => values), ...others.flatMap(([, values]) => values), threshold]);
  const span = [Math.min(...all), Math.max(...all)], pad = (span[1] - span[0]) * 0.04 || 1;
  const x = [span[0] - pad, span[1] + pad], usual = (at) => usualStyle(at, view.usual.length > 1);
  const parts = frame(target, 300, "Share of members, and of reference years, above each value", x, [0, 100], {
    across: ticks(...x, 5).map((value) => [value, short(value)]), up: [0, 10, 33, 50, 66, 90, 100].map((value) => [value, `${value}`]),
    label: `value (${view.units})`, unit: "% above",
    entries: [...names.map((name, at) => [name, STYLES[at]]), ...view.usual.map(([name], at) => [name, usual(at)])],
  });
  const { svg, sx, sy, box } = parts;
  const curve = (values) => known(values).sort((a, b) => a - b).flatMap((value, at, { length }) => [[sx(value), sy(100 * (1 - at / length))], [sx(value), sy(100 * (1 - (at + 1) / length))]]);
  view.usual.forEach(([, values], at) => svg.append(path(curve(values), { stroke: view.usual.length > 1 ? LINE : BAND, "stroke-width": usual(at).thick, "stroke-dasharray": usual(at).dash })));
  names.forEach((name, at) => svg.append(path(curve(view.values[name]), { stroke: STYLES[at].colour, "stroke-width": 2.5, "stroke-dasharray": STYLES[at].dash })));
  const upright = (value, attributes) => element("line", { x1: sx(value), x2: sx(value), y1: box.top, y2: box.bottom, stroke: INK, "stroke-dasharray": "5 3", ...attributes });
  others.forEach(([, values], at) => svg.append(upright(values[0], { stroke: STYLES[at + 1].colour, "stroke-dasharray": STYLES[at + 1].dash, "stroke-width": 1.5 })));
  const line = upright(threshold, { id: "threshold-line", "stroke-width": 2.5 });
  const grip = element("circle", { cx: sx(threshold), cy: box.top + 4, r: 9, fill: "#fff", stroke: INK, "stroke-width": 2 });
  svg.append(line, grip);
  return { ...parts, range: x, move: (value) => { line.setAttribute("x1", sx(value)); line.setAttribute("x2", sx(value)); grip.setAttribute("cx", sx(value)); } };
}

const quantile = (sorted, rank) => {
  const place = (sorted.length - 1) * rank, low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
};

function fans(view) {
  // For each side the 5, 25, 50, 75 and 95 % quantiles at each step; NaN where it has none.
  return Object.entries(view.members).map(([name, rows]) => [name, view.labels.map((_, step) => {
    const values = known(rows.map((row) => row[step])).sort((a, b) => a - b);
    return values.length ? [0.05, 0.25, 0.5, 0.75, 0.95].map((rank) => quantile(values, rank)) : Array(5).fill(NaN);
  })]);
}

export function plumeChart(target, view, events, spaghetti) {
  const made = fans(view), many = view.usual.length > 1;
  const all = known([...Object.values(view.members).flat(2), ...[...view.usual, ...view.past, ...view.thresholds].flatMap(([, row]) => row.flat())]);
  const y = [Math.min(...all), Math.max(...all)], { labels } = view;
  const every = Math.max(1, Math.ceil(labels.length / Math.max(2, Math.floor(target.clientWidth / 90))));
  const { svg, sx, sy, box } = frame(target, 310, "The members over time, with what is usual", [0, Math.max(1, labels.length - 1)], y, {
    across: labels.map((label, at) => [at, label]).filter((_, at) => at % every === 0), up: ticks(...y, 5).map((value) => [value, short(value)]),
    label: "", unit: view.units,
    entries: [...made.map(([name], at) => [name, STYLES[at]]), ...(view.past.length > 1 ? view.past.map(([name], at) => [name, { ...STYLES[at], colour: INK, thick: 1.5 }]) : []), ...view.usual.map(([name], at) => [name, usualStyle(at, many)])],
  });
  const points = (row) => row.map((value, at) => [sx(at), value === null ? NaN : sy(value)]);
  view.usual.forEach(([, row], at) => {
    const end = (which) => points(row.map((pair) => pair && pair[which])), edge = { stroke: LINE, "stroke-dasharray": STYLES[at].dash };
    svg.append(area(end(1), end(0), { fill: BAND, opacity: many ? 0.35 : 0.7 }), ...(many ? [path(end(1), edge), path(end(0), edge)] : []));
  });
  const crowd = element("g"), one = element("g");
  made.forEach(([name, rows], at) => {
    const { colour, dash } = STYLES[at], line = (which) => rows.map((row, step) => [sx(step), sy(row[which])]);
    const isDrawn = (member) => (events[name]?.[member] === 1 ? { "stroke-width": 1.6, opacity: 0.75 } : { "stroke-width": 0.8, opacity: 0.25 });
    if (spaghetti) crowd.append(...view.members[name].map((row, member) => path(points(row), { stroke: colour, ...isDrawn(member) })));
    else crowd.append(area(line(4), line(0), { fill: colour, opacity: 0.18 }), area(line(3), line(1), { fill: colour, opacity: 0.28 }));
    crowd.append(path(line(2), { stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));
  });
  svg.append(crowd, one);
  view.past.forEach(([, row], at) => svg.append(path(points(row), { stroke: INK, "stroke-width": 1.5, "stroke-dasharray": STYLES[at].dash })));
  view.thresholds.forEach(([, values], at) => values.forEach((value) => svg.append(element("line", {
    x1: box.left, x2: box.right, y1: sy(value), y2: sy(value), "stroke-dasharray": "5 3", stroke: view.thresholds.length > 1 ? STYLES[at].colour : INK,
  }))));
  const show = (member) => {
    // One member before the others; its end is filled where it has the event and hollow where not.
    crowd.setAttribute("opacity", member < 0 ? 1 : 0.35);
    one.replaceChildren(...made.flatMap(([name], at) => {
      const row = points(view.members[name][member] || []), { colour, dash } = STYLES[at], [x, bottom] = row.filter((point) => Number.isFinite(point[1])).at(-1) || [];
      if (x === undefined) return [];
      const end = element("circle", { cx: x, cy: bottom, r: 6, fill: events[name]?.[member] === 1 ? colour : "#fff", stroke: colour, "stroke-width": 2.5 });
      return [path(row, { stroke: "#fff", "stroke-width": 6 }), path(row, { stroke: colour, "stroke-width": 3, "stroke-dasharray": dash }), end];
    }));
  };
  return { made, show };
}

export function plumeSummary(view, made) {
  // One sentence for each side: where the members begin and end.
  return made.map(([name, rows]) => {
    const steps = [...rows.keys()].filter((step) => Number.isFinite(rows[step][2])), [first, last] = [steps[0], steps.at(-1)];
    if (!steps.length) return "";
    const told = amounts([first, last].flatMap((step) => [rows[step][2], rows[step][0], rows[step][4]]));
    const end = last > first ? `; in ${view.labels[last]} ${told[3]} (${told[4]} to ${told[5]})` : "";
    return `${made.length > 1 ? `${name}: median` : "Median"} ${told[0]} ${view.units} in ${view.labels[first]} (nine in ten members from ${told[1]} to ${told[2]})${end}.`;
  }).join(" ");
}

export function reliabilityChart(target, tables) {
  const marks = [0, 33, 66, 100].map((value) => [value, `${value}`]);
  const { svg, sx, sy } = frame(target, 300, "How often it came true, by the share of members that said so", [0, 100], [0, 100], {
    across: marks, up: marks, label: "share of members that said yes (%)", unit: "% came true", entries: tables.length > 1 ? tables.map(([name], at) => [name, STYLES[at]]) : [],
  });
  svg.append(element("line", { x1: sx(0), y1: sy(0), x2: sx(100), y2: sy(100), stroke: MUTED, "stroke-dasharray": "5 3" }));
  tables.forEach(([, table], side) => {
    const { colour, dash } = STYLES[side], at = (column) => table.said.map((said, row) => [sx(100 * said), sy(100 * table[column][row])]);
    svg.prepend(area(at("band_high"), at("band_low"), { fill: BAND, opacity: 0.8 / tables.length }));
    svg.append(path(at("happened"), { stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));
    table.said.forEach((said, row) => svg.append(element("circle", { cx: sx(100 * said), cy: sy(100 * table.happened[row]), r: 2 + Math.sqrt(table.cases[row]), fill: side ? "#fff" : colour, stroke: colour, opacity: 0.7 })));
  });
}

export function tableOf(target, head, rows) {
  const table = document.createElement("table");
  const line = (cells, tag) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.append(Object.assign(document.createElement(tag), { textContent: cell }));
    return row;
  };
  table.append(line(head, "th"), ...rows.map((row) => line(row, "td")));
  target.replaceChildren(table);
}
