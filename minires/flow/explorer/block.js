// One block: its formula with the numbers put in, and skip + branch = total as a triangle drawn to scale.

import { html, svg, coloured } from "./dom.js";
import { short, squared, percent, minus, look } from "./numbers.js";
import { round } from "./places.js";
import { forkNumbers } from "./unpack.js";

export function describeEdge(network, at, edge, cut) {
  const [source, consumer] = network.edges[edge];
  const [name, shape] = network.tensors[source];
  const family = { s: "skip", b: "branch", "-": "trunk" }[network.families[edge]];
  const underCut = cut?.network === network;
  const norm = underCut ? 10 ** cut.probe.log(cut.number, edge) : network.norm(at, edge);
  const several = network.edgesOf[source].length > 1;
  return {
    name,
    family,
    norm,
    consumer: network.tensors[consumer][0],
    shape: shape.length ? shape.join(" × ") : "a number",
    share: underCut || !several ? null : network.share(at, edge),
    cosine: underCut || !several ? null : network.cosine(at, edge),
  };
}

export function edgeText(found) {
  const share = found.share === null ? "" : `, share ${percent(found.share)}, cosine ${minus(found.cosine.toFixed(2))}`;
  return `${found.family}: ‖gradient‖ ${short(found.norm)}${share}, shape ${found.shape}`;
}

export function edgeCard(found) {
  const parts = [
    html(
      "div",
      { class: "edge-name" },
      coloured(found.family, found.family === "trunk" ? "main line" : found.family),
      ` ${found.consumer} → ${found.name}`,
    ),
    html(
      "dl",
      {},
      html("div", {}, html("dt", {}, "‖gradient‖"), html("dd", {}, short(found.norm))),
      found.share === null ? null : html("div", {}, html("dt", {}, "share"), html("dd", {}, percent(found.share))),
      found.cosine === null
        ? null
        : html("div", {}, html("dt", {}, "cosine"), html("dd", {}, minus(found.cosine.toFixed(3)))),
      html("div", {}, html("dt", {}, "shape"), html("dd", {}, found.shape)),
    ),
  ];
  return html("div", { class: "edge" }, ...parts);
}

// The card's contents for the chosen slot: a part for each network, plain blocks without a skip.
export function blockCard(run, name, at, theory, cut) {
  const parts = run.networks.map((network, i) => {
    const forks = network.forks.filter(({ slot }) => slot === name);
    const shown = forks.map((fork) => residualPart(network, fork, at, theory && !cut, cut));
    if (!forks.length) shown.push(plainPart(network, name, at, cut));
    return html("div", { class: "network-part" }, html("h3", { class: `is-${look(i)}` }, network.name), ...shown);
  });
  const twins = run.networks.length === 2 && !run.networks[0].forks.length && run.networks[1].forks.length;
  return [html("h2", {}, name), html("div", { class: `network-parts${twins ? " twins" : ""}` }, ...parts)];
}

function plainPart(network, name, at, cut) {
  const [y, x] = ends(network, name, at, cut);
  if (y === null) return [html("p", { class: "quiet" }, "no such block")];
  return [
    formula("y = F(x)"),
    bars([
      ["‖∂L/∂y‖", y],
      ["‖∂L/∂x‖", x],
    ]),
    html("p", { class: "sum" }, "× ", short(x / y)),
  ];
}

// ‖∂L/∂y‖ and ‖∂L/∂x‖ of a slot: of its last tensor, and of what enters it.
function ends(network, name, at, cut) {
  const under = cut?.network === network;
  const total = (tensor) => (under ? cut.probe.total(cut.number, tensor) : network.total(at, tensor));
  const inside = [...network.slotOf].filter(([, slot]) => slot === name).map(([tensor]) => tensor);
  if (!inside.length) return [null, null];
  const entering = network.edges.filter(
    ([a, b]) => network.slotOf.get(b) === name && network.slotOf.get(a) !== name && !network.tensors[a][2],
  );
  const y = 10 ** total(inside.at(-1));
  return [y, entering.length ? 10 ** total(entering[0][0]) : NaN];
}

