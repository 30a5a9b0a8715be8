import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { temporaryDirectory } from "../support/disks.ts"
import { eventuallyHit, runProgram, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

/** A configuration file in a directory of its own, for a cache beside it. */
const makeConfig = Effect.fnUntraced(function*(lines: (directory: string) => ReadonlyArray<string>) {
  const directory = yield* temporaryDirectory
  const file = join(directory, "spillway.toml")
  Fs.writeFileSync(file, lines(directory).join("\n"))
  return file
})

describe("a configuration file", () => {
  it.live("has the routes and options of a run", () =>
    Effect.gen(function*() {
      const [films, music] = [yield* makeTestOrigin, yield* makeTestOrigin]
      const film = fileOf(2 * MiB, 1)
      for (const token of ["a", "b"]) films.files.set(`/v/film?token=${token}&v=1`, film)
      films.files.set("/v/other?token=a", fileOf(1000, 2))
      music.files.set("/song", fileOf(1000, 3))
      const file = yield* makeConfig((directory) => [
        `cache-dir = "${join(directory, "cache")}"`,
        "min-free = 0",
        "max-size = \"64MiB\"",
        "",
        "[[route]]",
        "match = \"/films\"",
        `origin = "${films.url}/v"`,
        "ttl = \"1h\"",
        "[route.key]",
        "ignore = \"token\"",
        "",
        "[[route]]",
        "match = \"music.example\"",
        `origin = "${music.url}"`
      ])
      const program = yield* startProgram(["--config", file])
      assert.include(program.stdout(), `origin /films=${films.url}/v music.example=${music.url}/, cache`)
      // Two viewers with a token each: one entry, one transfer.
      assert.strictEqual((yield* view(`${program.url}/films/film?token=a&v=1`)).sha256, sha256(film.bytes))
      yield* eventuallyHit(`${program.url}/films/film?token=a&v=1`)
      const before = films.requests.length
      const second = yield* view(`${program.url}/films/film?v=1&token=b`)
      assert.strictEqual(second.sha256, sha256(film.bytes))
      assert.match(String(second.headers["cache-status"]), /^spillway; hit/)
      assert.strictEqual(films.requests.length, before)
      assert.strictEqual((yield* view(`${program.url}/song`, { host: "music.example" })).status, 200)
      assert.strictEqual((yield* view(`${program.url}/song`)).status, 404)
    }), 60_000)

  it.live("is overridden by variables, and these by flags", () =>
    Effect.gen(function*() {
      const [inFile, inVariable, onLine] = [yield* makeTestOrigin, yield* makeTestOrigin, yield* makeTestOrigin]
      const file = yield* makeConfig((directory) => [
        `cache-dir = "${join(directory, "of-file")}"`,
        "port = 0",
        `origin = "/a=${inFile.url}"`,
        "[[route]]",
        "match = \"/section\"",
        `origin = "${inFile.url}"`
      ])
      const directory = yield* temporaryDirectory
      const env = { SPILLWAY_CONFIG: file, SPILLWAY_ORIGIN: `/b=${inVariable.url}` }
      const byVariable = yield* startProgram(["--cache-dir", directory], { env })
      assert.include(byVariable.stdout(), `origin /b=${inVariable.url}/ /section=${inFile.url}/, cache ${directory}`)
      yield* byVariable.stop()
      const byFlag = yield* startProgram(
        ["--cache-dir", directory, "--origin", `/c=${onLine.url}`, "--origin", `/section=${onLine.url}`],
        { env }
      )
      assert.include(
        byFlag.stdout(),
        `origin /c=${onLine.url}/ /section=${onLine.url}/ /section=${inFile.url}/, cache ${directory}`
      )
    }), 60_000)

  it.live("with mistakes doesn't start, and each of them is a line", () =>
    Effect.gen(function*() {
      const file = yield* makeConfig(() => ["prot = 80", "", "[[route]]", "origin = \"media.example\""])
      const { code, stderr, stdout } = yield* runProgram(["serve", "--config", file])
      assert.strictEqual(code, 1)
      assert.strictEqual(stdout, "")
      assert.strictEqual(
        stderr,
        `spillway: ${file}:1: prot: there is no such key; did you mean port?\n` +
          `spillway: ${file}:4: route.origin: origin "media.example": not a URL; give one such as https://media.example.org\n`
      )
      const missing = yield* runProgram(["serve", "--config", `${file}.none`])
      assert.strictEqual(missing.code, 1)
      assert.strictEqual(missing.stderr, `spillway: cannot read ${file}.none (NotFound)\n`)
    }), 60_000)
})
