// Where everything stands: slots from left to right, a row for each network, boxes in columns and lanes, wires between.

const COLUMN = 48; // of an unfolded block, and
const PADDING = 26; // what it has more
const LANE = 46; // from lane to lane, at most
const FOLDED = { narrowest: 10.5, widest: 124 };
const LEVEL = { true: "ops", false: "folded" };

// open: names of unfolded slots. Returns {slots, rows, width}; everything in pixels.
export function place(run, width, open, zoom, left) {
  const room = width - left - 8;
  const columns = (name, level) =>
    Math.max(...run.networks.map((n) => 1 + Math.max(-1, ...boxesIn(n, name, level).map((box) => box[3]))), 1);
  const unfolded = (name) => PADDING + COLUMN * columns(name, "ops");
  const names = run.slots.map((slot) => slot.name);
  const blocks = run.slots.filter((slot) => slot.block).map((slot) => slot.name);
  let opened = new Set(open.filter((name) => names.includes(name)));
  const fits = (set) => names.reduce((sum, name) => sum + (set.has(name) ? unfolded(name) : 56), 0) <= room;
  if (zoom === 1 && fits(new Set(blocks.length ? blocks : names))) opened = new Set(blocks.length ? blocks : names);
  else if (zoom === 1)
    opened = new Set([...opened].filter((name) => unfolded(name) + (names.length - 1) * FOLDED.narrowest <= room));
  const folded = names.filter((name) => !opened.has(name));
  const rest = room - [...opened].reduce((sum, name) => sum + unfolded(name), 0);
  const each = Math.min(Math.max(rest / (folded.length || 1), FOLDED.narrowest), FOLDED.widest) * zoom;
  if (zoom > 1) for (const name of blocks) if (each > 0.8 * unfolded(name)) opened.add(name);
  let x = left;
  const slots = run.slots.map(({ name, block }) => {
    const isOpen = opened.has(name);
    const lane = isOpen ? LANE : Math.min(Math.max(0.9 * each, 18), LANE);
    const slot = {
      name,
      block,
      open: isOpen,
      lane,
      x,
      width: isOpen ? unfolded(name) : block ? each : Math.min(each, FOLDED.widest),
      columns: columns(name, LEVEL[isOpen]),
    };
    x += slot.width;
    return slot;
  });
  let y = 0;
  const rows = run.networks.map((network) => {
    const row = placeRow(network, new Map(slots.map((slot) => [slot.name, slot])), y, each);
    y = row.bottom;
    return row;
  });
  return { slots, rows, width: Math.max(x + 8, width), bottom: y, each };
}

const boxesIn = (network, name, level) => network.boxes[level].filter((box) => network.slots[box[2]].name === name);

function placeRow(network, slots, top, each) {
  const boxes = [];
  const home = new Map();
  for (const slot of slots.values()) {
    for (const raw of boxesIn(network, slot.name, LEVEL[slot.open])) {
      const box = placeBox(raw, slot, network);
      boxes.push(box);
      for (const tensor of raw[5]) home.set(tensor, box);
    }
  }
  const lanes = boxes.map((box) => box.lane);
  const arcs = network.edges.some(([source, consumer, , role]) => {
    const [a, b] = [home.get(source), home.get(consumer)];
    return role === "s" || (a && b && a.lane === b.lane && jumps(a, b, boxes));
  });
  const above = Math.max(0, ...lanes, arcs ? 1 : 0);
  const base = top + 40 + above * Math.max(...[...slots.values()].map(({ lane }) => lane));
  for (const box of boxes) box.y = base - box.lane * box.slot.lane;
  const wires = [];
  network.edges.forEach(([source, consumer, , role], edge) => {
    const [a, b] = [home.get(source), home.get(consumer)];
    if (!a || !b || a === b) return;
    const { path, middle, long } = route(a, b, role, boxes, above);
    const family = { s: "skip", b: "branch", "-": "trunk" }[network.families[edge]];
    wires.push({ edge, path, middle, long, family, slots: [a.slot.name, b.slot.name] });
  });
  wires.sort((a, b) => (a.family === "skip") - (b.family === "skip"));
  return { network, boxes, wires, base, top, bottom: base + 34 - LANE * Math.min(0, ...lanes), each };
}

function placeBox([label, kind, , column, lane, members], slot, network) {
  const share = slot.open || slot.columns !== 2 ? (column + 0.5) / slot.columns : [0.42, 0.88][column];
  const inner = slot.open ? slot.width - PADDING : slot.width;
  const x = slot.x + (slot.open ? PADDING / 2 : 0) + inner * share;
  const small = slot.width < 30 && !slot.open;
  let [width, height] = [0, 0];
  if (kind === "sum") width = height = slot.open ? 20 : Math.min(Math.max(slot.width * 0.2, 5), 18);
  else if (slot.open) [width, height] = [COLUMN - 12, 26];
  else
    [width, height] = [
      Math.min(slot.width * ([0, 0.66, 0.5][slot.columns] ?? 0.7 / slot.columns), 58),
      small ? 16 : 26,
    ];
  if (lane && !slot.open) [width, height] = [Math.min(width, 12), 10]; // a projection or padding on the way of the skip
  const weights = network.weights.filter((tensor) => members.includes(network.edges[network.edgesOf[tensor][0]]?.[1]));
  return { label, kind, slot, lane, members, x, width, height, weights };
}

// Whether boxes stand in the lane between a and b.
const jumps = (a, b, boxes) => boxes.some((box) => box.lane === a.lane && box.x > a.x + 1 && box.x < b.x - 1);

// A wire from box a to box b: straight, up or down to another lane, or as an arc over what is between them.
function route(a, b, role, boxes, above) {
  const top = (box) => box.y - box.height / 2;
  const leave = a.kind === "sum" ? a.x : a.x + a.width / 2 - 3;
  if (a.lane === b.lane) {
    if (!jumps(a, b, boxes) && role !== "s") {
      const [from, to] = [a.x + a.width / 2, b.x - b.width / 2];
      return { path: `M${round(from)} ${round(a.y)}H${round(to)}`, middle: [(from + to) / 2, a.y], long: to - from };
    }
    const peak = a.y - b.slot.lane * Math.max(above - a.lane, 1);
    const control = top(a) - (4 / 3) * (top(a) - peak);
    const from = Math.min(leave, b.x - 4);
    return {
      path: `M${round(from)} ${round(top(a))}C${round(from)} ${round(control)} ${round(b.x)} ${round(control)} ${round(b.x)} ${round(top(b))}`,
      middle: [(from + b.x) / 2, peak],
      long: b.x - from,
    };
  }
  const [from, to] = [a.x + a.width / 2, b.x - b.width / 2];
  if (Math.abs(b.lane) > Math.abs(a.lane)) {
    const start = b.lane > a.lane ? top(a) : a.y + a.height / 2;
    return {
      path: `M${round(leave)} ${round(start)}Q${round(leave)} ${round(b.y)} ${round(to)} ${round(b.y)}`,
      middle: [0, 0],
      long: 0,
    };
  }
  const end = a.lane > b.lane ? top(b) : b.y + b.height / 2;
  return {
    path: `M${round(from)} ${round(a.y)}Q${round(b.x)} ${round(a.y)} ${round(b.x)} ${round(end)}`,
    middle: [0, 0],
    long: 0,
  };
}

export const round = (value) => Math.round(value * 10) / 10;
