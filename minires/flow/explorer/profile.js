// The profile under the networks: a measure of every weight below the weight itself, a line for each network.

import { svg } from "./dom.js";
import { MEASURES, weightLog } from "./measures.js";
import { share, tick, ticks } from "./numbers.js";
import { round } from "./places.js";

export const PROFILE = { height: 76, gap: 26 }; // pixels; the gap is above it

export class Profile {
  // cells: {index of the network, tensor, x, lane} of every weight that is drawn
  constructor(run, cells, measure, limits, top) {
    Object.assign(this, { run, measure, limits, top });
    this.cells = run.networks.map((_, i) => cells.filter(({ index }) => index === i).sort((a, b) => a.x - b.x));
    // the line follows the main lane, unless most weights lie elsewhere: behind a layer norm, or side by side
    this.along = this.cells.map((own) => {
      const main = own.filter(({ lane }) => lane === 0);
      return 2 * main.length >= own.length ? main : own;
    });
  }

  draw(left, right, each) {
    this.radius = each < 24 ? 1.7 : 2.6;
    const group = svg("g", { class: "profile" });
    for (const value of ticks(this.limits)) {
      const y = round(this.heightOf(Math.log10(value)));
      group.append(svg("line", { class: "grid", x1: left - 4, x2: round(right), y1: y, y2: y }));
      group.append(svg("text", { class: "tick", x: left - 8, y: y + 3.5 }, tick(value)));
    }
    const { name, says } = MEASURES[this.measure];
    const what = this.measure === "turn" ? `${says}, log scale` : `${name} of each weight, log scale`;
    group.append(svg("text", { class: "axis", x: left < 60 ? 2 : 6, y: this.top - 10 }, what));
    const paths = (name) => this.run.networks.map((network) => svg("path", { class: `${name} is-${network.look}` }));
    this.ghosts = paths("profile-line ghost");
    this.lines = paths("profile-line");
    this.dots = paths("profile-dots");
    group.append(...this.ghosts, ...this.lines, ...this.dots);
    return group;
  }

  // With a cut, the line without it stays as a ghost.
  update(at, cut) {
    this.run.networks.forEach((network, i) => {
      const along = this.along[i];
      const dots = this.points(i, this.cells[i], at, cut);
      const uncut = cut?.network === network ? this.points(i, along, at, { ...cut, number: 0 }) : [];
      this.lines[i].setAttribute("d", line(this.points(i, along, at, cut)));
      this.dots[i].setAttribute("d", dots.map((point) => this.dot(i, point)).join(""));
      this.ghosts[i].setAttribute("d", line(uncut));
    });
  }

  heightOf(log) {
    return this.top + PROFILE.height * (1 - (log === -Infinity ? 0 : share(log, this.limits)));
  }

  // [x, y, whether it is 0, or too small for the scale]
  points(index, cells, at, cut) {
    return cells
      .map(({ tensor, x }) => [x, weightLog(this.run.networks[index], at, tensor, cut, this.measure)])
      .filter(([, log]) => !Number.isNaN(log))
      .map(([x, log]) => [round(x), round(this.heightOf(log)), log < this.limits[0] - 0.01]);
  }

  // Circles or squares, as its colour is the first or another; triangles at the foot for what is 0, or below it.
  dot(index, [x, y, zero]) {
    const r = this.radius;
    if (zero) return `M${x - 4} ${y - 6}h8l-4 6z`;
    if (this.run.networks[index].look === "first")
      return `M${round(x - r)} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
    return `M${round(x - r)} ${round(y - r)}h${2 * r}v${2 * r}h${-2 * r}z`;
  }
}

const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join("");
