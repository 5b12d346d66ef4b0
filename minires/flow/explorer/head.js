// The head of the page: switches between runs, the legend, zoom, light and dark.

import { html, svg } from "./dom.js";
import { MEASURES, measuresOf } from "./measures.js";
import { tick } from "./numbers.js";

export function head(title, runs, run, state, limits, switchTheme) {
  const moon = svg("path", { d: "M8 1a7 7 0 1 0 0 14zM8 2.5a5.5 5.5 0 0 1 0 11" });
  const theme = html(
    "button",
    { type: "button", class: "theme", "aria-label": "light or dark", onclick: switchTheme },
    svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, moon),
  );
  return html("header", {}, html("h1", {}, title), switches(runs, state), measures(run, state), legend(run, limits), zoom(state), theme);
}

// For every setting in which runs differ, a choice of its values; what was not computed is not there.
function switches(runs, state) {
  const settings = runs.map((run) => run.settings);
  const now = settings[state.values.run];
  const alike = (other) => Object.keys(now).filter((key) => other[key] === now[key]).length;
  const choices = Object.keys(now).map((key) => {
    const values = [...new Set(settings.map((one) => one[key]))].filter((value) => value !== undefined);
    if (values.length < 2) return values[0] === "no" ? null : html("span", { class: "setting" }, `${key} ${values[0]}`);
    const options = values.map((value) => {
      const able = settings.map((one, i) => [i, one]).filter(([, one]) => one[key] === value);
      const [best] = able.sort(([, a], [, b]) => alike(b) - alike(a))[0];
      const choose = () => state.set({ run: best });
      return html("button", { type: "button", "aria-pressed": now[key] === value, onclick: choose }, value);
    });
    return html("span", { class: "choice", role: "group", "aria-label": key }, html("span", {}, key), ...options);
  });
  return html("div", { class: "switches" }, ...choices);
}

// What to show of the weights, where there is a choice.
function measures(run, state) {
  const names = measuresOf(run);
  if (names.length < 2) return null;
  const buttons = names.map((name) => {
    const choose = () => state.set({ measure: name });
    const chosen = state.values.measure === name;
    return html("button", { type: "button", "data-measure": name, "aria-pressed": chosen, onclick: choose }, MEASURES[name].name);
  });
  return html("span", { class: "choice measures", role: "group", "aria-label": "weights" }, html("span", {}, "weights"), ...buttons);
}

function legend(run, [low, high]) {
  const hidden = { "aria-hidden": "true" };
  const family = (kind, word) => {
    const line = svg("line", { x1: 0, x2: 22, y1: 4, y2: 4 });
    return html("span", { class: `family is-${kind}` }, svg("svg", { width: 22, height: 8, ...hidden }, line), word);
  };
  const wedge = svg("path", { d: "M0 5.5L64 1V11L0 6.5Z" });
  const forked = run.networks.some(({ forks }) => forks.length);
  return html(
    "div",
    { class: "legend" },
    ...(forked ? [family("skip", "skip"), family("branch", "branch")] : []),
    family("trunk", "main line"),
    html(
      "span",
      { class: "widths" },
      html("span", {}, "‖gradient‖"),
      tick(10 ** low),
      svg("svg", { class: "wedge", width: 64, height: 12, ...hidden }, wedge),
      tick(10 ** high),
    ),
  );
}

function zoom(state) {
  const button = (factor, sign, label) => {
    const change = () => state.set({ zoom: Math.round(state.values.zoom * factor * 100) / 100 });
    return html("button", { type: "button", "aria-label": label, onclick: change }, sign);
  };
  const buttons = [button(1 / 1.6, "−", "zoom out"), button(1.6, "+", "zoom in")];
  return html("span", { class: "zoom", role: "group", "aria-label": "zoom" }, ...buttons);
}
