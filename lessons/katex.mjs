// Reads [formula, whether it is displayed] from each line, and writes {html} or {error}.

import { createInterface } from "node:readline";

const { default: katex } = await import(process.argv[2]);

for await (const line of createInterface({ input: process.stdin })) {
  const [formula, displayMode] = JSON.parse(line);
  let answer;
  try {
    answer = { html: katex.renderToString(formula, { displayMode, strict: "error" }) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
