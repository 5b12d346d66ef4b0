// Time: a slider over the recorded steps with a play button, heatmaps of depth × step to go to a moment in, and curves.

import { html, svg } from "./dom.js";
import { MEASURES, weightLimits, weightLog } from "./measures.js";
import { share, limits, short, percent, nearest } from "./numbers.js";
import { round } from "./places.js";

const FRAME = 170; // milliseconds a recorded step is shown while playing
const CURVE = 56; // pixels

export class Timeline {
  constructor(run, state) {
    Object.assign(this, { run, state });
    this.steps = run.networks[0].steps;
    const last = this.steps.length - 1;
    this.slider = html("input", {
      type: "range",
      min: 0,
      max: last,
      step: 1,
      "aria-label": "training step",
      oninput: () => {
        this.stop();
        state.set({ step: Number(this.slider.value) });
      },
    });
    this.icon = svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, svg("path", {}));
    this.button = html(
      "button",
      { class: "play", type: "button", "aria-label": "play", onclick: () => this.toggle() },
      this.icon,
    );
    this.now = html("output", { class: "now" });
    this.heatmaps = run.networks.map((network, i) => this.heatmap(network, i));
    this.curves = [];
    if (run.networks.some(({ losses }) => losses.length))
      this.curves.push(this.curve("loss", (n) => n.losses.map((v, i) => [i, v]), null, short));
    if (run.networks.some(({ accuracies }) => accuracies.length > 1)) {
      const points = (n) => n.accuracies.map(([step, value]) => [nearest(n.steps, step), value]);
      this.curves.push(this.curve("test accuracy", points, [0, 1], percent));
    }
    this.cursors = [...this.heatmaps, ...this.curves].map(({ cursor }) => cursor);
    this.axis = svg("svg", { class: "axis-steps", height: 18, "aria-hidden": "true" });
    const rows = [...this.heatmaps, ...this.curves].map(({ element }) => element);
    this.element = html(
      "section",
      { class: "card time", "aria-label": "training" },
      html("div", { class: "player" }, this.button, this.slider, this.now),
      html("div", { class: "tracks" }, ...rows, this.axis),
    );
    this.element.hidden = last === 0;
    this.showIcon();
  }

  heatmap(network, index) {
    const canvas = html("canvas", {
      class: "heat",
      role: "img",
    });
    const cursor = html("div", { class: "cursor" });
    const area = html("div", { class: "area" }, canvas, cursor);
    const go = (event) => {
      const box = area.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * this.steps.length);
      this.stop();
      this.state.set({ step: Math.min(Math.max(at, 0), this.steps.length - 1) });
    };
    area.addEventListener("pointerdown", (event) => {
      area.setPointerCapture?.(event.pointerId);
      go(event);
    });
    area.addEventListener("pointermove", (event) => event.buttons & 1 && go(event));
    const name = html(
      "div",
      { class: `track-name is-${network.look}` },
      network.name,
      html("small", {}, "↑ input", html("br"), "↓ loss"),
    );
    return { element: html("div", { class: "track" }, name, area), canvas, cursor, network, area };
  }

  curve(title, points, fixed, write) {
    const drawing = svg("svg", { class: "curve", height: CURVE, preserveAspectRatio: "none" });
    const cursor = html("div", { class: "cursor" });
    const values = html("div", { class: "values" });
    const all = this.run.networks.flatMap((n) => points(n).map(([, value]) => value)).filter(Number.isFinite);
    const [low, high] = fixed ?? [0, limits(all, 0.02, 0)[1] || 1];
    const name = html("div", { class: "track-name" }, title, values);
    const area = html("div", { class: "area" }, drawing, cursor);
    return {
      element: html("div", { class: "track" }, name, area),
      drawing,
      cursor,
      points,
      range: [low, high],
      values,
      write,
    };
  }

  // Canvases and curves at the size they have on the page.
  draw(colours) {
    this.width = this.heatmaps[0].area.clientWidth || 300;
    const count = this.steps.length;
    const { measure } = this.state.values;
    const scale = weightLimits(this.run, measure);
    for (const { canvas, network } of this.heatmaps) {
      canvas.setAttribute("aria-label", `${network.name}: ${MEASURES[measure].says}, over the steps`);
      const depth = network.weights.length;
      canvas.width = count;
      canvas.height = Math.max(depth, 1);
      const image = new ImageData(count, Math.max(depth, 1));
      network.weights.forEach((tensor, y) => {
        for (let x = 0; x < count; x++) {
          const log = weightLog(network, x, tensor, null, measure);
          const colour = Number.isFinite(log) ? colours[Math.round(255 * share(log, scale))] : colours[0];
          image.data.set([...colour, Number.isNaN(log) ? 0 : 255], 4 * (y * count + x));
        }
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
    }
    for (const curve of this.curves) this.drawCurve(curve);
    this.drawAxis();
  }

  xOf(at) {
    return ((at + 0.5) / this.steps.length) * this.width;
  }

  drawCurve({ drawing, points, range, write }) {
    drawing.replaceChildren();
    drawing.setAttribute("width", this.width);
    const y = (value) => round(CURVE - 8 - (CURVE - 16) * share(value, range));
    for (const value of range) {
      drawing.append(svg("line", { class: "grid", x1: 0, x2: this.width, y1: y(value), y2: y(value) }));
      drawing.append(
        svg(
          "text",
          { class: "tick-in", x: this.width - 3, y: y(value) + (value === range[0] ? -3 : 11) },
          write(value),
        ),
      );
    }
    this.run.networks.forEach((network, i) => {
      const path = points(network)
        .filter(([, value]) => Number.isFinite(value))
        .map(([at, value], j) => `${j ? "L" : "M"}${round(this.xOf(at))} ${y(value)}`);
      drawing.append(svg("path", { class: `profile-line is-${network.look}`, d: path.join("") }));
    });
  }

  drawAxis() {
    this.axis.replaceChildren();
    this.axis.setAttribute("width", this.width);
    let free = -1;
    this.steps.forEach((step, at) => {
      const x = this.xOf(at);
      const text = String(step);
      const half = 3.6 * text.length;
      const wanted = at === 0 || at === this.steps.length - 1 || /^[125]0*$/.test(text);
      if (
        !wanted ||
        x - half < free ||
        (at < this.steps.length - 1 && x + half > this.width - 9 * String(this.steps.at(-1)).length)
      )
        return;
      free = x + half + 6;
      this.axis.append(
        svg("text", { class: "step-tick", x: round(Math.min(Math.max(x, half), this.width - half)), y: 13 }, text),
      );
    });
  }

  update(at) {
    this.slider.value = at;
    this.slider.setAttribute("aria-valuetext", `step ${this.steps[at]}`);
    this.now.textContent = `step ${this.steps[at]}`;
    const x = this.xOf(at);
    for (const cursor of this.cursors) cursor.style.transform = `translateX(${round(x)}px)`;
    for (const { values, points, write } of this.curves) {
      const shown = this.run.networks.map((network, i) => {
        const known = points(network).filter(([place]) => place <= at);
        return html("span", { class: `is-${network.look}` }, known.length ? write(known.at(-1)[1]) : "–");
      });
      values.replaceChildren(...shown);
    }
  }

  toggle() {
    if (this.timer) return this.stop();
    const last = this.steps.length - 1;
    if (this.state.values.step >= last) this.state.set({ step: 0 });
    this.timer = setInterval(() => {
      const next = this.state.values.step + 1;
      if (next > last) this.stop();
      else this.state.set({ step: next });
    }, FRAME);
    this.showIcon();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.showIcon();
  }

  showIcon() {
    this.icon.firstChild.setAttribute("d", this.timer ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5L14 8L3 14.5Z");
    this.button.setAttribute("aria-label", this.timer ? "pause" : "play");
  }
}
