// What is chosen: kept in the page's address, so that a link leads to the same moment, and told to all parts at once.

const KEPT = ["run", "step", "block", "edge", "cut", "k", "measure", "zoom", "theme"];

export class State {
  constructor(initial, keepsHash) {
    this.values = initial;
    this.keepsHash = keepsHash;
    this.listeners = [];
    this.changed = new Set();
    if (keepsHash) this.values = { ...initial, ...readHash() };
  }

  // Takes effect with the next frame, however many changes come until then.
  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (this.values[name] !== value) {
        this.values[name] = value;
        this.changed.add(name);
      }
    }
    if (this.changed.size && !this.frame) this.frame = requestAnimationFrame(() => this.tell());
  }

  tell() {
    this.frame = 0;
    const changed = this.changed;
    this.changed = new Set();
    for (const listener of this.listeners) listener(changed);
    if (this.keepsHash) this.writeHash();
  }

  writeHash() {
    const parts = KEPT.filter((name) => this.values[name] !== "" && this.values[name] !== null).map(
      (name) => `${name}=${encodeURIComponent(this.values[name])}`,
    );
    const hash = `#${parts.join("&")}`;
    if (hash === location.hash) return;
    try {
      history.replaceState(null, "", hash);
    } catch {
      this.keepsHash = false; // inside a frame that may not
    }
  }
}

export function readHash() {
  const found = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (KEPT.includes(name))
      found[name] = name === "step" || name === "k" || name === "run" || name === "zoom" ? Number(value) : value;
  }
  return found;
}
