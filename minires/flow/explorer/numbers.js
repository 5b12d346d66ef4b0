// How numbers are written and drawn: three digits, wires as wide as the logarithm, and a ramp of colours.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 0.001 && size < 10000) return minus(size >= 1000 ? value.toFixed(0) : value.toPrecision(3));
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${minus(digits)}×10${power(Number(exponent))}`;
}

export const squared = (value) => (short(value).includes("×") ? `(${short(value)})²` : `${short(value)}²`);
export const count = (value) => (value < 10000 ? String(value) : short(value));
export const plainNumber = (value) =>
  Number.isFinite(value) ? (value === 0 ? "0" : value.toPrecision(4)) : short(value);
export const percent = (share) =>
  Number.isFinite(share) ? `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %` : "–";
export const minus = (text) => String(text).replace("-", "−");

// Round numbers within these limits of the logarithm: whole decades, or between them too where there are few.
export function ticks([low, high]) {
  const every = Math.max(Math.ceil((high - low) / 4), 1);
  const found = [];
  for (let exponent = Math.floor(low); exponent <= high; exponent += every) {
    found.push(...(high - low < 1.4 ? [1, 2, 5] : [1]).map((digit) => digit * 10 ** exponent));
  }
  return found.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

// A number of one digit: 0.02, 100, 10⁻⁴.
export function tick(value) {
  if (value >= 0.0095 && value < 9999) return String(Number(value.toPrecision(1)));
  const [digit, exponent] = value.toExponential(0).split("e");
  return `${digit === "1" ? "" : `${digit}×`}10${power(Number(exponent))}`;
}

function power(exponent) {
  return (exponent < 0 ? "⁻" : "") + [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
}

// From [low, high] to [0, 1], outside of it to the ends; NaN stays NaN.
export const share = (value, [low, high]) => Math.min(Math.max((value - low) / (high - low || 1), 0), 1);

// The place of the number that is nearest to the wanted one.
export const nearest = (values, wanted) =>
  values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);

// The limits of finite logarithms: without the outermost shares of them, and at least so many decades.
export function limits(logs, outside = 0, least = 1) {
  const sorted = Float64Array.from(logs).filter(Number.isFinite).sort();
  if (!sorted.length) return [-1, 1];
  const at = (part) => sorted[Math.round(part * (sorted.length - 1))];
  const low = at(outside);
  const high = at(1 - outside);
  const more = Math.max(least - (high - low), 0) / 2;
  return [low - more, high + more];
}

// A ramp from faint to strong through these colours (red, green, blue), in 256 steps.
const RAMPS = {
  light: [
    [238, 241, 246],
    [184, 205, 226],
    [122, 160, 205],
    [86, 105, 178],
    [72, 48, 132],
    [45, 14, 76],
  ],
  dark: [
    [38, 43, 56],
    [58, 62, 112],
    [112, 76, 148],
    [186, 92, 142],
    [242, 138, 112],
    [255, 222, 150],
  ],
};

export function ramp(theme) {
  const stops = RAMPS[theme];
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1);
    const before = Math.min(Math.floor(at), stops.length - 2);
    return stops[before].map((c, channel) => Math.round(c + (at - before) * (stops[before + 1][channel] - c)));
  });
}

export const rgb = ([r, g, b]) => `rgb(${r},${g},${b})`;

// The class of a network's colour.
export const look = (index) => ["first", "second"][index] ?? "other";