// A bar for each [name, value], on one scale.
function bars(rows) {
  const largest = Math.max(...rows.map(([, value]) => value)) || 1;
  const width = (value) => (Number.isFinite(value) ? `${(100 * value) / largest}%` : "0");
  return html(
    "div",
    { class: "bars" },
    ...rows.map(([name, value]) =>
      html(
        "div",
        {},
        html("div", { class: "bar-text" }, html("span", {}, name), html("strong", {}, short(value))),
        html("div", { class: "gain", style: `width: ${width(value)}` }),
      ),
    ),
  );
}

const formula = (...parts) => html("p", { class: "formula" }, ...parts);

function residualPart(network, fork, at, theory, cut) {
  const numbers = forkNumbers(network, fork, at, cut);
  const { skip, branch, total, cosine } = numbers;
  const angle = (Math.acos(Math.min(Math.max(cosine, -1), 1)) * 180) / Math.PI;
  const both = skip > 0 && branch > 0;
  return [
    formula("y = ", coloured("skip", "x"), " + ", coloured("branch", "F(x)")),
    triangle(numbers),
    html(
      "p",
      { class: "sum" },
      coloured("skip", short(skip)),
      " ⊕ ",
      coloured("branch", short(branch)),
      " = ",
      coloured("total", short(total)),
    ),
    html(
      "p",
      { class: "quiet" },
      coloured("total", squared(total)),
      " = ",
      coloured("skip", squared(skip)),
      " + ",
      coloured("branch", squared(branch)),
      both ? ` + 2·${short(skip)}·${short(branch)}·cos\u00a0${angle.toFixed(0)}°` : "",
    ),
    html(
      "p",
      { class: "quiet" },
      "branch: ",
      coloured("branch", percent(branch ** 2 / (skip ** 2 + branch ** 2))),
      " of both squares",
    ),
    theory && both
      ? html(
          "p",
          { class: "theory" },
          `theory at random weights: 90°, ${short(Math.hypot(skip, branch))}`,
          html("br"),
          `measured: ${angle.toFixed(0)}°, ${short(total)}`,
        )
      : null,
  ];
}

// Skip to the right, branch from its end at the angle measured, and the total from start to end, all on one scale.
function triangle({ skip, branch, total, cosine }) {
  const [width, height] = [200, 84];
  const sine = Math.sqrt(Math.max(1 - cosine * cosine, 0));
  const points = [
    [0, 0],
    [skip, 0],
    [skip + branch * cosine, branch * sine],
  ];
  const xs = points.map(([x]) => x);
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const least = 1e-6 * Math.max(skip, branch); // of a triangle that is a line
  const scale = Math.min((width - 26) / Math.max(high - low, least), (height - 22) / Math.max(points[2][1], least));
  const drawing = svg("svg", {
    class: "triangle",
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-label": `skip ${short(skip)} and branch ${short(branch)} add up to ${short(total)}`,
  });
  if (!Number.isFinite(scale) || !(total > 0)) return drawing;
  const [o, s, t] = points.map(([x, y]) => [12 + (x - low) * scale, height - 8 - y * scale]);
  const arrow = (kind, [x1, y1], [x2, y2]) => {
    const length = Math.hypot(x2 - x1, y2 - y1);
    if (length < 1) return [];
    const turn = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
    const back = Math.min(6, length) / length;
    return [
      svg("line", {
        class: `side is-${kind}`,
        x1: round(x1),
        y1: round(y1),
        x2: round(x2 - (x2 - x1) * back),
        y2: round(y2 - (y2 - y1) * back),
      }),
      svg("path", {
        class: `tip is-${kind}`,
        d: "M0 0L-8 -4V4Z",
        transform: `translate(${round(x2)} ${round(y2)})rotate(${round(turn)})`,
      }),
    ];
  };
  drawing.append(...arrow("total", o, t), ...arrow("skip", o, s), ...arrow("branch", s, t));
  return drawing;
}
