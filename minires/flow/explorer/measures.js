// What is shown of the weights: their gradient, that gradient free of scale, or how far the step turned them.

import { limits } from "./numbers.js";

const DECADES = 4; // below the largest turn that are told apart

export const MEASURES = {
  "": { name: "‖∂L/∂W‖", says: "gradient of each weight" },
  free: { name: "‖∂L/∂W‖·‖W‖", says: "gradient of each weight, free of scale" },
  turn: { name: "degrees turned", says: "degrees that the step turned each weight" },
};

// The measures that this run has; turns are there only if they were measured around the optimiser's steps.
export const measuresOf = (run) => Object.keys(MEASURES).filter((name) => !name || run.networks.some(({ turns }) => turns));

// The logarithm of a measure of a weight: of what its uses sent back, together; or of that under a cut.
export function weightLog(network, at, tensor, cut, measure) {
  if (measure === "turn") return network.weightLogs("turns", at, tensor);
  const size = measure === "free" ? network.weightLogs("sizes", at, tensor) : 0;
  if (cut?.network !== network) return network.total(at, tensor) + size;
  return cut.probe.log(cut.number, network.edgesOf[tensor][0]) + size;
}

// The limits of a measure's scale, which all networks of the run share.
export function weightLimits(run, measure) {
  const logs = run.networks.flatMap((network) =>
    network.steps.flatMap((_, at) => network.weights.map((tensor) => weightLog(network, at, tensor, null, measure))),
  );
  const [low, high] = limits(logs, 0, 1);
  return [measure === "turn" ? Math.max(low, high - DECADES) : low, high];
}
