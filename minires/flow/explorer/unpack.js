// A run as packing.py wrote it: base64, deflated; a JSON document, and arrays of 16-bit codes that it refers to.

import { nearest, looks } from "./numbers.js";

const [ZERO, INFINITE, MISSING] = [0, 65534, 65535];

export async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = new Uint8Array(await new Response(stream).arrayBuffer());
  const end = 4 + new DataView(data.buffer).getUint32(0, true);
  const document = JSON.parse(new TextDecoder().decode(data.subarray(4, end)));
  const bytes = data.subarray(end);
  const scale = { low: document.low, step: document.step };
  const networks = document.networks.map((network) => unpackNetwork(network, bytes, scale));
  const all = looks(networks.map(({ name }) => name));
  networks.forEach((network, i) => (network.look = all[i]));
  return { networks, slots: mergeSlots(networks) };
}

// Codes (rows, columns): each row holds differences from the one before, or from the first.
function codesOf([offset, rows, columns, fromFirst], bytes) {
  const size = rows * columns;
  const codes = new Uint16Array(size);
  for (let i = 0; i < size; i++) {
    const before = i < columns ? 0 : codes[fromFirst ? i % columns : i - columns];
    codes[i] = before + bytes[offset + i] + 256 * bytes[offset + size + i];
  }
  return codes;
}

// Base-10 logarithms: −Infinity for 0, NaN where nothing was recorded.
function logsOf(where, bytes, { low, step }) {
  return Float64Array.from(codesOf(where, bytes), (code) => {
    if (code === ZERO) return -Infinity;
    if (code === INFINITE) return Infinity;
    return code === MISSING ? NaN : low + (code - 1) * step;
  });
}

const cosinesOf = (where, bytes) =>
  Float64Array.from(codesOf(where, bytes), (code) => (code === MISSING ? NaN : code / 10000 - 1));

function unpackNetwork(raw, bytes, scale) {
  const count = raw.edges.length;
  const logs = logsOf(raw.norms, bytes, scale);
  const totals = logsOf(raw.totals, bytes, scale);
  const cosines = cosinesOf(raw.cosines, bytes);
  const edgesOf = raw.tensors.map(() => []);
  raw.edges.forEach(([source], i) => edgesOf[source].push(i));
  const angled = new Map(raw.angled.map((edge, i) => [edge, i]));
  const several = new Map(raw.several.map((tensor, i) => [tensor, i]));
  const weightAt = new Map(raw.weights.map((tensor, i) => [tensor, i]));
  const measured = raw.turns ? { turns: logsOf(raw.turns, bytes, scale), sizes: logsOf(raw.sizes, bytes, scale) } : {};
  const slotOf = new Map();
  for (const [, , slot, , , members] of raw.boxes.ops)
    for (const tensor of members) slotOf.set(tensor, raw.slots[slot].name);
  const network = {
    ...raw,
    ...measured,
    count,
    logs,
    edgesOf,
    slotOf,
    log: (at, edge) => logs[at * count + edge],
    norm: (at, edge) => 10 ** logs[at * count + edge],
    cosine: (at, edge) => (angled.has(edge) ? cosines[at * angled.size + angled.get(edge)] : 1),
    // ‖gradient‖ that a tensor passed on, as a logarithm; at the last tensor, the loss, nothing came in along an edge
    total(at, tensor) {
      if (several.has(tensor)) return totals[at * several.size + several.get(tensor)];
      return edgesOf[tensor].length ? logs[at * count + edgesOf[tensor][0]] : NaN;
    },
    // of a weight: ‖W‖ before the step ("sizes"), or by how many degrees the step turned it ("turns"); else NaN
    weightLogs(what, at, tensor) {
      return measured[what] && weightAt.has(tensor) ? measured[what][at * weightAt.size + weightAt.get(tensor)] : NaN;
    },
    share(at, edge) {
      const squares = edgesOf[raw.edges[edge][0]].map((other) => network.norm(at, other) ** 2);
      return network.norm(at, edge) ** 2 / squares.reduce((sum, square) => sum + square, 0);
    },
  };
  const drawn = new Map(raw.drawn.map((edge, i) => [edge, i])); // the others are not in probes
  network.probes = raw.probes.map((probe) => {
    const [norms, sums] = [logsOf(probe.norms, bytes, scale), logsOf(probe.totals, bytes, scale)];
    const angles = cosinesOf(probe.cosines, bytes);
    const log = (cut, edge) => (drawn.has(edge) ? norms[cut * drawn.size + drawn.get(edge)] : NaN);
    return {
      ...probe,
      log,
      at: nearest(raw.steps, probe.step),
      total: (cut, tensor) =>
        several.has(tensor) ? sums[cut * several.size + several.get(tensor)] : log(cut, edgesOf[tensor][0]),
      cosine: (cut, edge) => angles[cut * angled.size + angled.get(edge)],
    };
  });
  network.forks = findForks(network);
  return network;
}

// [{name, slot in which the skip ends, tensor, skip, others}], the last two being edges.
function findForks(network) {
  return network.forks.flatMap(([tensor, name]) => {
    const edges = network.edgesOf[tensor];
    const skip = edges.find((edge) => network.edges[edge][3] === "s");
    if (skip === undefined) return [];
    const slot = network.slotOf.get(network.edges[skip][1]);
    return [{ name, slot, tensor, skip, others: edges.filter((edge) => edge !== skip) }];
  });
}

// The slots of all networks in one order: those of the first, with what only others have behind what precedes it there.
function mergeSlots(networks) {
  const merged = [];
  for (const { slots } of networks) {
    let place = 0;
    for (const slot of slots) {
      const known = merged.findIndex(({ name }) => name === slot.name);
      if (known < 0) merged.splice(place, 0, slot);
      place = (known < 0 ? place : known) + 1;
    }
  }
  return merged;
}

// Numbers of a fork, at a step or under a cut of this network: norms of skip, branch and total, and the cosine between.
export function forkNumbers(network, { tensor, skip, others }, at, cut) {
  const under = cut?.network === network;
  const [from, row] = under ? [cut.probe, cut.number] : [network, at];
  const [s, total, cosine] = [10 ** from.log(row, skip), 10 ** from.total(row, tensor), from.cosine(row, skip)];
  const several = Math.sqrt(Math.max(total ** 2 - s ** 2 * (1 - cosine ** 2), 0)) - s * cosine;
  return { skip: s, branch: others.length === 1 ? 10 ** from.log(row, others[0]) : several, total, cosine };
}
