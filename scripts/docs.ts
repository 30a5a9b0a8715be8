import * as Fs from "node:fs"
import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"
import type { Comment, DeclarationReflection, ProjectReflection, Reflection } from "typedoc"

/**
 * Generates the API reference from the doc comments: docs/reference/exports.md, and docs/api-reference with all members, as pages to open in a
 * browser. `--check` generates nothing, and fails if exports.md is out of date. Either way it fails if a public export has no comment, no
 * `@since` with a version, or no `@category` of those below.
 */

/** The categories, in the order of the page. */
const CATEGORIES = [
  "services",
  "layers",
  "constructors",
  "options",
  "models",
  "errors",
  "encoding",
  "testing",
  "modules"
]

// TypeDoc needs the API of the compiler, which TypeScript has had in its sixth version last.
registerHooks({
  resolve: (specifier, context, next) =>
    next(specifier === "typescript" ? "typescript-for-typedoc" : specifier, context)
})

const { Application, ReflectionKind } = await import("typedoc")

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))

const PAGE = at("docs/reference/exports.md")

/** An export, or a static member of one. */
interface Row {
  readonly name: string
  readonly summary: string
  readonly since: string | undefined
  readonly category: string | undefined
}

const commentOf = (declaration: DeclarationReflection): Comment | undefined =>
  declaration.comment ?? declaration.signatures?.[0]?.comment

const textOf = (parts: ReadonlyArray<{ readonly text: string }> = []): string =>
  parts.map(({ text }) => text).join("").replace(/\s+/g, " ").trim()

const firstSentence = (text: string): string => /^.*?[.](?= |$)/.exec(text)?.[0] ?? text

/** What has a row of its own: what a module exports, and what a class has besides its instances. */
const membersOf = (parent: Reflection): ReadonlyArray<DeclarationReflection> => {
  const { children = [] } = parent as DeclarationReflection
  if (!parent.kindOf(ReflectionKind.Class)) return children
  return children.filter(({ flags, inheritedFrom }) => flags.isStatic && inheritedFrom === undefined)
}

const rowsOf = (parent: Reflection, prefix = ""): ReadonlyArray<Row> =>
  membersOf(parent).flatMap((declaration) => {
    const comment = commentOf(declaration)
    const row: Row = {
      name: prefix + declaration.name,
      summary: firstSentence(textOf(comment?.summary)),
      since: comment?.getTag("@since") && textOf(comment.getTag("@since")!.content),
      category: comment?.getTag("@category") && textOf(comment.getTag("@category")!.content)
    }
    const hasMembers = declaration.kindOf([ReflectionKind.Namespace, ReflectionKind.Class])
    return [row].concat(hasMembers ? rowsOf(declaration, `${row.name}.`) : [])
  })

/** Where a row lacks what each one has. */
const mistakesOf = ({ category, name, since }: Row): ReadonlyArray<string> => [
  ...(/^\d+\.\d+\.\d+$/.test(since ?? "") ? [] : [`${name}: @since is not a version`]),
  ...(CATEGORIES.includes(category ?? "") ? [] : [`${name}: @category is not one of ${CATEGORIES.join(", ")}`])
]

const tablesOf = (rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  CATEGORIES.flatMap((category) => {
    const own = rows.filter((row) => row.category === category)
    if (own.length === 0) return []
    const lines = own.map(({ name, since, summary }) =>
      `| \`${name}\` | ${summary.replaceAll("|", "\\|")} | ${since} |`
    )
    const title = `### ${category[0]!.toUpperCase()}${category.slice(1)}`
    return [title, "", "| export | | since |", "|---|---|---|"].concat(lines.toSorted(), "")
  })

/** The rows of each entry of the package. A type and a value of one name are one row. */
const entriesOf = (project: ProjectReflection): ReadonlyArray<readonly [entry: string, rows: ReadonlyArray<Row>]> =>
  (project.children ?? []).map((entry) => [
    entry.name === "index" ? "spillway" : `spillway/${entry.name}`,
    [...new Map(rowsOf(entry).map((row) => [row.name, row])).values()]
  ])

const pageOf = (entries: ReturnType<typeof entriesOf>): string =>
  [
    "# Exports",
    "",
    "The exports of the package by category, with the first sentence of each comment and the version that had it first. `npm run docs` writes",
    "this page, and the same with all members and examples to `docs/api-reference`. [Embedding](../guide/embedding.md) and",
    "[testing](../guide/testing.md) show how to use it.",
    "",
    ...entries.flatMap(([entry, rows]) => [`## \`${entry}\``, ""].concat(tablesOf(rows)))
  ].join("\n")

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
if (project !== undefined) {
  app.validate(project)
  const entries = entriesOf(project)
  const page = pageOf(entries)
  for (const mistake of entries.flatMap(([, rows]) => rows.flatMap(mistakesOf))) app.logger.error(mistake)
  if (!process.argv.includes("--check")) {
    Fs.writeFileSync(PAGE, page)
    await app.generateOutputs(project)
  } else if (!Fs.existsSync(PAGE) || Fs.readFileSync(PAGE, "utf8") !== page) {
    app.logger.error("docs/reference/exports.md is out of date: run `npm run docs`")
  }
}
if (project === undefined || app.logger.hasErrors() || app.logger.hasWarnings()) process.exitCode = 1
