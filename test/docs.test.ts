import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { basename, dirname, join } from "node:path"
import { jsonSchema } from "../src/services/config/configSchema.ts"
import type { JsonSchema } from "../src/services/config/section.ts"
import { readmeRows } from "../src/services/config/settings.ts"
import { runProgram } from "./support/Program.ts"
import { root } from "./support/Project.ts"

const read = (path: string): string => Fs.readFileSync(join(root, path), "utf8")

/** All pages of this repository, as git has them. */
const pages = [
  ...new Set(
    execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"], { cwd: root })
      .toString().trim().split("\n")
  )
].filter((path) => Fs.existsSync(join(root, path)))

const { scripts, version } = JSON.parse(read("package.json")) as {
  readonly scripts: Record<string, string>
  readonly version: string
}

const all = (
  pattern: RegExp,
  text: string
): ReadonlyArray<string> => [...new Set([...text.matchAll(pattern)].map((match) => match[1]!))]

/** The name by which a heading is linked to, as GitHub makes it. */
const anchor = (heading: string): string =>
  heading.toLowerCase().replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")

/** What a value of a configuration file may be. */
const kindsOf = ({ anyOf, type }: JsonSchema): ReadonlyArray<string> =>
  anyOf !== undefined
    ? [...new Set(anyOf.flatMap(kindsOf))]
    : [{ string: "text", array: "list", object: "table" }[type!] ?? type!]

/** The tables that a value may be, or a list of it. */
const tablesOf = (schema: JsonSchema): ReadonlyArray<JsonSchema> => [
  ...schema.properties === undefined ? [] : [schema],
  ...(schema.anyOf ?? []).flatMap(tablesOf)
]

/** A row for each key of a table, and of the tables in it: the name, what it may be, and the description. */
const keyRows = (schema: JsonSchema, prefix = ""): ReadonlyArray<string> =>
  Object.entries(schema.properties ?? {}).flatMap(([name, value]) =>
    [`| \`${prefix}${name}\` | ${kindsOf(value).join(" or ")} | ${value.description} |`].concat(
      tablesOf(value).flatMap((table) => keyRows(table, `${prefix}${name}.`))
    )
  )

const help = (...command: ReadonlyArray<string>) =>
  Effect.map(runProgram([...command, "--help"]), ({ stdout }) => stdout)

