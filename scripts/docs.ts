import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"

/**
 * Generates the API reference from the doc comments into docs/api-reference, as pages to open in a browser; `--check` generates
 * nothing. Either way it fails where a public export has no comment.
 */

// TypeDoc needs the API of the compiler, which TypeScript has had in its sixth version last.
registerHooks({
  resolve: (specifier, context, next) =>
    next(specifier === "typescript" ? "typescript-for-typedoc" : specifier, context)
})

const { Application } = await import("typedoc")

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))

const app = await Application.bootstrap({
  name: "Spillway",
  entryPoints: [at("src/index.ts"), at("src/testing/index.ts")],
  tsconfig: at("tsconfig.build.json"),
  out: at("docs/api-reference"),
  readme: "none",
  disableSources: true,
  excludeExternals: true,
  excludePrivate: true,
  requiredToBeDocumented: ["Class", "Function", "Interface", "Namespace", "TypeAlias", "Variable"],
  validation: { notExported: false, invalidLink: true, rewrittenLink: true, notDocumented: true },
  logLevel: "Warn"
})

const project = await app.convert()
if (project !== undefined) app.validate(project)
if (project === undefined || app.logger.hasErrors() || app.logger.hasWarnings()) process.exitCode = 1
else if (!process.argv.includes("--check")) await app.generateOutputs(project)
