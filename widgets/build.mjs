// Bundles every widget of src/ into ../mergelab/static/. The bundles are committed, so that installing mergelab
// needs no Node; their first line carries a hash of all sources, which `--check` and a Python test compare.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform, version } from "esbuild";

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
const shared = {
  minify: true, // as written the workbench would be over the limit
  charset: "utf8",
  legalComments: "none",
};

/** A widget's sheet, whose rules hold in its own wrap alone: on the page of a notebook lie the sheets of all of them. */
async function styleOf(name) {
  const read = await build({ entryPoints: [join(here, "src", `${name}.css`)], bundle: true, charset: "utf8", write: false });
  const rules = read.outputFiles[0].text;
  const animations = /@keyframes [^{]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}/g; // these cannot lie in another rule
  const text = `${(rules.match(animations) ?? []).join("\n")}\n.ml-wrap-${name} {\n${rules.replace(animations, "")}\n}`;
  const { code } = await transform(text, { ...shared, loader: "css", banner });
  return { path: join(out, `${name}.css`), text: code, contents: Buffer.from(code) };
}

const scripts = await build({
  ...shared,
  entryPoints: widgets.map((name) => join(here, "src", `${name}.js`)),
  bundle: true,
  format: "esm",
  target: "es2022",
  banner: { js: banner },
  outdir: out,
  write: false,
});
const files = [...scripts.outputFiles, ...(await Promise.all(widgets.map(styleOf)))];

let wrong = 0;
for (const file of files) {
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
