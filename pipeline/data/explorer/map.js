// The map: one canvas with coastlines, a cell cursor for mouse and keyboard, and a legend of classes. It draws one layer.

import { element } from "./charts.js";
import { points } from "./layers.js";

const CLASSES = {
  probability: { breaks: [0, 0.1, 0.33, 0.5, 0.66, 0.9, 1.0001], colours: ["#fce236", "#c4b468", "#928c78", "#656870", "#34456c", "#00224e"], text: (a, b) => `${Math.round(100 * a)}–${Math.round(100 * b)} %` },
  difference: {
    breaks: [-1.01, -0.4, -0.2, -0.05, 0.05, 0.2, 0.4, 1.01],
    colours: ["#2166ac", "#67a9cf", "#c9dfec", "#ffffff", "#fbd3bd", "#e58368", "#b2182b"],
    text: (a, b, near) => (a < 0 && b > 0 ? `${near}, ±5 points` : `${points(Math.max(a, -1))} to ${points(Math.min(b, 1))} points`),
  },
};

export class FieldMap {
  constructor(target, { legend, place, onAsk }) {
    Object.assign(this, { target, legend, place, onAsk, cell: null, layer: null, colour: "difference", through: false });
    this.canvas = document.createElement("canvas");
    target.append(this.canvas);
    this.canvas.addEventListener("click", (event) => this.point(event, true));
    this.canvas.addEventListener("pointermove", (event) => this.point(event, false));
    target.addEventListener("keydown", (event) => this.key(event));
    fetch("/explorer/coastline.json").then((reply) => reply.json()).then((data) => { this.lines = data.lines; this.draw(); });
  }

  aim(centre) {
    // Latitude and longitude of the cell at which the cursor of the next map begins; where it was, without one.
    this.aimed = centre;
  }

  show(layer, colour, through = this.through) {
    Object.assign(this, { layer, colour, through });
    const { x, y } = layer.domain.axes;
    Object.assign(this, { x: x.values, y: y.values });
    const aimed = this.aimed && [this.y.indexOf(this.aimed[0]), this.x.indexOf(this.aimed[1])];
    if (aimed && !aimed.includes(-1)) this.cell = aimed;
    else if (!this.cell || this.cell[0] >= this.y.length || this.cell[1] >= this.x.length) this.cell = [Math.floor(this.y.length / 2), Math.floor(this.x.length / 2)];
    this.aimed = null;
    this.draw();
    this.tell();
  }

  hatch(pen) {
    // Over colours the lines lie further apart, each with a pale edge, so that they are seen on dark classes too.
    const covers = this.layer.hatching?.covers && !this.through, size = covers ? 8 : 12, half = size / 2;
    const tile = Object.assign(document.createElement("canvas"), { width: size, height: size }), ink = tile.getContext("2d");
    if (covers) { ink.fillStyle = "#ececec"; ink.fillRect(0, 0, size, size); }
    for (const [colour, thick] of covers ? [["#595959", 1.4]] : [["#ffffffb0", 3], ["#3a3a3a", 1.2]]) {
      ink.strokeStyle = colour; ink.lineWidth = thick; ink.beginPath();
      for (const at of [-half, half, 3 * half]) { ink.moveTo(at - half - 1, size + 1); ink.lineTo(at + half + 1, -1); }
      ink.stroke();
    }
    return pen.createPattern(tile, "repeat");
  }

  edges() {
    const dx = (this.x.at(-1) - this.x[0]) / Math.max(1, this.x.length - 1) || 1, dy = (this.y.at(-1) - this.y[0]) / Math.max(1, this.y.length - 1) || 1;
    return { west: this.x[0] - dx / 2, north: this.y.at(-1) + dy / 2, dx, dy };
  }

