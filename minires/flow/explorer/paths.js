// The path spectrum: how much of the gradient crossed k branches, beside how many such paths there are.

import { html, svg, coloured } from "./dom.js";
import { short, percent, count } from "./numbers.js";
import { round } from "./places.js";

const [WIDTH, HEIGHT] = [300, 108];

// The card's contents; choose(k) is called when a bar is.
export function pathsCard(probe, step, chosen, choose) {
  const { paths, counts } = probe;
  const [sum, all] = [add(paths), add(counts)];
  const shares = paths.map((norm) => norm / sum);
  const expected = counts.map((number) => number / all);
  const highest = Math.max(...shares, ...expected);
  const each = WIDTH / paths.length;
  const y = (share) => round(HEIGHT - 16 - ((HEIGHT - 22) * share) / highest);
  const drawing = svg("svg", {
    class: "spectrum",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "group",
    "aria-label": "path spectrum",
  });
  const line = expected.map((share, k) => `${k ? "L" : "M"}${round((k + 0.5) * each)} ${y(share)}`).join("");
  const every = Math.ceil(paths.length / 14);
  shares.forEach((share, k) => {
    const select = () => choose(k === chosen ? "" : k);
    const label = `${k} branches: ${percent(share)}`;
    drawing.append(
      svg("rect", {
        class: `bar${k === chosen ? " chosen" : ""}`,
        x: round(k * each + each * 0.12),
        y: y(share),
        width: round(each * 0.76),
        height: round(HEIGHT - 16 - y(share)),
        rx: Math.min(2, each / 5),
      }),
      svg("rect", {
        class: "bar-target",
        x: round(k * each),
        y: 0,
        width: round(each),
        height: HEIGHT,
        tabindex: k === (chosen === "" ? 0 : chosen) ? 0 : -1,
        role: "button",
        "aria-label": label,
        "data-k": k,
        onclick: select,
        onkeydown: (event) => {
          const next = { ArrowLeft: k - 1, ArrowRight: k + 1 }[event.key];
          if (event.key === "Enter" || event.key === " ") select();
          else if (next === undefined) return;
          else if (next >= 0 && next < paths.length) choose(next);
          event.preventDefault();
          event.stopPropagation();
        },
      }),
    );
    if (k % every === 0)
      drawing.append(
        svg(
          "text",
          { class: `tick-mid${k === chosen ? " strong" : ""}`, x: round((k + 0.5) * each), y: HEIGHT - 3 },
          String(k),
        ),
      );
  });
  drawing.append(svg("path", { class: "expected", d: line }));
  const blocks = paths.length - 1;
  const text =
    chosen === "" || chosen > blocks
      ? [
          coloured("branch", "bars"),
          ": the gradient, by branches crossed; line: all 2",
          html("sup", {}, blocks),
          " paths alike",
        ]
      : [
          `k = ${chosen}: `,
          coloured("branch", percent(shares[chosen])),
          ` of the gradient through ${count(counts[chosen])} paths (${percent(expected[chosen])} of all), ‖G‖ = ${short(paths[chosen])}`,
        ];
  return [html("h2", {}, "Paths", html("small", {}, `step ${step}`)), drawing, html("p", { class: "quiet" }, ...text)];
}

const add = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
