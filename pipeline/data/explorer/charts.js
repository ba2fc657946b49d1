// Charts as SVG, drawn at the width they are shown in, so that their text stays as large as the page's.

const SPACE = "http://www.w3.org/2000/svg";
export const STYLES = [
  { colour: "#005ea8", dash: "" }, { colour: "#b8430b", dash: "7 3" }, { colour: "#00735c", dash: "2 2" },
];
const MUTED = "#595959", BAND = "#c9c9c9", INK = "#1a1a1a";

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

function frame(target, height, title, x, y, { across, up, label, unit }) {
  const width = Math.max(280, target.clientWidth);
  const box = { left: 52, right: width - 14, top: 24, bottom: height - 38 };
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
  svg.append(element("text", { x: 4, y: 14 }, unit));
  target.replaceChildren(svg);
  return { svg, sx, sy, box };
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

export const short = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(5)).toString());

export function numberLine(part) {
  // 0 to 100 %: bar the interval, circle the members' share, tall tick the usual odds, short tick members as drawn.
  const share = part.members.event / Math.max(1, part.members.event + part.members.not);
  const { climatology: base, raw, calibrated } = part.probability, { low, high } = part.interval;
  const drawn = calibrated !== null && raw !== null && raw !== undefined ? raw : null;
  const marks = [`● members ${percent(share)}`, `▬ ${Math.round(100 * part.interval.level)} % interval ${percent(low)} to ${percent(high)}`];
  if (base !== null) marks.push(`┃ usual odds ${percent(base)}`);
  if (drawn !== null) marks.push(`▾ before calibration ${percent(drawn)}`);
  const words = `${part.scenario ? `${part.scenario}: ` : ""}${marks.map((mark) => mark.slice(2)).join(", ")}`;
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

export function exceedanceChart(target, view, threshold) {
  const all = [...Object.values(view.values).flat(), ...view.reference, threshold].filter((value) => value !== null);
  const span = [Math.min(...all), Math.max(...all)], pad = (span[1] - span[0]) * 0.04 || 1;
  const x = [span[0] - pad, span[1] + pad];
  const parts = frame(target, 300, "Share of members, and of reference years, above each value", x, [0, 100], {
    across: ticks(...x, 5).map((value) => [value, short(value)]), up: [0, 10, 33, 50, 66, 90, 100].map((value) => [value, `${value}`]),
    label: `value (${view.units})`, unit: "% above",
  });
  const { svg, sx, sy, box } = parts;
  const curve = (values) => {
    const known = values.filter((value) => value !== null).sort((a, b) => a - b);
    return known.flatMap((value, at) => [[sx(value), sy(100 * (1 - at / known.length))], [sx(value), sy(100 * (1 - (at + 1) / known.length))]]);
  };
  svg.append(path(curve(view.reference), { stroke: BAND, "stroke-width": 5 }));
  Object.entries(view.values).forEach(([name, values], at) => {
    const style = STYLES[at % STYLES.length];
    svg.append(path(curve(values), { stroke: style.colour, "stroke-width": 2.5, "stroke-dasharray": style.dash }));
  });
  key(svg, box, [...Object.keys(view.values).map((name, at) => [name || "members", STYLES[at % STYLES.length]]), ["reference", { colour: "#a8a8a8", dash: "" }]]);
  const line = element("line", { id: "threshold-line", x1: sx(threshold), x2: sx(threshold), y1: box.top, y2: box.bottom, stroke: INK, "stroke-width": 2.5, "stroke-dasharray": "5 3" });
  const grip = element("circle", { cx: sx(threshold), cy: box.top + 4, r: 9, fill: "#fff", stroke: INK, "stroke-width": 2 });
  svg.append(line, grip);
  return { ...parts, range: x, move: (value) => { line.setAttribute("x1", sx(value)); line.setAttribute("x2", sx(value)); grip.setAttribute("cx", sx(value)); } };
}

function key(svg, box, entries) {
  // In the line above the chart, from the right.
  let right = box.right;
  for (const [name, style] of entries.reverse()) {
    const width = 7.6 * name.length + 34;
    svg.append(element("line", { x1: right - width, x2: right - width + 24, y1: 10, y2: 10, stroke: style.colour, "stroke-width": 3.5, "stroke-dasharray": style.dash }));
    svg.append(element("text", { x: right - width + 29, y: 14 }, name));
    right -= width + 10;
  }
}

const quantile = (sorted, rank) => {
  const place = (sorted.length - 1) * rank, low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
};

export function fans(view) {
  // For each scenario the 5, 25, 50, 75 and 95 % quantiles at each step.
  return Object.entries(view.members).map(([name, rows]) => [name, view.dates.map((_, step) => {
    const values = rows.map((row) => row[step]).filter((value) => value !== null).sort((a, b) => a - b);
    return values.length ? [0.05, 0.25, 0.5, 0.75, 0.95].map((rank) => quantile(values, rank)) : Array(5).fill(NaN);
  })]);
}

export function plumeChart(target, view, event, spaghetti) {
  const past = view.past.values.length, steps = view.dates.length;
  const made = fans(view);
  const all = [...Object.values(view.members).flat(2), ...view.low, ...view.high, ...view.past.values, ...view.thresholds].filter((value) => value !== null);
  const y = [Math.min(...all), Math.max(...all)];
  const labels = [...view.past.dates, ...view.dates], x = [-past, Math.max(1, steps - 1)];
  const every = Math.max(1, Math.ceil(labels.length / Math.max(2, Math.floor(target.clientWidth / 90))));
  const { svg, sx, sy, box } = frame(target, 310, "The members over time, with what is usual", x, y, {
    across: labels.map((label, at) => [at - past, label]).filter((_, at) => at % every === 0), up: ticks(...y, 5).map((value) => [value, short(value)]),
    label: "", unit: view.units,
  });
  const number = (value) => (value === null ? NaN : value);
  svg.append(area(view.high.map((value, at) => [sx(at), sy(number(value))]), view.low.map((value, at) => [sx(at), sy(number(value))]), { fill: BAND, opacity: 0.7 }));
  made.forEach(([name, rows], at) => {
    const style = STYLES[at % STYLES.length];
    const line = (which) => rows.map((row, step) => [sx(step), sy(row[which])]);
    if (spaghetti) {
      const yes = event && Array.isArray(event[0]) ? event[at] : event;
      view.members[name].forEach((row, member) => svg.append(path(row.map((value, step) => [sx(step), sy(number(value))]), {
        stroke: style.colour, "stroke-width": yes && yes[member] === 1 ? 1.6 : 0.8, opacity: yes && yes[member] === 1 ? 0.75 : 0.25,
      })));
    } else {
      svg.append(area(line(4), line(0), { fill: style.colour, opacity: 0.18 }), area(line(3), line(1), { fill: style.colour, opacity: 0.28 }));
    }
    svg.append(path(line(2), { stroke: style.colour, "stroke-width": 2.5, "stroke-dasharray": style.dash }));
  });
  svg.append(path(view.past.values.map((value, at) => [sx(at - past), sy(number(value))]), { stroke: INK, "stroke-width": 1.5 }));
  for (const threshold of view.thresholds) svg.append(element("line", { x1: box.left, x2: box.right, y1: sy(threshold), y2: sy(threshold), stroke: INK, "stroke-dasharray": "5 3" }));
  key(svg, box, [...made.map(([name], at) => [name || "members", STYLES[at % STYLES.length]]), ["usual", { colour: "#a8a8a8", dash: "" }]]);
  return made;
}

export function plumeSummary(view, made) {
  // One sentence for each scenario: where the members begin and end.
  const near = (value) => short(value === null ? null : Number(value.toPrecision(3)));
  return made.map(([name, rows]) => {
    const [first, last] = [rows[0], rows.at(-1)];
    const end = view.dates.length > 1 ? `; in ${view.dates.at(-1)} ${near(last[2])} (${near(last[0])} to ${near(last[4])})` : "";
    return `${name ? `${name}: median` : "Median"} ${near(first[2])} ${view.units} in ${view.dates[0]} (nine in ten members from ${near(first[0])} to ${near(first[4])})${end}.`;
  }).join(" ");
}

export function reliabilityChart(target, table) {
  const marks = [0, 33, 66, 100].map((value) => [value, `${value}`]);
  const { svg, sx, sy } = frame(target, 300, "How often it came true, by the share of members that said so", [0, 100], [0, 100], {
    across: marks, up: marks, label: "share of members that said yes (%)", unit: "% came true",
  });
  const at = (column) => table.said.map((said, row) => [sx(100 * said), sy(100 * table[column][row])]);
  svg.append(area(at("band_high"), at("band_low"), { fill: BAND, opacity: 0.8 }));
  svg.append(element("line", { x1: sx(0), y1: sy(0), x2: sx(100), y2: sy(100), stroke: MUTED, "stroke-dasharray": "5 3" }));
  svg.append(path(at("happened"), { stroke: STYLES[0].colour, "stroke-width": 2.5 }));
  table.said.forEach((said, row) => svg.append(element("circle", { cx: sx(100 * said), cy: sy(100 * table.happened[row]), r: 2 + Math.sqrt(table.cases[row]), fill: STYLES[0].colour, opacity: 0.7 })));
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
