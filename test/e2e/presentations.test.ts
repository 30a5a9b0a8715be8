import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { makePresentations } from "../support/media.ts"
import { runProgram, startProgram } from "../support/Program.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"

/** All that is decoded of the presentation at `url`: each picture and each piece of sound, as its time and hash. */
const play = (url: string) =>
  Effect.map(
    run("ffmpeg", ["-nostdin", "-v", "error", "-i", url, "-map", "0:v", "-map", "0:a", "-f", "framemd5", "-"]),
    ({ code, stderr, stdout }) => {
      assert.strictEqual(code, 0, stderr)
      return stdout.toString().split("\n").filter((line) => /^\d/.test(line))
    }
  )

const PRESENTATIONS = ["hls/master.m3u8", "dash/template.mpd", "dash/list.mpd"]

// Some builds of ffmpeg play no DASH.
const canPlay = spawnSync("ffmpeg", ["-v", "error", "-h", "demuxer=dash"], { encoding: "utf8" }).stdout?.includes(
  "dash"
)
if (canPlay !== true) process.stderr.write("skipped: presentations: there is no ffmpeg that plays DASH\n")

describe.skipIf(canPlay !== true)("a presentation that is fetched ahead", () => {
  it.live("by path or by URL is played to its end without the origin", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const files = yield* makePresentations
      for (const [name, bytes] of files) {
        const file = { bytes, etag: `"${name}"`, headers: { "cache-control": "max-age=3600" } }
        for (const folder of ["a", "b"]) origin.files.set(`/films/${folder}/${name}`, file)
      }
      const expected = yield* Effect.forEach(PRESENTATIONS, (name) => play(`${origin.url}/films/a/${name}`))
      for (const frames of expected) assert.isAbove(frames.length, 150)
      origin.reset()
      const program = yield* startProgram(["--origin", `/media=${origin.url}/films`, "--min-free", "0", "--cache-dir"]
        .concat(yield* temporaryDirectory))

      const { code, stderr, stdout } = yield* runProgram([
        "warm",
        ...PRESENTATIONS.map((name) => `/media/a/${name}`),
        ...PRESENTATIONS.map((name) => `${origin.url}/films/b/${name}`)
      ], { env: { SPILLWAY_SERVER: program.url } })
      assert.strictEqual(code, 0, stderr)
      assert.match(stdout, new RegExp(`^${2 * files.size} of ${2 * files.size} files cached`))
      // The command itself has requested nothing.
      assert.lengthOf(origin.requests.filter(({ method }) => method === "GET"), 2 * files.size)

      yield* origin.close
      for (const folder of ["a", "b"]) {
        for (const [at, name] of PRESENTATIONS.entries()) {
          assert.deepStrictEqual(yield* play(`${program.url}/media/${folder}/${name}`), expected[at])
        }
      }
    }))
})
