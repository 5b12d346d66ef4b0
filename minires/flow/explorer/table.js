// The same numbers as text: for screen readers, and to copy.

import { html } from "./dom.js";
import { plainNumber, minus } from "./numbers.js";

const HEADER = ["network", "gradient came from", "to", "way", "norm", "share", "cosine", "shape", "‖W‖", "degrees turned"];

const ofWeight = (value) => (Number.isNaN(value) ? "" : plainNumber(value));

export class Table {
  constructor(run, state) {
    Object.assign(this, { run, state });
    this.body = html("tbody");
    this.caption = html("caption");
    this.copy = html("button", { type: "button", class: "copy", onclick: () => this.copyAll() }, "copy");
    const head = html("thead", {}, html("tr", {}, ...HEADER.map((name) => html("th", { scope: "col" }, name))));
    this.table = html("table", {}, this.caption, head, this.body);
    this.element = html(
      "details",
      { class: "numbers", ontoggle: () => this.update(state.values.step) },
      html("summary", {}, "All numbers as a table"),
      this.copy,
      html("div", { class: "scroll" }, this.table),
    );
  }

  // Only while it is open: it has a row for every edge.
  update(at) {
    if (!this.element.open || this.shown === at) return;
    this.shown = at;
    this.caption.textContent = `Gradients at step ${this.run.networks[0].steps[at]}`;
    this.body.replaceChildren(
      ...this.rows(at).map((row) => html("tr", {}, ...row.map((cell) => html("td", {}, cell)))),
    );
  }

  rows(at) {
    return this.run.networks.flatMap((network) =>
      network.edges.map(([source, consumer], edge) => {
        const [name, shape] = network.tensors[source];
        const several = network.edgesOf[source].length > 1;
        return [
          network.name,
          network.tensors[consumer][0],
          name,
          { s: "skip", b: "branch", "-": "" }[network.families[edge]],
          plainNumber(network.norm(at, edge)),
          several ? network.share(at, edge).toFixed(4) : "",
          several ? minus(network.cosine(at, edge).toFixed(4)) : "",
          shape.join("×"),
          ...["sizes", "turns"].map((what) => ofWeight(10 ** network.weightLogs(what, at, source))),
        ];
      }),
    );
  }

  async copyAll() {
    const text = [HEADER, ...this.rows(this.state.values.step)].map((row) => row.join("\t")).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      this.copy.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(this.table); // where pages may not write the clipboard: Ctrl-C then does
      this.copy.textContent = "selected";
    }
  }
}
