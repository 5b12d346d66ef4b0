// The explorer: render({model, el}) fills an element from a model whose get("document") is JSON, as an anywidget's is.
// On a page of its own, keepsHash keeps what is chosen in the address.

import { html } from "./dom.js";
import { ramp } from "./numbers.js";
import { head } from "./head.js";
import { unpack } from "./unpack.js";
import { State, readHash } from "./state.js";
import { measuresOf } from "./measures.js";
import { Scene } from "./scene.js";
import { Timeline } from "./timeline.js";
import { Table } from "./table.js";
import { blockCard, edgeCard, edgeText, describeEdge } from "./block.js";
import { pathsCard } from "./paths.js";
import { cutsCard, cutShown, isCut } from "./cuts.js";

const NOTHING = { run: 0, step: 0, block: "", edge: "", cut: "", k: "", measure: "", zoom: 1, theme: "" };

export async function render({ model, el, keepsHash = false }) {
  const { title, runs } = JSON.parse(model.get("document"));
  const state = new State({ ...NOTHING }, keepsHash);
  const explorer = new Explorer(el, title, runs, state);
  await explorer.start();
  return () => explorer.end();
}

class Explorer {
  constructor(el, title, runs, state) {
    Object.assign(this, { title, runs, state, unpacked: new Map() });
    this.root = html("div", { class: "minires-explorer", tabindex: -1 });
    el.replaceChildren(this.root);
    this.tip = html("div", { class: "tip", role: "status", hidden: true });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
  }

  async start() {
    this.ending = new AbortController();
    const { signal } = this.ending;
    this.state.listeners.push((changed) => this.changed(changed));
    this.dark.addEventListener("change", () => this.redraw(), { signal });
    for (const type of ["beforeprint", "afterprint"]) {
      addEventListener(
        type,
        () => {
          this.printing = type === "beforeprint";
          this.redraw();
        },
        { signal },
      );
    }
    document.addEventListener("keydown", (event) => this.pressed(event), { signal });
    if (this.state.keepsHash)
      addEventListener("hashchange", () => this.state.set({ ...NOTHING, ...readHash() }), { signal });
    await this.show();
    this.observer = new ResizeObserver(() => this.root.clientWidth !== this.drawnWidth && this.redraw());
    this.observer.observe(this.root);
    this.root.dataset.ready = "yes";
  }

  end() {
    this.ending.abort();
    this.observer.disconnect();
    this.timeline.stop();
  }

  // Build the page for the chosen run.
  async show() {
    const { values } = this.state;
    values.run = this.runs[values.run] ? values.run : 0;
    const asked = values.run;
    if (!this.unpacked.has(asked)) this.unpacked.set(asked, await unpack(this.runs[asked].data));
    if (asked !== values.run) return; // another was chosen meanwhile
    this.timeline?.stop();
    this.run = this.unpacked.get(asked);
    this.tidy();
    if (!this.run.slots.some(({ name }) => name === values.block)) values.block = "";
    if (!this.shownBefore && !values.block) values.block = this.interesting();
    this.shownBefore = true;
    this.scene = new Scene(this.run, this.state, {
      hover: (network, edge, target) => this.hover(network, edge, target),
      leave: () => this.leave(),
      edge: (network, edge) => this.state.set({ edge: `${network}.${edge}` }),
      block: (name) => this.state.set({ block: name === values.block ? "" : name, edge: "" }),
    });
    this.timeline = new Timeline(this.run, this.state);
    this.table = new Table(this.run, this.state);
    this.cards = Object.fromEntries(
      ["block", "paths", "cuts"].map((name) => [name, html("section", { class: `card ${name}` })]),
    );
    this.scroller = html("div", { class: "scroller" }, this.scene.element);
    this.root.replaceChildren(
      head(this.title, this.runs, this.run, this.state, this.scene.wireLimits, () => this.switchTheme()),
      this.scroller,
      html("div", { class: "cards" }, this.timeline.element, ...Object.values(this.cards)),
      this.table.element,
      this.tip,
    );
    this.redraw();
    this.bringIntoView();
  }

  // Numbers from the address, or beyond the last step, to ones that exist.
  tidy() {
    const { values } = this.state;
    const last = this.run.networks[0].steps.length - 1;
    values.step = Math.min(Math.max(Math.round(values.step) || 0, 0), last);
    values.zoom = Math.min(Math.max(values.zoom || 1, 1), 32);
    if (values.k !== "" && !(values.k >= 0)) values.k = "";
    if (!measuresOf(this.run).includes(values.measure)) values.measure = "";
    if (!["light", "dark"].includes(values.theme)) values.theme = "";
  }

  // The block to begin with: one in the middle that has a fork.
  interesting() {
    const forked = this.run.slots.filter(({ name }) =>
      this.run.networks.some(({ forks }) => forks.some((fork) => fork.slot === name)),
    );
    const known = forked.length ? forked : this.run.slots.filter(({ block }) => block);
    return known[Math.floor((known.length - 1) / 2)]?.name ?? "";
  }

  isDark() {
    const { theme } = this.state.values;
    if (this.printing) return false; // on paper
    if (theme) return theme === "dark";
    const { classList, dataset } = document.body; // of VS Code, and of Jupyter
    if (classList.contains("vscode-dark") || dataset.jpThemeLight === "false") return true;
    if (classList.contains("vscode-light") || dataset.jpThemeLight === "true") return false;
    return this.dark.matches;
  }

