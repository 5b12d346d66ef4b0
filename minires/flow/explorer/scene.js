// The networks, one below the other: wires as wide as the logarithm of the gradient on them, weights in the colour of
// theirs, and under the blocks the profile of the weights' gradients.

import { svg } from "./dom.js";
import { weightLimits, weightLog } from "./measures.js";
import { short, share, limits, rgb } from "./numbers.js";
import { place, round } from "./places.js";
import { PROFILE, Profile } from "./profile.js";

const HEAD = 34; // pixels above the networks, for names of stages and blocks
const ARROW = "M-4 0L3 -4.5V4.5Z"; // points to the left, where the gradient goes

export class Scene {
  // ask: {hover(network, edge, event), leave(), edge(network, edge), block(name)}
  constructor(run, state, ask) {
    Object.assign(this, { run, state, ask });
    this.element = svg("svg", { class: "scene", role: "group", "aria-label": "the networks, from input to loss" });
    const data = (network) => network.logs.filter((_, i) => !network.tensors[network.edges[i % network.count][0]][2]);
    this.wireLimits = limits(
      run.networks.flatMap((n) => [...data(n)]),
      0.003,
      1,
    );
    for (const type of ["pointerover", "focusin"]) this.element.addEventListener(type, (event) => this.pointed(event));
    this.element.addEventListener("pointerleave", () => ask.leave());
    this.element.addEventListener("focusout", () => ask.leave());
    this.element.addEventListener("click", (event) => this.chosen(event));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
  }

  // Everything anew: after a change of size, of what is unfolded, or of the run.
  draw(width, colours) {
    const narrow = width < 720;
    this.colours = colours;
    this.measure = this.state.values.measure;
    this.weightLimits = weightLimits(this.run, this.measure);
    this.left = narrow ? 38 : 96;
    const { values } = this.state;
    const places = place(this.run, width, values.block ? [values.block] : [], values.zoom, this.left);
    this.places = places;
    this.widest = Math.min(Math.max(places.each * 0.22, 3.6), 11);
    const bottom = HEAD + places.bottom + PROFILE.gap + PROFILE.height + 16;
    this.element.replaceChildren();
    this.element.setAttribute("width", places.width);
    this.element.setAttribute("height", bottom);
    this.element.setAttribute("viewBox", `0 0 ${places.width} ${bottom}`);
    this.drawHead();
    this.wires = [];
    this.cells = [];
    places.rows.forEach((row, i) => this.drawRow(row, i, narrow));
    this.profile = new Profile(this.run, this.cells, this.measure, this.weightLimits, HEAD + places.bottom + PROFILE.gap);
    const { x, width: last } = places.slots.at(-1);
    this.element.append(this.profile.draw(this.left, x + last, places.each));
  }

  drawHead() {
    const { slots, bottom } = this.places;
    const stages = [];
    for (const slot of slots) {
      const stage = slot.block ? slot.name.slice(0, Math.max(slot.name.lastIndexOf("."), 0)) : "";
      const last = stages.at(-1);
      if (stage && last?.stage === stage) last.end = slot.x + slot.width;
      else stages.push({ stage, start: slot.x, end: slot.x + slot.width });
    }
    stages
      .filter(({ stage }) => stage)
      .forEach(({ stage, start, end }, i) => {
        const height = HEAD + bottom + PROFILE.gap + PROFILE.height - 16;
        if (i % 2 === 0)
          this.element.append(
            svg("rect", { class: "stage", x: round(start), y: 16, width: round(end - start), height }),
          );
        this.element.append(svg("text", { class: "stage-name", x: round((start + end) / 2), y: 11 }, stage));
      });
    const right = slots.at(-1).x + slots.at(-1).width;
    const narrow = this.left < 60;
    if (slots[0].width > 44)
      this.element.append(svg("text", { class: "start", x: round(slots[0].x + 4), y: 11 }, "forward →"));
    this.element.append(svg("text", { class: "end", x: round(right), y: narrow ? HEAD + 14 : 11 }, "← gradient"));
    for (const slot of slots) {
      const label = slot.block ? slot.name.slice(slot.name.lastIndexOf(".") + 1) : slot.name;
      const room = Number(label) % 5 === 0 ? 2 * slot.width : slot.width; // every fifth number stands over two
      const fits = label.length * 7 + 3 < room;
      if (fits)
        this.element.append(svg("text", { class: "slot-name", x: round(slot.x + slot.width / 2), y: 28 }, label));
    }
  }

  drawRow(row, index, narrow) {
    const { network } = row;
    const group = svg("g", { transform: `translate(0 ${HEAD})`, class: "row" });
    const x = narrow ? 2 : 6;
    group.append(
      svg("text", { class: `network is-${network.look}`, x, y: narrow ? row.top + 14 : row.base + 1 }, network.name),
    );
    if (!narrow) {
      this.lossTexts ??= [];
      this.lossTexts[index] = svg("text", { class: "loss", x, y: row.base + 17 }, "");
      group.append(this.lossTexts[index]);
    }
    for (const slot of this.places.slots) group.append(this.slotTarget(slot, row, index));
    for (const wire of row.wires) {
      const line = svg("path", { class: `wire is-${wire.family}`, d: wire.path });
      const arrow = wire.long > 13 ? svg("path", { class: `arrow is-${wire.family}`, d: ARROW }) : null;
      group.append(line);
      if (arrow) group.append(arrow);
      this.wires.push({ ...wire, index, network, line, arrow });
    }
    for (const box of row.boxes) this.drawBox(group, box, index);
    for (const wire of this.wires.filter((one) => one.index === index)) {
      const inside = wire.slots.includes(this.state.values.block);
      const target = svg("path", {
        class: "target",
        d: wire.path,
        "data-network": index,
        "data-edge": wire.edge,
        tabindex: inside ? 0 : -1,
        role: "img",
      });
      wire.target = target;
      group.append(target);
    }
    this.element.append(group);
  }