describe("the documentation", () => {
  it.each(pages)("%s names commands and files that exist", (page) => {
    const text = read(page)
    for (const name of all(/\bnpm (?:run (?:-s )?)([a-z][\w-]*)/g, text)) {
      assert.property(scripts, name, `npm run ${name}`)
    }
    const prose = text.replace(/^```[^]*?^```/gm, "").replace(/`[^`\n]*`/g, "")
    for (const link of all(/\]\(([^)\s]+)\)/g, prose)) {
      if (/^[a-z]+:/.test(link)) continue
      const [path, fragment] = link.split("#") as [string, string | undefined]
      const at = path === "" ? page : join(dirname(page), path)
      assert.isTrue(Fs.existsSync(join(root, at)), link)
      if (fragment === undefined) continue
      assert.include(all(/^#+ (.*)$/gm, read(at)).map(anchor), fragment, link)
    }
    for (const path of all(/`((?:test|src|bench|scripts|examples|docs)\/[\w./-]+\.\w+)`/g, text)) {
      assert.isTrue(Fs.existsSync(join(root, path)), path)
    }
  })

  it.each(["docs", "docs/reference"])("has a front page in %s that lists each page there", (directory) => {
    const listed = all(/\]\(([^)#\s]+\.md)\)/g, read(`${directory}/README.md`)).map((link) => join(directory, link))
    const own = pages.filter((page) => page.startsWith(`${directory}/`) && basename(page) !== "README.md")
    assert.isAbove(own.length, 8)
    assert.includeMembers([...listed], own)
  })

  it("quotes titles of tests in SECURITY.md that exist", () => {
    let quoted = 0
    for (const [, file, titles] of read("SECURITY.md").matchAll(/`([\w/]+\.test\.ts)`: ((?:\*[^*|]+\*(?:, )?)+)/g)) {
      const tests = read(`test/${file!}`)
      for (const title of all(/\*([^*|]+)\*/g, titles!)) {
        assert.include(tests, title, file)
        quoted += 1
      }
    }
    assert.isAbove(quoted, 60)
  })

  it("names a constant of the source for each limit", () => {
    const sources = new Map(
      execFileSync("git", ["ls-files", "src"], { cwd: root }).toString().trim().split("\n")
        .map((path) => [basename(path, ".ts"), read(path)])
    )
    const rows = read("docs/reference/limits.md").split("\n").filter((line) => line.startsWith("| ")).slice(2)
    assert.isAbove(rows.length, 80)
    for (const row of rows) {
      const names = all(/`([^`]+)`/g, row.split(" | ").at(-1)!).filter((name) => !name.includes("/"))
      const files = names.map((name) => name.split(".")[0]!).filter((name) => sources.has(name))
      if (names.length > 0) assert.isNotEmpty(files, row)
      for (const name of names) {
        const constant = name.split(".")[1] ?? (sources.has(name) ? "" : name)
        assert.isTrue(files.some((file) => sources.get(file)!.includes(constant)), `${name} in ${row}`)
      }
    }
  })

  it.live("names the commands of the program, and no others", () =>
    Effect.gen(function*() {
      const commands = all(/^ {2}([a-z-]+) {2,}/gm, (yield* help()).split("SUBCOMMANDS")[1]!)
      assert.include(commands, "serve")
      for (const page of pages.filter((page) => page !== "CHANGELOG.md")) {
        const named = all(
          /(?:^ {4}|`)(?:npm run -s spillway -- |npx spillway |spillway )([a-z]+(?:-[a-z]+)?)\b/gm,
          read(page)
        )
        for (const name of named) assert.include(commands, name, page)
      }
    }))

  it("has a row for each option in README: SPILLWAY_TEST_WRITE_DOCS=1 writes them", () => {
    const [before, table, after] = read("README.md").split(/(?<=\n\| flag \| variable .*\n.*\n)([^]*?\n)(?=\n)/, 3)
    const rows = `${readmeRows.join("\n")}\n`
    if (process.env["SPILLWAY_TEST_WRITE_DOCS"] === "1") {
      Fs.writeFileSync(join(root, "README.md"), before + rows + after)
    } else assert.strictEqual(table, rows)
  })

  it("has a row for each key of a route in configuration.md: SPILLWAY_TEST_WRITE_DOCS=1 writes them", () => {
    const page = "docs/reference/configuration.md"
    const [before, table, after] = read(page).split(/(?<=\n\| key \| value \| \|\n.*\n)([^]*?\n)(?=\n)/, 3)
    const rows = keyRows(jsonSchema.properties!["route"]!.items!).map((row) => `${row}\n`).join("")
    if (process.env["SPILLWAY_TEST_WRITE_DOCS"] === "1") {
      Fs.writeFileSync(join(root, page), before + rows + after)
    } else assert.strictEqual(table, rows)
  })

  it.live("has each option with a flag in --help, with its variable and default", () =>
    Effect.gen(function*() {
      const [, own] = /\nFLAGS\n(.*?)\n\n/s.exec(yield* help("serve"))!
      const rows = readmeRows.map((row) => row.split("|").slice(1, 4).map((cell) => cell.trim().replaceAll("`", "")))
      // `--log-level` is a flag of all commands.
      const flags = rows.filter(([flag]) => flag !== "" && flag !== "--log-level")
      assert.sameMembers([...all(/^ +(--[a-z-]+)/gm, own!)], flags.map(([flag]) => flag!))
      for (const [flag, variable, fallback] of flags) {
        const line = own!.split("\n").find((line) => line.trim().startsWith(`${flag} `))!
        assert.include(line, `(${variable}`)
        if (fallback !== "") assert.include(line, `(${variable}, ${fallback})`)
      }
    }))

  it("has changes of released versions in CHANGELOG.md, and the others as changesets", () => {
    const versions = all(/^## (.*)$/gm, read("CHANGELOG.md"))
    assert.strictEqual(versions[0], version)
    for (const name of versions) assert.match(name, /^\d+\.\d+\.\d+$/)
    for (const page of pages.filter((page) => page.startsWith(".changeset/"))) {
      assert.match(read(page), /^---\n"spillway": (?:patch|minor|major)\n---\n\n\S/, page)
    }
  })

  it("shows the example in README as it is", () => {
    assert.include(read("README.md"), `\`\`\`ts\n${read("examples/server.ts")}\`\`\`\n`)
  })
})