  switchTheme() {
    this.state.set({ theme: this.isDark() ? "light" : "dark" });
  }

  redraw() {
    const width = this.root.clientWidth;
    if (!width) return;
    this.drawnWidth = width;
    this.root.dataset.theme = this.isDark() ? "dark" : "light";
    if (this.state.keepsHash) document.documentElement.dataset.theme = this.root.dataset.theme;
    this.root.classList.toggle("narrow", width < 720);
    this.root.classList.toggle("medium", width >= 720 && width < 1150);
    const colours = ramp(this.root.dataset.theme);
    for (const button of this.root.querySelectorAll("[data-measure]"))
      button.setAttribute("aria-pressed", button.dataset.measure === this.state.values.measure);
    this.scene.draw(this.scroller.clientWidth, colours);
    this.timeline.draw(colours);
    this.update();
  }

  changed(changed) {
    if (changed.has("run")) return void this.show();
    this.tidy();
    if (["block", "measure", "zoom", "theme"].some((name) => changed.has(name))) {
      const focused = document.activeElement?.dataset?.slot;
      const row = Number(document.activeElement?.dataset?.network);
      this.redraw();
      if (focused) this.scene.focus(focused, row);
      if (changed.has("zoom") || changed.has("block")) this.bringIntoView();
    } else this.update();
  }

  bringIntoView() {
    const slot = this.scene.places.slots.find(({ name }) => name === this.state.values.block);
    if (!slot || this.scene.places.width <= this.scroller.clientWidth + 1) return;
    this.scroller.scrollLeft = slot.x + slot.width / 2 - this.scroller.clientWidth / 2;
  }

  // Put in the numbers of the chosen step.
  update() {
    const { values } = this.state;
    const cut = cutShown(this.run, values);
    this.scene.update(values.step, cut);
    for (const wire of this.scene.wires) {
      const is = cut !== null && wire.network === cut.network && isCut(wire.network, wire.edge, cut.name);
      if (is !== Boolean(wire.cut)) wire.line.classList.toggle("cut", is);
      wire.cut = is;
    }
    this.timeline.update(values.step);
    this.table.update(values.step);
    this.updateCards(cut);
    if (this.pointedAt?.[2].isConnected) this.hover(...this.pointedAt);
    else this.leave();
  }

  updateCards(cut) {
    const { values } = this.state;
    const { block, paths, cuts } = this.cards;
    const focused = document.activeElement?.dataset?.cut ?? document.activeElement?.dataset?.k;
    const parts = [];
    if (values.edge) {
      const [network, edge] = values.edge.split(".").map(Number);
      const one = this.run.networks[network];
      if (one?.edges[edge]) parts.push(edgeCard(describeEdge(one, values.step, edge, cut)));
    }
    const { steps } = this.run.networks[0];
    const atStart = steps.length > 1 && steps[values.step] === 0; // a single recording may be of a trained network
    if (values.block) parts.push(...blockCard(this.run, values.block, values.step, atStart, cut));
    else parts.push(html("h2", {}, "Block"), html("p", { class: "quiet" }, "click a block"));
    block.replaceChildren(...parts);
    const known = this.run.networks.flatMap(({ probes }) => probes.filter((probe) => probe.paths));
    const probe = known.filter(({ at }) => at <= values.step).at(-1) ?? known[0];
    paths.hidden = !probe;
    if (probe)
      paths.replaceChildren(
        ...pathsCard(probe, this.run.networks[0].steps[probe.at], values.k, (k) => this.state.set({ k })),
      );
    const offered = cutsCard(this.run, this.state);
    cuts.hidden = !offered;
    block.classList.toggle("wide", !probe && !offered);
    if (offered) cuts.replaceChildren(...offered.filter(Boolean));
    if (focused !== undefined)
      this.root
        .querySelector(
          `[data-cut="${CSS.escape(focused)}"], [data-k="${CSS.escape(focused === "" ? "x" : String(values.k))}"]`,
        )
        ?.focus();
  }

  hover(network, edge, target) {
    this.pointedAt = [network, edge, target];
    const found = describeEdge(
      this.run.networks[network],
      this.state.values.step,
      edge,
      cutShown(this.run, this.state.values),
    );
    target.setAttribute("aria-label", edgeText(found));
    this.tip.replaceChildren(edgeCard(found));
    this.tip.hidden = false;
    const [box, root] = [target.getBoundingClientRect(), this.root.getBoundingClientRect()];
    const half = this.tip.offsetWidth / 2;
    const x = Math.min(Math.max(box.left + box.width / 2 - root.left, half + 4), root.width - half - 4);
    const above = box.top - root.top - this.tip.offsetHeight - 8;
    this.tip.style.transform = `translate(${x - half}px, ${above > 0 ? above : box.bottom - root.top + 10}px)`;
  }

  leave() {
    this.pointedAt = null;
    this.tip.hidden = true;
  }

  // Arrows and space move through time wherever nothing else takes them.
  pressed(event) {
    const inside = this.root.contains(event.target) || (this.state.keepsHash && event.target === document.body);
    if (!inside || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    const busy = event.target.closest("input, select, button, summary, a, textarea");
    if (event.key === "Escape") this.state.set({ block: "", edge: "", cut: "" });
    if (busy) return;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) {
      this.timeline.stop();
      this.state.set({ step: this.state.values.step + move });
    } else if (event.key === " ") this.timeline.toggle();
    else return;
    event.preventDefault();
  }
}