  slotTarget(slot, row, index) {
    const chosen = slot.name === this.state.values.block;
    return svg("rect", {
      class: `slot${chosen ? " chosen" : ""}`,
      x: round(slot.x + 1),
      y: row.top + 8,
      width: round(slot.width - 2),
      height: row.bottom - row.top - 12,
      rx: 6,
      "data-slot": slot.name,
      "data-network": index,
      role: "button",
      "aria-pressed": chosen,
      "aria-label": `${row.network.name}, ${slot.name}`,
      tabindex: chosen || (!this.state.values.block && slot === this.places.slots[0]) ? 0 : -1,
    });
  }

  drawBox(group, box, index) {
    const { x, y, width, height, kind } = box;
    if (kind === "sum") {
      const size = Math.min(height * 0.28, 5);
      group.append(svg("circle", { class: "sum", cx: round(x), cy: round(y), r: round(height / 2) }));
      if (height > 9)
        group.append(
          svg("path", {
            class: "plus",
            d: `M${round(x - size)} ${round(y)}h${round(2 * size)}M${round(x)} ${round(y - size)}v${round(2 * size)}`,
          }),
        );
      return;
    }
    const outline = {
      x: round(x - width / 2),
      y: round(y - height / 2),
      width: round(width),
      height,
      rx: Math.min(4, width / 4),
    };
    group.append(svg("rect", { class: `box${box.weights.length ? "" : " empty"}`, ...outline }));
    box.weights.forEach((tensor, i) => {
      const inset = width > 12 ? 2.5 : 1.5;
      const gap = width > 16 ? 1.5 : 0.5;
      const room = width - 2 * inset - gap * (box.weights.length - 1);
      const each = room / box.weights.length;
      const left = x - width / 2 + inset + i * (each + gap);
      const cell = svg("rect", {
        class: "cell",
        x: round(left),
        y: round(y - height / 2 + inset),
        width: round(Math.max(each, 1)),
        height: height - 2 * inset,
        rx: 1.5,
      });
      group.append(cell);
      this.cells.push({ index, tensor, cell, x: left + each / 2, lane: box.lane });
    });
    if (!box.slot.open || height < 20) return;
    const text = box.label.length > 7 ? `${box.label.slice(0, 6)}…` : box.label;
    const inside = text.length === 1;
    group.append(svg("text", { class: "op", x: round(x), y: round(inside ? y + 4 : y + height / 2 + 12) }, text));
  }

  // Numbers of one step, or with a cut in place of them. Touches attributes only.
  update(at, cut) {
    for (const wire of this.wires) {
      const log = logUnder(wire.network, at, wire.edge, cut);
      const zero = !Number.isFinite(log);
      const width = zero ? 1.2 : 0.9 + (this.widest - 0.9) * share(log, this.wireLimits);
      wire.line.setAttribute("stroke-width", width.toFixed(2));
      if (wire.zero !== zero) wire.line.classList.toggle("zero", zero);
      wire.zero = zero;
      if (!wire.arrow) continue;
      const size = zero ? 0 : 0.62 + width * 0.11;
      wire.arrow.setAttribute(
        "transform",
        `translate(${round(wire.middle[0])} ${round(wire.middle[1])})scale(${size.toFixed(3)})`,
      );
    }
    for (const { index, tensor, cell } of this.cells) {
      const network = this.run.networks[index];
      const log = weightLog(network, at, tensor, cut, this.measure);
      const at255 = Number.isFinite(log) ? Math.round(255 * share(log, this.weightLimits)) : 0;
      cell.setAttribute("fill", rgb(this.colours[at255]));
    }
    this.profile.update(at, cut);
    this.run.networks.forEach((network, i) => {
      if (this.lossTexts?.[i])
        this.lossTexts[i].textContent = network.losses.length ? `loss ${short(network.losses[at])}` : "";
    });
  }

  pointed(event) {
    const { edge, network } = event.target.dataset;
    this.hovered?.line.classList.remove("hovered");
    this.hovered = null;
    if (edge !== undefined) {
      this.hovered = this.wires.find((wire) => wire.index === Number(network) && wire.edge === Number(edge));
      this.hovered?.line.classList.add("hovered");
      this.ask.hover(Number(network), Number(edge), event.target);
    } else this.ask.leave();
  }

  chosen(event) {
    const { edge, network, slot } = event.target.dataset;
    if (edge !== undefined) this.ask.edge(Number(network), Number(edge));
    else if (slot !== undefined) this.ask.block(slot);
  }

  // Left and right go from block to block, up and down from network to network; Enter and space choose.
  pressed(event) {
    const { edge, network, slot } = event.target.dataset;
    if (event.key === "Enter" || event.key === " ") {
      this.chosen(event);
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (slot === undefined || edge !== undefined) return;
    const names = this.places.slots.map(({ name }) => name);
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    this.focus(names[names.indexOf(slot) + move[0]], Number(network) + move[1]);
    event.preventDefault();
    event.stopPropagation();
  }

  focus(slot, network) {
    [...this.element.querySelectorAll("[data-slot]")]
      .find((target) => target.dataset.slot === slot && Number(target.dataset.network) === network)
      ?.focus();
  }
}

// The logarithm of the norm on an edge, or that which was recorded under a cut of this network.
export const logUnder = (network, at, edge, cut) =>
  cut?.network === network ? cut.probe.log(cut.number, edge) : network.log(at, edge);
