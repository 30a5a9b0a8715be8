import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")

const rows = read("docs/reference/http.md").split("\n").filter((line) => line.startsWith("|"))

describe("docs/reference/http.md", () => {
  it("names existing tests", () => {
    let tests = 0
    for (const row of rows) {
      for (const [, file, titles] of row.matchAll(/`(\w+)` ((?:"[^"]+"(?:, )?)+)/g)) {
        const source = read(`test/http/${file}.test.ts`)
        for (const [title] of titles!.matchAll(/"[^"]+"/g)) {
          assert.isTrue(source.includes(title), `${file}: ${title}`)
          tests++
        }
      }
      for (const [, path] of row.matchAll(/`(test\/\S+)`/g)) assert.isNotEmpty(read(path!))
    }
    assert.isAbove(tests, 90)
  })

  it("names existing limits", () => {
    let limits = 0
    for (const row of rows) {
      const match = /((?:`[A-Z_]+`(?:, )?)+) in `(src\/\S+)` \|$/.exec(row)
      if (match === null) continue
      const source = read(match[2]!)
      for (const [, name] of match[1]!.matchAll(/`(\w+)`/g)) {
        assert.match(source, new RegExp(`const ${name} =`), name)
        limits++
      }
    }
    assert.isAbove(limits, 14)
  })
})
