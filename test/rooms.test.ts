import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { dirname, join, normalize } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../src", import.meta.url))

/** From top to bottom: a file imports from its own room and from those below. */
const ROOMS = [
  "main.ts",
  "cli",
  "workers",
  "index.ts",
  "testing",
  "sample",
  "spillway.ts",
  "embed",
  "http/server",
  "http/proxy",
  "http/admin",
  "services/operate",
  "services/media",
  "services/transfer",
  "services/cache",
  "services/fleet",
  "services/mirrors",
  "services/origin",
  "services/disk",
  "services/config",
  "services/observe",
  "domain",
  "domain/rfc",
  "effects",
  "version.ts"
]

/** The largest part of all lines that one room may have. */
const LARGEST_PART = 1 / 8

interface Source {
  readonly path: string
  readonly lines: number
  readonly imports: ReadonlyArray<string>
  /** Those of more than types. */
  readonly values: ReadonlyArray<string>
}

/** The innermost room that a file is in. */
const floorOf = (path: string): number =>
  ROOMS.reduce(
    (found, room, floor) =>
      (path === room || path.startsWith(`${room}/`)) && room.length > (ROOMS[found]?.length ?? 0) ? floor : found,
    -1
  )

const IMPORT = /^(?:import|export) (type )?[^"]*? from "(\.[^"]+)"|\bimport(?: |\()"(\.[^"]+)"/gm

const sources: ReadonlyArray<Source> = Fs.readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => {
    const text = Fs.readFileSync(join(root, path), "utf8")
    const found = [...text.matchAll(IMPORT)]
      .map(([, type, from, direct]) => ({ type, target: normalize(join(dirname(path), from ?? direct!)) }))
      .filter(({ target }) => target.endsWith(".ts"))
    const imports = found.map(({ target }) => target)
    const values = found.filter(({ type }) => type === undefined).map(({ target }) => target)
    return { path, lines: text.split("\n").length, imports, values }
  })

describe("the rooms of src", () => {
  it("have a place for each file", () => {
    assert.isAbove(sources.length, 100)
    assert.deepStrictEqual(sources.filter(({ path }) => floorOf(path) === -1), [])
  })

  it("import only from rooms below", () => {
    const upward = sources.flatMap(({ imports, path }) =>
      imports.filter((target) => floorOf(target) < floorOf(path)).map((target) => `${path} -> ${target}`)
    )
    assert.deepStrictEqual(upward, [])
  })

  it("have no circle of files, except for types", () => {
    const byPath = new Map(sources.map((source) => [source.path, source]))
    const done = new Set<string>()
    const circles: Array<string> = []
    const visit = (path: string, way: ReadonlyArray<string>): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(" -> "))
      if (done.has(path) || way.includes(path)) return
      for (const target of byPath.get(path)?.values ?? []) visit(target, [...way, path])
      done.add(path)
    }
    for (const { path } of sources) visit(path, [])
    assert.deepStrictEqual(circles, [])
  })

  it("are none of them more than an eighth of all", () => {
    const total = sources.reduce((sum, { lines }) => sum + lines, 0)
    const parts = ROOMS.map((room, floor) => {
      const lines = sources.filter(({ path }) => floorOf(path) === floor).reduce((sum, { lines }) => sum + lines, 0)
      return { room, lines, part: lines / total }
    })
    process.stdout.write(
      parts.map(({ lines, part, room }) =>
        `${room.padEnd(20)} ${String(lines).padStart(5)} ${(part * 100).toFixed(1).padStart(5)} %\n`
      ).join("")
    )
    assert.deepStrictEqual(parts.filter(({ part }) => part > LARGEST_PART), [])
  })
})
