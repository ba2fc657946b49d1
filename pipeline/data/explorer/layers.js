// What a map shows: the chances under one scenario, or how far those of two lie apart; what each says at a cell, and of all.

import { percent } from "./charts.js";

const SKILFUL = 1; // place of "skilful" in the flags of skill_verdict; what could not be measured has shown no skill either
const UNCLEAR = 1, CLEAR = 2; // places of "no_clear_difference" and "clear_difference" in those of difference_verdict

export const points = (share) => { const whole = Math.round(Math.abs(100 * share)); return whole ? `${share > 0 ? "+" : "−"}${whole}` : "0"; };

export function layersOf(found) {
  // By name; of two scenarios first their difference.
  if (!found.coverages) return { "": new Chances(found) };
  const chances = found.coverages.filter(({ ranges }) => ranges.probability).map((coverage) => [coverage.id, new Chances(coverage)]);
  const contrast = found.coverages.filter(({ ranges }) => ranges.difference).map((coverage) => new Contrast(coverage, chances));
  return Object.fromEntries([...contrast.map((layer) => [layer.name, layer]), ...chances]);
}

class Chances {
  constructor({ domain, ranges }) { Object.assign(this, { domain, ranges, hasSkill: Boolean(ranges.skill_verdict), isContrast: false }); }

  scale(colour) { return { name: colour === "probability" ? "probability" : "difference", near: "as usual" }; }

  get hatching() { return this.hasSkill ? { words: "no skill shown in past forecasts", covers: true } : null; }

  value(at, colour) {
    const { probability, base_rate: base } = this.ranges, share = probability.values[at];
    if (colour === "probability") return share;
    return share === null || base.values[at] === null ? null : share - base.values[at];
  }

  isHatched(at) { return this.hasSkill && this.ranges.skill_verdict.values[at] !== SKILFUL; }

  tell(at) {
    const { probability, base_rate: base } = this.ranges, share = probability.values[at], usual = base.values[at];
    return share === null ? "no data" : `members with the event: ${percent(share)}; usual odds: ${usual === null ? "not known" : percent(usual)}`;
  }

  summary() {
    // One sentence: how far the shares reach, and where they differ from what is usual.
    const { probability, base_rate: base } = this.ranges;
    const known = probability.values.map((share, at) => [share, base.values[at]]).filter(([share]) => share !== null);
    if (!known.length) return "No cell has data.";
    const shares = known.map(([share]) => share), more = known.filter(([share, usual]) => usual !== null && share - usual >= 0.05).length;
    const less = known.filter(([share, usual]) => usual !== null && share - usual <= -0.05).length;
    const compared = known.some(([, usual]) => usual !== null) ? `more than usual in ${more} of ${known.length} cells, less in ${less}` : "the record is too short to say what is usual";
    return `From ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))} of members; ${compared}.`;
  }
}

class Contrast {
  constructor({ domain, ranges }, chances) {
    const name = chances.map(([scenario]) => scenario).join(" less ");
    Object.assign(this, { domain, ranges, chances, name, hasSkill: false, isContrast: true, hatching: { words: "no clear difference", covers: false } });
  }

  scale() { return { name: "difference", near: "about the same" }; }

  value(at) { return this.ranges.difference.values[at]; }

  isHatched(at) { return this.ranges.difference_verdict.values[at] === UNCLEAR; }

  tell(at) {
    const { difference, difference_low: low, difference_high: high } = this.ranges;
    if (difference.values[at] === null) return "no data";
    const shares = this.chances.map(([name, layer]) => `${name} ${percent(layer.ranges.probability.values[at])}`).join(", ");
    return `${shares}; ${this.name}: ${points(difference.values[at])} points (interval ${points(low.values[at])} to ${points(high.values[at])})`;
  }

  summary() {
    // How far the difference reaches, and over how much of the area it is clear; a row of cells counts by its width on the globe.
    const { difference, difference_verdict: verdict } = this.ranges, { x, y } = this.domain.axes;
    const known = difference.values.filter((value) => value !== null);
    if (!known.length) return "No cell has data.";
    const area = (least) => verdict.values.reduce((sum, flag, at) => sum + (flag >= least ? Math.cos((y.values[Math.floor(at / x.values.length)] * Math.PI) / 180) : 0), 0);
    const share = area(CLEAR) / area(UNCLEAR), where = share === 0 ? "nowhere" : share === 1 ? "everywhere" : `over ${percent(share)} of the area`;
    return `${this.name}: ${points(Math.min(...known))} to ${points(Math.max(...known))} points; clearly different ${where}, each cell judged alone.`;
  }
}
