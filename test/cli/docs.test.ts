import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, main, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

/** Where what the commands print is documented. `SPILLWAY_TEST_WRITE_DOCS=1` has it written there instead of compared. */
const file = fileURLToPath(new URL("../../docs/reference/cli.md", import.meta.url))

const isWriting = process.env["SPILLWAY_TEST_WRITE_DOCS"] === "1"

/** Standard output and standard error output as a terminal shows them: together. */
const run = (args: ReadonlyArray<string>, env: Record<string, string>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const command = `exec "$0" "$@" 2>&1`
    const child = execFile(
      "sh",
      ["-c", command, process.execPath, main, ...args],
      { env: { ...process.env, ...env } },
      (_, stdout) => resume(Effect.succeed(stdout.trimEnd()))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const duration = /-?\d+ (?:d|h|min|s)(?: \d+ (?:h|min|s))?/

/** What is another each time becomes what is in the document. */
const normal = (text: string, origin: string, server: string, directory: string): string =>
  text.replaceAll(origin, "https://media.example.org").replaceAll(server, "http://127.0.0.1:8080")
    .replaceAll(directory, "/var/cache/spillway")
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z/g, "2026-11-25T20:00:00.000Z")
    .replace(new RegExp(`(up |yes, |another )${duration.source}`, "g"), "$159 min")
    .replace(/(disk +)\w+, [\d.]+ \w+ of [\d.]+ \w+ free/, "$1healthy, 120 GiB of 250 GiB free")
    // Not every file system counts its file nodes.
    .replace(/, \d+ of \d+ file nodes free/, "")
    .replace(/\w+( +)disk: [\d.]+ \w+ of [\d.]+ \w+ free(?:: less.*\n.*)?/, "ok$1disk: 120 GiB of 250 GiB free")
    .replace(/node: version [\d.]+/, "node: version 24.21.0")
    .replace(/\w+( +)open files: \d+ allowed(?:, and.*\n.*)?/, "ok$1open files: 20000 allowed")
    .replace(/[\d.]+ [KM]iB\/s/g, "100 MiB/s")
    .replace(/first byte after \d+ ms/g, "first byte after 12 ms")
    .replace(/version \d+\.\d+\.\d+(-\w+)?, up/, "version 1.0.0, up")
    .replace(/last used {2,}/, "last used     ")
    .replace(new RegExp(`${duration.source} ago +`, "g"), "59 min ago    ")

/** Files that are fetched at one time are done in any order. */
const inAnyOrder = (text: string): ReadonlyArray<string> => text.replace(/^\d+(?=\/\d+ )/gm, "#").split("\n").toSorted()

interface Command {
  readonly line: string
  readonly shown: string
}

/** The commands of a document's console blocks, with what is shown to come of each. */
const commandsOf = (block: string): ReadonlyArray<Command> =>
  block.split(/^\$ /m).slice(1).map((part) => {
    const [line = "", ...shown] = part.split("\n")
    return { line, shown: shown.join("\n").trimEnd() }
  })

/** Files that share a directory take less of the disk. */
const isApart = (origin: string): boolean => {
  const paths = ["/film.mp4", "/trailer.mp4", "/show/index.m3u8", "/show/segment1.ts", "/show/segment2.ts"]
  return new Set(paths.map((path) => makeResource(origin + path).id.slice(0, 2))).size === paths.length
}

describe("docs/reference/cli.md", () => {
  it.live("shows what the commands print", () =>
    Effect.gen(function*() {
      // Where a file is depends on the origin's port.
      const origin = yield* Effect.repeat(makeTestOrigin, { until: ({ url }) => isApart(url) })
      const size = 3.5 * MiB
      const fresh = { "cache-control": "max-age=3600" }
      origin.files.set("/film.mp4", {
        ...fileOf(size, 1),
        etag: "\"film-1\"",
        contentType: "video/mp4",
        headers: fresh
      })
      origin.files.set("/trailer.mp4", { ...fileOf(MiB / 2, 2), etag: "\"trailer-1\"", headers: fresh })
      origin.files.set("/live.bin", { ...fileOf(1000, 3), headers: { "cache-control": "no-store" } })
      const playlist = Buffer.from("#EXTM3U\n#EXTINF:4,\nsegment1.ts\n#EXTINF:4,\nsegment2.ts\n")
      origin.files.set("/show/index.m3u8", { ...fileOf(0, 4), bytes: playlist, headers: fresh })
      origin.files.set("/show/segment1.ts", { ...fileOf(MiB / 4, 5), headers: fresh })
      origin.files.set("/show/segment2.ts", { ...fileOf(MiB / 4, 6), headers: fresh })
      const directory = yield* temporaryDirectory
      const { url } = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0"])
      yield* view(`${url}/film.mp4`, { range: `bytes=0-${size / 2 - 1}` })
      yield* view(`${url}/trailer.mp4`)
      const env = { SPILLWAY_SERVER: url, SPILLWAY_CACHE_DIR: directory, SPILLWAY_MIN_FREE: "0", NO_COLOR: "1" }
      yield* eventually(
        "the chunks on disk",
        Effect.map(run(["status", "--json"], env), (text) => JSON.parse(text).cache.chunks === 3)
      )

      const show = (line: string) =>
        run(line.split(" ").slice(1).map((word) => word.replace("https://media.example.org", origin.url)), env).pipe(
          Effect.map((text) => normal(text, origin.url, url, directory))
        )
      const parts = Fs.readFileSync(file, "utf8").split(/(?<=```console\n)|(?=```\n)/)
      const written: Array<string> = []
      let count = 0
      for (const part of parts) {
        const commands = part.startsWith("$ ") ? commandsOf(part) : []
        const shown = yield* Effect.forEach(commands, ({ line, shown }) =>
          Effect.map(show(line), (text) => {
            count += 1
            if (!isWriting) assert.deepStrictEqual(inAnyOrder(text), inAnyOrder(shown), line)
            return `$ ${line}\n${text}\n`
          }))
        written.push(commands.length === 0 ? part : shown.join(""))
      }
      assert.isAbove(count, 15)
      if (isWriting) Fs.writeFileSync(file, written.join(""))
    }))
})
