// What moves on the site: guesses that open figures, sliders, figures in full size, and the explorer's height.

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// ── "Predict first": a click at a guess opens what was measured ──

for (const guess of document.querySelectorAll(".guess")) {
  const { answer, text, figure, unknown } = guess.dataset;
  const choices = [...guess.querySelectorAll("li")];
  const hidden = [text, figure].map((id) => id && document.getElementById(id)).filter(Boolean);
  const key = `guess ${location.pathname}`;
  const covers = hidden.map((element) => {
    const cover = make("p", { className: "cover" }, "Guess first: the question at the top opens this.");
    element.before(cover);
    return cover;
  });
  const without = make("button", { className: "without", type: "button" }, "Show it without a guess");

  const open = (chosen) => {
    document.body.classList.remove("covers");
    for (const cover of covers) cover.remove();
    without.remove();
    guess.querySelector(".opened")?.remove();
    for (const choice of choices) {
      choice.classList.toggle("chosen", choice === chosen);
      choice.setAttribute("aria-pressed", String(choice === chosen));
      choice.classList.toggle("right", Boolean(answer) && letter(choice) === answer);
    }
    const said = unknown ?? `${chosen ? `You guessed ${letter(chosen)}). ` : ""}Measured: ${answer}).`;
    const opened = make("div", { className: "opened", role: "status" }, make("p", {}, said));
    for (const element of hidden) {
      const copy = element.cloneNode(true);
      copy.removeAttribute("id");
      opened.append(copy);
    }
    guess.append(opened);
    remember(key, chosen ? letter(chosen) : "-");
  };

  for (const choice of choices) {
    choice.tabIndex = 0;
    choice.setAttribute("role", "button");
    choice.addEventListener("click", () => open(choice));
    choice.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(choice);
    });
  }
  without.addEventListener("click", () => open(null));
  guess.append(without);
  document.body.classList.add("covers");
  const before = remember(key);
  if (before) open(choices.find((choice) => letter(choice) === before) ?? null);
}

function letter(choice) {
  return choice.textContent.trim()[0];
}

// Keep a word in the browser, or read it; pages from files may have no such memory.
function remember(key, word) {
  try {
    if (word === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, word);
  } catch {
    return null;
  }
}

// ── sliders: a sentence for each place, and the curves it moves along ──

const COLOURS = { plain: "var(--plain)", residual: "var(--residual)" };
const OTHERS = ["var(--first)", "var(--second)", "var(--third)"];
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, PAD] = [520, 190, 34];

for (const slide of document.querySelectorAll(".slide")) {
  const { sentences, at, columns } = JSON.parse(slide.dataset.slider);
  const [[name], ...curves] = Object.entries(columns);
  const sentence = slide.querySelector("p");
  const input = make("input", { type: "range", min: 0, max: sentences.length - 1, value: at });
  input.setAttribute("aria-label", name);
  const plot = draw(curves, sentences.length);
  slide.append(input, plot.element);
  const move = () => {
    sentence.textContent = sentences[input.value];
    input.setAttribute("aria-valuetext", sentences[input.value]);
    plot.move(Number(input.value));
  };
  input.addEventListener("input", move);
  move();
}

function svg(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Curves over the places of the slider, under their names; logarithmic where they span more than a factor of 30.
function draw(curves, count) {
  const values = curves.flatMap(([, column]) => column);
  const logarithmic = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
  const scale = logarithmic ? Math.log10 : (value) => value;
  const [low, high] = [Math.min(...values.map(scale)), Math.max(...values.map(scale))];
  const x = (place) => PAD + ((WIDTH - 2 * PAD) * place) / Math.max(count - 1, 1);
  const y = (value) => HEIGHT - 22 - ((HEIGHT - 52) * (scale(value) - low)) / (high - low || 1);
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  element.setAttribute("aria-label", curves.map(([name]) => name).join(", "));
  const now = svg("line", { class: "now", y1: 18, y2: HEIGHT - 14 });
  element.append(svg("line", { class: "axis", x1: PAD, x2: WIDTH - PAD, y1: HEIGHT - 14, y2: HEIGHT - 14 }), now);
  let left = PAD;
  const dots = curves.map(([name, column], i) => {
    const colour = COLOURS[name] ?? OTHERS[i % OTHERS.length];
    const points = column.map((value, place) => `${x(place)},${y(value)}`).join(" ");
    const dot = svg("circle", { r: 5, style: `fill: ${colour}` });
    const label = svg("text", { x: left, y: 12, style: `fill: ${colour}` }, name);
    left += 9 * name.length + 14;
    element.append(svg("polyline", { points, style: `fill: none; stroke: ${colour}; stroke-width: 2.5` }), dot, label);
    return { dot, column };
  });
  const move = (place) => {
    for (const end of ["x1", "x2"]) now.setAttribute(end, x(place));
    for (const { dot, column } of dots) {
      dot.setAttribute("cx", x(place));
      dot.setAttribute("cy", y(column[place]));
    }
  };
  return { element, move };
}

// ── figures in full size ──

document.addEventListener("click", ({ target }) => {
  if (!target.matches?.(".drawn img")) return;
  const dialog = make("dialog", { className: "zoomed" }, make("img", { src: target.src, alt: target.alt }));
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});

// ── the explorer says how high it is ──

addEventListener("message", ({ data, source }) => {
  for (const frame of document.querySelectorAll("iframe.explorer"))
    if (frame.contentWindow === source && data?.height > 0) frame.style.height = `${Math.ceil(data.height)}px`;
});
