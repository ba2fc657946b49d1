// What is drawn of one question or of two: curves and plumes on shared axes, each part under its name.

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export function sides(views, names) {
  // Parts in different units share no axis, so they are not drawn.
  const title = (name, side) => (views.length > 1 ? names[side] : name || "members");
  const fit = (of) => views.every((view) => view[of] && view[of].units === views[0][of].units);
  return {
    exceedance: fit("exceedance") ? curves(views.map((view) => view.exceedance), title) : null,
    plume: fit("plume") ? courses(views.map((view) => view.plume), title) : null,
    events: Object.fromEntries(views.flatMap((view, side) => outcomes(view).map(([name, event]) => [title(name, side), event]))),
  };
}

function outcomes({ event, exceedance, plume }) {
  // Each member's 1, 0 or null by scenario; null where a member has more than one sample.
  const names = Object.keys((plume || exceedance)?.members || exceedance?.values || {});
  return names.map((name, at) => [name, Array.isArray(event?.[0]) ? event[at] : event]);
}

function curves(views, title) {
  const { units, operator } = views[0], named = (of) => views.map((view, side) => [title("", side), view[of]]);
  return {
    units, operator, thresholds: joined(named("thresholds"), "threshold"), usual: joined(named("reference"), "reference"),
    values: Object.fromEntries(views.flatMap((view, side) => Object.entries(view.values).map(([name, values]) => [title(name, side), values]))),
  };
}

function courses(views, title) {
  const { labels, places } = axis(views);
  const put = (side, values, from = 0) => {
    const row = Array(labels.length).fill(null);
    values.forEach((value, at) => { row[places[side][from + at]] = value; });
    return row;
  };
  const lead = (view) => view.past.dates.length;
  const named = (row) => views.map((view, side) => [title("", side), row(view, side)]);
  return {
    units: views[0].units, labels, thresholds: joined(named((view) => view.thresholds), "threshold"),
    numbers: views.map((view) => view.numbers).reduce((most, own) => (own.length > most.length ? own : most)),
    past: joined(named((view, side) => put(side, view.past.values)), "observed"),
    usual: joined(named((view, side) => put(side, view.low.map((low, at) => [low, view.high[at]]), lead(view))), "usual"),
    members: Object.fromEntries(views.flatMap((view, side) => Object.entries(view.members).map(([name, rows]) => [title(name, side), rows.map((row) => put(side, row, lead(view)))]))),
  };
}

function axis(views) {
  // The dates of all where they overlap; else leads, so that forecasts of different years lie on each other.
  const whole = views.map((view) => [...view.past.dates, ...view.dates]);
  if (views.every((view) => view.dates.some((date) => views[0].dates.includes(date)))) {
    const labels = [...new Set(whole.flat())].sort();
    return { labels, places: whole.map((dates) => dates.map((date) => labels.indexOf(date))) };
  }
  const before = Math.max(...views.map((view) => view.past.dates.length)), after = Math.max(...views.map((view) => view.dates.length));
  const labels = Array.from({ length: before + after }, (_, at) => `lead ${at - before + 1}`);
  return { labels, places: views.map((view, side) => whole[side].map((_, at) => at + before - view.past.dates.length)) };
}

function joined(named, label) {
  // Rows that nowhere contradict each other are one row; others keep the name of their side.
  const [, first] = named[0];
  const agree = named.every(([, row]) => row.length === first.length && row.every((value, at) => value === null || first[at] === null || same(value, first[at])));
  if (!agree) return named.map(([name, row]) => [`${label}, ${name}`, row]);
  return [[label, first.map((_, at) => named.map(([, row]) => row[at]).find((value) => value !== null) ?? null)]];
}