  draw() {
    if (!this.layer) return;
    const rows = this.y.length, columns = this.x.length, { west, north, dx, dy } = this.edges();
    const width = this.target.clientWidth || 320, middle = (this.y[0] + this.y.at(-1)) / 2;
    const stretch = Math.min(2, 1 / Math.cos((Math.min(70, Math.abs(middle)) * Math.PI) / 180));
    const height = Math.min(1.2 * width, ((rows * dy) / (columns * dx)) * width * stretch), ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const w = width / columns, h = height / rows, { breaks, colours } = CLASSES[this.layer.scale(this.colour).name], hatch = this.hatch(pen);
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      const at = row * columns + column, value = this.layer.value(at, this.colour), x = column * w, y = height - (row + 1) * h;
      if (value === null) {
        pen.fillStyle = "#ffffff"; pen.fillRect(x, y, w + 0.5, h + 0.5);
        pen.fillStyle = "#8a8a8a"; pen.fillRect(x + w / 2 - 0.5, y + h / 2 - 0.5, 1, 1);
      } else {
        let level = 0;
        while (level < colours.length - 1 && value >= breaks[level + 1]) level++;
        pen.fillStyle = colours[level]; pen.fillRect(x, y, w + 0.5, h + 0.5);
        if (this.layer.isHatched(at)) { pen.fillStyle = hatch; pen.fillRect(x, y, w + 0.5, h + 0.5); }
      }
    }
    this.coast(pen, (longitude) => ((longitude - west) / dx) * w, (latitude) => ((north - latitude) / dy) * h, width);
    const [row, column] = this.cell;
    pen.strokeStyle = "#ffffff"; pen.lineWidth = 5; pen.strokeRect(column * w - 3, height - (row + 1) * h - 3, w + 6, h + 6);
    pen.strokeStyle = "#1a1a1a"; pen.lineWidth = 2; pen.strokeRect(column * w - 3, height - (row + 1) * h - 3, w + 6, h + 6);
    this.explain();
  }

  coast(pen, px, py, width) {
    for (const turn of [-360, 0, 360]) for (const line of this.lines || []) {
      const flat = line.flat(), longitudes = flat.filter((_, at) => at % 2 === 0);
      if (px(Math.max(...longitudes) + turn) < 0 || px(Math.min(...longitudes) + turn) > width) continue;
      for (const [colour, thick] of [["#ffffff", 2.2], ["#1a1a1a", 0.9]]) {
        pen.beginPath();
        for (let at = 0; at < flat.length; at += 2) pen.lineTo(px(flat[at] + turn), py(flat[at + 1]));
        pen.strokeStyle = colour; pen.lineWidth = thick; pen.stroke();
      }
    }
  }

  explain() {
    const { name, near } = this.layer.scale(this.colour), { breaks, colours, text } = CLASSES[name], { hatching } = this.layer;
    const entry = (fill, words, extra) => {
      const box = document.createElement("span"), patch = element("svg", { viewBox: "0 0 22 18", "aria-hidden": "true" });
      patch.append(element("rect", { x: 1, y: 1, width: 20, height: 16, fill, stroke: "#595959", "stroke-dasharray": extra === "hatch" ? "" : extra || "" }));
      if (extra === "hatch") for (const at of [2, 9, 16]) patch.append(element("line", { x1: at, y1: 16, x2: at + 5, y2: 2, stroke: "#595959" }));
      box.append(patch, words);
      return box;
    };
    this.legend.replaceChildren(...colours.map((colour, at) => entry(colour, text(breaks[at], breaks[at + 1], near))), ...(hatching ? [entry(hatching.covers ? "#ececec" : "#fff", hatching.words, "hatch")] : []), entry("#fff", "no data", "1 2"));
  }

  point(event, chosen) {
    if (!this.layer) return;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.x.length), row = this.y.length - 1 - Math.floor(((event.clientY - box.top) / box.height) * this.y.length);
    if (row < 0 || column < 0 || row >= this.y.length || column >= this.x.length) return;
    if (chosen) { this.cell = [row, column]; this.draw(); this.ask(); }
    this.tell(row, column);
  }

  key(event) {
    const steps = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!this.layer) return;
    if (event.key in steps) {
      const [dy, dx] = steps[event.key];
      this.cell = [Math.min(this.y.length - 1, Math.max(0, this.cell[0] + dy)), Math.min(this.x.length - 1, Math.max(0, this.cell[1] + dx))];
      this.draw();
      this.tell();
      event.preventDefault();
    } else if (event.key === "Enter") { this.ask(); event.preventDefault(); }
    else if (event.key === "Escape") this.target.blur();
  }

  ask() { this.onAsk(this.y[this.cell[0]], ((this.x[this.cell[1]] + 540) % 360) - 180); }

  tell(row = this.cell[0], column = this.cell[1]) {
    const at = row * this.x.length + column, north = this.y[row], east = ((this.x[column] + 540) % 360) - 180;
    const place = `${Math.abs(north).toFixed(1)}° ${north < 0 ? "S" : "N"}, ${Math.abs(east).toFixed(1)}° ${east < 0 ? "W" : "E"}`;
    this.place.textContent = `${place}: ${this.layer.tell(at)}${this.layer.isHatched(at) ? `; ${this.layer.hatching.words}` : ""}`;
  }
}
