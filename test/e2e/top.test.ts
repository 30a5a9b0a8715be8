import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { spawn } from "node:child_process"
import { Snapshot } from "../../src/http/admin/api/model.ts"
import { find } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, main, openView, runProgram, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

/** A server with a stream that goes no further. */
const start = Effect.gen(function*() {
  const origin = yield* makeTestOrigin
  origin.files.set("/film", fileOf(64 * MiB, 1))
  const program = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory, "--min-free", "0"])
  const viewer = yield* openView(`${program.url}/film`)
  yield* viewer.readTo(1)
  return { program, film: `${origin.url}/film` }
})

const script = find("script")
if (script === undefined) process.stderr.write("skipped: spillway top in a terminal: there is no script\n")

describe("spillway top", () => {
  it.live("prints a snapshot without a terminal, or as many as are requested", () =>
    Effect.gen(function*() {
      const { film, program } = yield* start
      const { code, stdout } = yield* runProgram(["top", "--server", program.url])
      assert.strictEqual(code, 0)
      assert.match(stdout, /^spillway \S+, up .*, 1 stream, 0 % hits\n/)
      assert.match(stdout, /\nrequests +\d+\.\d +\d+\.\d +1\n/)
      assert.include(stdout, film)
      const json = yield* runProgram(["top", "--server", program.url, "--json", "--count", "2"])
      const lines = json.stdout.trimEnd().split("\n")
      assert.lengthOf(lines, 2)
      for (const line of lines) {
        const { streams } = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Snapshot))(line)
        assert.deepStrictEqual(streams.map(({ url }) => url), [film])
      }
    }))

  it.live("fails in one line if there is no server", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* runProgram(["top", "--server", "http://127.0.0.1:9"])
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.match(stderr, /^spillway: no server responds at http:\/\/127\.0\.0\.1:9; [^\n]*\n$/)
    }))
})

describe.skipIf(script === undefined)("spillway top in a terminal", () => {
  it.live.each([["q", "q"], ["Ctrl-C", "\u0003"]])(
    "has a screen of its own until %s",
    ([, key]) =>
      Effect.gen(function*() {
        const { film, program } = yield* start
        const command = `${process.execPath} ${main} top --server ${program.url}`
        const child = spawn(script!, ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "ignore"] })
        yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
        let printed = ""
        child.stdout.on("data", (data: Buffer) => printed += data.toString())
        yield* eventually("two screens", Effect.sync(() => printed.split("\u001b[H").length > 2))
        assert.include(printed, film)
        assert.notInclude(printed, "\u001b[?1049l")
        child.stdin.write(key)
        yield* eventually("the end", Effect.sync(() => child.exitCode !== null))
        assert.strictEqual(child.exitCode, 0)
        // The cursor and the former screen are back.
        assert.isTrue(printed.trimEnd().endsWith("\u001b[?25h\u001b[?1049l"), JSON.stringify(printed.slice(-80)))
      })
  )
})
