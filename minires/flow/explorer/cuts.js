// Cuts and lesions that were measured: which are offered, and what came of them.

import { html, svg, coloured } from "./dom.js";
import { short, percent } from "./numbers.js";
import { round } from "./places.js";
import { weightLog } from "./measures.js";

// The cut that is shown: {network, probe, number, name}, or null if none is, or none was recorded at this step.
export function cutShown(run, { cut, step }) {
  if (!cut) return null;
  for (const network of run.networks) {
    for (const probe of network.probes) {
      const number = probe.cuts.indexOf(cut);
      if (number > 0 && probe.at === step) return { network, probe, number, name: cut };
    }
  }
  return null;
}

// Whether an edge is one of those that a cut such as "layer1.*.skip" sets to 0.
export function isCut(network, edge, name) {
  const [source, , , role] = network.edges[edge];
  if (!role) return false;
  const way = { s: "skip", b: "branch" }[role];
  const fork = network.forks.find(({ tensor }) => tensor === source);
  if (!fork) return false;
  const parts = name.split("*").map((part) => part.replace(/[.+?^$()|[\]{}\\]/g, "\\$&"));
  const pattern = new RegExp(`^${parts.join(".*")}$`);
  const [base, number = 1] = fork.name.split("#");
  return [base, `${base}#${number}`].some((one) => pattern.test(`${one}.${way}`)); // as flow.scaled has it
}

export function cutsCard(run, state) {
  const { values } = state;
  const network = run.networks.find(({ probes }) => probes.some(({ cuts }) => cuts.length > 1));
  const lesions = run.networks.some(({ probes }) => probes.some(({ lesion }) => lesion));
  if (!network && !lesions) return null;
  const probes = (network ?? run.networks.find(({ probes }) => probes.length)).probes;
  const probe = probes.filter(({ at }) => at <= values.step).at(-1) ?? probes[0];
  return [
    html(
      "h2",
      {},
      `Cut ${network && values.block ? values.block : ""}`,
      html("small", {}, `step ${run.networks[0].steps[probe.at]}`),
    ),
    network ? ways(network, probes, probe, state) : null,
    network ? outcome(run, state) : null,
    lesions ? lesionBars(run, values) : null,
  ];
}

function ways(network, probes, probe, state) {
  const { values } = state;
  const offered = probe.cuts.slice(1);
  const take = (name, on) => {
    const exact = probes.find(({ at }) => at === values.step) ?? probe;
    state.set(on ? { cut: name, step: exact.at } : { cut: "" });
  };
  const box = (name, kind, label) =>
    html(
      "label",
      { class: `way is-${kind}` },
      html("input", {
        type: "checkbox",
        "data-cut": name,
        checked: values.cut === name,
        onchange: (event) => take(name, event.target.checked),
      }),
      html("span", {}, label),
    );
  const forks = network.forks.filter(({ slot }) => slot === values.block).map(({ name }) => name);
  const single = forks.flatMap((name, i) =>
    ["skip", "branch"]
      .map((way) => [offered.find((cut) => [`${name}.${way}`, `${name}#1.${way}`].includes(cut)), way])
      .filter(([cut]) => cut)
      .map(([cut, way]) => box(cut, way, i ? `${way} ${i + 1}` : way)),
  );
  const groups = offered.filter((name) => name.includes("*"));
  return html(
    "div",
    { class: "ways" },
    ...(single.length ? single : [html("span", { class: "quiet" }, "choose a block, or")]),
    groups.length
      ? html(
          "select",
          { "aria-label": "cut several", onchange: (event) => take(event.target.value, event.target.value !== "") },
          html("option", { value: "" }, "several …"),
          ...groups.map((name) => html("option", { value: name, selected: values.cut === name }, words(name))),
        )
      : null,
    probes.length > 1
      ? html(
          "span",
          { class: "moments", role: "group", "aria-label": "moment" },
          ...probes.map(({ at, step }) =>
            html(
              "button",
              { type: "button", "aria-pressed": at === values.step, onclick: () => state.set({ step: at }) },
              `step ${network.steps[at] ?? step}`,
            ),
          ),
        )
      : null,
  );
}

function words(name) {
  const [where, way] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf(".") + 1)];
  const plural = way === "skip" ? "skips" : "branches";
  return where === "*" ? `all ${plural}` : `all ${plural} of ${where.slice(0, -2)}`;
}

// What is left of the gradient that reaches the first weight.
function outcome(run, { values }) {
  const shown = cutShown(run, values);
  if (!shown) return values.cut ? html("p", { class: "quiet" }, "recorded at these steps only") : null;
  const [first] = shown.network.weights;
  const whole = 10 ** weightLog(shown.network, 0, first, { ...shown, number: 0 });
  const left = 10 ** weightLog(shown.network, 0, first, shown);
  return html(
    "p",
    {},
    "first layer ",
    short(whole),
    " → ",
    html("strong", {}, short(left)),
    ` (×\u00a0${short(left / whole)})`,
  );
}

// Accuracy without each block in turn, a row of bars for each network.
function lesionBars(run, values) {
  const [width, height] = [300, 30];
  const names = run.slots.filter(({ block }) => block).map(({ name }) => name);
  const each = width / names.length;
  let last = 0;
  const rows = run.networks.map((network, i) => {
    const known = network.probes.filter(({ lesion }) => lesion);
    const probe = known.at(-1);
    if (!probe) return null;
    last = network.steps[probe.at];
    const bars = names
      .filter((name) => name in probe.lesion)
      .map((name) => {
        const accuracy = probe.lesion[name];
        const tall = height * (accuracy ?? 0);
        return svg(
          "rect",
          {
            class: `lesion is-${network.look}${name === values.block ? " chosen" : ""}`,
            x: round(names.indexOf(name) * each + each * 0.12),
            y: round(height - tall),
            width: round(each * 0.76),
            height: round(tall),
          },
          svg("title", {}, `without ${name}: ${percent(accuracy)}`),
        );
      });
    const intact = height * (1 - probe.intact);
    const now =
      values.block in probe.lesion
        ? [percent(probe.intact), " → ", html("strong", {}, percent(probe.lesion[values.block]))]
        : [percent(probe.intact)];
    return html(
      "div",
      { class: "lesions" },
      html("div", { class: "lesion-name" }, coloured(network.look, network.name), html("span", {}, ...now)),
      svg(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `${network.name}: test accuracy without each block`,
        },
        svg("rect", { class: "ground", x: 0, y: 0, width, height }),
        ...bars,
        svg("line", { class: "intact", x1: 0, x2: width, y1: round(intact), y2: round(intact) }),
      ),
    );
  });
  return html("div", {}, html("p", { class: "quiet" }, `accuracy without the block, step ${last}`), ...rows);
}
