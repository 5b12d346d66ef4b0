// Runs a Python program in WebAssembly, in node: node python.mjs PYODIDE FOLDER=PATH … <program.py
// PYODIDE: a folder with Pyodide and its packages; FOLDER=PATH: show the folder PATH of this machine as FOLDER.
// The program may await. Its exit code is the process's: that of SystemExit, 1 for any other exception.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [pyodideFolder, ...mounts] = process.argv.slice(2);
const program = readFileSync(0, "utf8");
const { loadPyodide } = await import(pathToFileURL(`${pyodideFolder}/pyodide.mjs`));
const pyodide = await loadPyodide({ indexURL: pyodideFolder, env: { HOME: "/home/pyodide", MPLBACKEND: "agg" } });
await pyodide.loadPackage(["numpy", "matplotlib", "threadpoolctl"], { messageCallback: () => {} });
for (const mount of mounts) {
  const [folder, path] = mount.split("=");
  pyodide.FS.mkdirTree(folder);
  pyodide.mountNodeFS(folder, path);
}
try {
  await pyodide.runPythonAsync(program);
} catch (error) {
  const code = /^SystemExit: (\d+)$/m.exec(error.message);
  if (!code) console.error(error.message);
  process.exitCode = code ? Number(code[1]) : 1;
}
