import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { run as runCommand } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { freePort } from "../support/freePort.ts"
import { eventually, runProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

const path = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url))

/** Runs an example as its first comment says, until the scope closes; it answers at `url` then. */
const run = Effect.fnUntraced(function*(name: string, url: string, env: Record<string, string>) {
  let printed = ""
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, [path(name)], {
        env: { ...process.env, ...env }
      })
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => printed += data.toString())
      return child
    }),
    (child) =>
      Effect.promise(() =>
        new Promise((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) return resolve(undefined)
          child.once("close", resolve)
          child.kill("SIGKILL")
        })
      )
  )
  yield* eventually(
    `${name} to listen`,
    // One that comes before the server has its routes is never answered.
    view(url).pipe(Effect.timeout("5 seconds"), Effect.as(true), Effect.catch(() => Effect.succeed(false)))
  ).pipe(Effect.tapDefect(() => Effect.logError(printed)))
})

const film = { ...fileOf(2 * MiB, 5), headers: { "content-type": "video/mp4", "cache-control": "max-age=60" } }

describe("the examples", () => {
  it.live("checksum.ts: a program without a server, whose next run needs no origin", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film.mp4", film)
      const env = [`CACHE_DIR=${yield* temporaryDirectory}`, "MIN_FREE=0B", `FILE_URL=${origin.url}/film.mp4`]
      const checksum = Effect.gen(function*() {
        const { stderr, stdout } = yield* runCommand("env", [...env, process.execPath, path("checksum.ts")])
        assert.strictEqual(stdout, `${sha256(film.bytes)}\n`, stderr)
      })
      yield* checksum
      // A program that ends waits for its writes, but not without end.
      yield* eventually(
        "a run without the origin",
        Effect.suspend(() => {
          origin.reset()
          return Effect.map(checksum, () => origin.requests.length === 0)
        })
      )
    }))

  it.live("server.ts: a server in ten lines", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film.mp4", film)
      const port = yield* freePort
      const url = `http://127.0.0.1:${port}/film.mp4`
      yield* run("server.ts", url, {
        SPILLWAY_ORIGIN: origin.url,
        SPILLWAY_CACHE_DIR: yield* temporaryDirectory,
        SPILLWAY_MIN_FREE: "0",
        SPILLWAY_PORT: String(port)
      })
      assert.strictEqual((yield* view(url)).sha256, sha256(film.bytes))
    }))

  it.live("application.ts: beside other routes", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film.mp4", film)
      const port = yield* freePort
      const url = `http://127.0.0.1:${port}`
      yield* run("application.ts", url, {
        SPILLWAY_ORIGIN: origin.url,
        SPILLWAY_CACHE_DIR: yield* temporaryDirectory,
        SPILLWAY_MIN_FREE: "0",
        PORT: String(port),
        TOKEN: "secret"
      })
      assert.strictEqual((yield* view(url)).sha256, sha256(Buffer.from("Films\n")))
      assert.strictEqual((yield* view(`${url}/media/film.mp4`)).sha256, sha256(film.bytes))
      const trailer = yield* view(`${url}/trailer`)
      assert.strictEqual(trailer.headers["content-type"], "video/mp4")
      assert.strictEqual(trailer.sha256, sha256(film.bytes.subarray(0, MiB)))
      const { headers, status } = yield* view(`${url}/play`)
      assert.strictEqual(status, 302)
      assert.strictEqual((yield* view(url + headers.location!)).sha256, sha256(film.bytes))
      assert.include(origin.requests.map((request) => request.headers.authorization), "Bearer secret")
      // The command line reaches it below its prefix.
      const server = ["--server", `${url}/media/`]
      const { stdout } = yield* runProgram(["map", `${url}/media/film.mp4`, "--json", ...server])
      assert.strictEqual(JSON.parse(stdout).url, `${origin.url}/film.mp4`)
      const elsewhere = yield* runProgram(["status", "--server", `${url}/film`])
      assert.include(elsewhere.stderr, `${url}/film is not a Spillway server of this version`)
    }))
})
