// Bundles every widget of src/ into ../mergelab/static/. The bundles are committed, so that installing mergelab
// needs no Node; their first line carries a hash of all sources, which `--check` and a Python test compare.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build, version } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "mergelab", "static");
const widgets = ["workbench", "explain", "inspector", "merging"];
const limit = 150_000; // bytes a bundle; it crosses the wire once per widget

/** Hash of every source file with its name, in the order of the names. The Python test computes the same. */
function sourceHash() {
  const files = readdirSync(join(here, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(js|css)$/.test(entry.name))
    .map((entry) => relative(here, join(entry.parentPath ?? entry.path, entry.name)).split(sep).join("/"))
    .sort();
  const hash = createHash("sha256");
  for (const file of files) hash.update(file).update("\0").update(readFileSync(join(here, file))).update("\0");
  return hash.digest("hex").slice(0, 16);
}

const banner = `/* mergelab widgets, built from widgets/src by esbuild ${version}; sources ${sourceHash()} */`;
const result = await build({
  entryPoints: widgets.flatMap((name) => [join(here, "src", `${name}.js`), join(here, "src", `${name}.css`)]),
  bundle: true,
  minify: true, // as written the workbench would be over the limit
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: { js: banner, css: banner },
  outdir: out,
  write: false,
});

let wrong = 0;
for (const file of result.outputFiles) {
  const name = relative(out, file.path);
  const problems = [];
  if (file.contents.length > limit) problems.push(`is ${file.contents.length} bytes, the limit is ${limit}`);
  // The namespace of SVG is a name, not an address that is ever fetched.
  const text = file.text.replaceAll("http://www.w3.org/2000/svg", "");
  if (/https?:\/\/|\bimport\s*\(/.test(text)) problems.push("holds an address or a dynamic import");
  if (process.argv.includes("--check")) {
    let committed = "";
    try {
      committed = readFileSync(file.path, "utf8");
    } catch {
      problems.push("is missing");
    }
    if (committed && committed !== file.text) problems.push("is stale");
  } else if (!problems.length) {
    writeFileSync(file.path, file.contents);
  }
  for (const problem of problems) console.error(`mergelab/static/${name} ${problem}. Run: make js`);
  wrong += problems.length;
  if (!problems.length) console.log(`mergelab/static/${name} ${(file.contents.length / 1024).toFixed(1)} KiB`);
}
process.exitCode = wrong ? 1 : 0;
