import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { defineConfig } from "rolldown"

const { resolve } = createRequire(import.meta.url)

/** What the dashboard loads of its library: the program in one piece has it beside it. */
const ofLibrary = ["uPlot.esm.js", "uPlot.min.css"]

/**
 * What libraries do for each request that V8 takes for the set-up of an object: it makes a function in the old part of the heap where its
 * literal is assigned to a property. A dead one keeps everything of its request in memory until the whole heap is marked. As a constant it
 * is a young object like others.
 */
const assignedFunctions = [
  {
    file: "effect/dist/Channel.js",
    literal: /self\.transform = (\(upstream, scope\) => .*?);\n/,
    constant: "const made = $1;\n  self.transform = made;\n"
  },
  {
    file: "undici/lib/api/api-request.js",
    literal: /this\.abort = (\(reason\) => controller\.abort\(reason\))\n/,
    constant: "const made = $1\n    this.abort = made\n"
  }
]

/** Those of the libraries that have been bundled. */
const changed = new Set<string>()

// As deep as `src/effects`, from where `packagePath` finds files of the package.
const output = { dir: "dist/bin", format: "esm" } as const

export default defineConfig([{
  // The program in one piece: it starts in a quarter of the time, and takes half of the memory, of so many modules.
  input: { program: "src/cli/program.ts" },
  platform: "node",
  plugins: [{
    name: "functions-of-requests",
    transform(code, id) {
      const found = assignedFunctions.find(({ file }) => id.endsWith(`/node_modules/${file}`))
      if (found === undefined) return
      if (!found.literal.test(code)) throw new Error(`${found.file} has changed: does it still assign a function?`)
      changed.add(found.file)
      return code.replace(found.literal, found.constant)
    },
    generateBundle() {
      for (const { file } of assignedFunctions) if (!changed.has(file)) throw new Error(`${file} is not in the bundle`)
    }
  }, {
    name: "library-of-the-dashboard",
    generateBundle() {
      for (const fileName of ofLibrary) {
        this.emitFile({ type: "asset", fileName, source: readFileSync(resolve(`uplot/dist/${fileName}`)) })
      }
    }
  }],
  output: { ...output, cleanDir: true }
}, {
  // What checks the version of Node stays apart from what old versions cannot read.
  input: { spillway: "src/main.ts" },
  platform: "node",
  plugins: [{
    name: "entry-of-the-program",
    resolveId: (source) => source === "./cli/program.ts" ? { id: "./program.js", external: "absolute" } : null,
    generateBundle(_, bundle) {
      // Versions without modules run the file as a script.
      for (const file of Object.values(bundle)) {
        if (file.type === "chunk") file.code = file.code.replace(/^export \{\};\n?/m, "")
      }
    }
  }],
  output
}])
