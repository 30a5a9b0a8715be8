import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import { get } from "node:http"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Status } from "../../src/http/admin/api/model.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, main, startProgram, view } from "../support/Program.ts"
import { valueOf } from "../support/scrape.ts"
import { MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"

const server = fileURLToPath(new URL("../support/mirrorServer.js", import.meta.url))

/** More than the buffers between a mirror and a viewer hold, even if the machine is busy. */
const SIZE = 32 * MiB

/** Bytes per second. */
const RATE = 12 * MiB

/** A mirror: a process of its own, which can be killed. */
const startMirror = Effect.fnUntraced(function*(file: string, etag: string, port = 0) {
  const child: ChildProcess = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [server, file, etag, String(RATE), String(port)], {
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const listening = yield* Effect.callback<number>((resume) => {
    child.stdout!.once("data", (data: Buffer) => resume(Effect.succeed(Number(data.toString()))))
  })
  const kill = Effect.callback<void>((resume) => {
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })
  return { port: listening, url: `http://127.0.0.1:${listening}`, kill }
})

/** Two mirrors, each with one of `films`, and Spillway before them. */
const begin = Effect.fnUntraced(function*(films: readonly [Buffer, Buffer]) {
  const directory = yield* temporaryDirectory
  const place = (index: 0 | 1) => ({
    file: join(directory, `film${index}`),
    etag: `"${sha256(films[index]).slice(0, 8)}"`
  })
  const places = [place(0), place(1)] as const
  for (const index of [0, 1] as const) Fs.writeFileSync(places[index].file, films[index])
  const first = yield* startMirror(places[0].file, places[0].etag)
  const second = yield* startMirror(places[1].file, places[1].etag)
  const config = join(directory, "spillway.toml")
  Fs.writeFileSync(
    config,
    [
      `cache-dir = "${join(directory, "cache")}"`,
      "min-free = 0",
      "[[route]]",
      `origin = ["${first.url}", "${second.url}"]`
    ].join("\n")
  )
  const program = yield* startProgram(["--config", config])
  const restart = (mirror: typeof first, index: 0 | 1) =>
    startMirror(places[index].file, places[index].etag, mirror.port)
  return { first, second, restart, url: program.url }
})

/** Reads a response to where it ends or breaks off, and measures the pauses. `onBytes` gets how much has arrived. */
const watch = (url: string, onBytes: (received: number) => void) =>
  Effect.callback<{ readonly received: Buffer; readonly isWhole: boolean; readonly longestPause: number }>((resume) => {
    const pieces: Array<Buffer> = []
    let received = 0
    let last: number | undefined
    let longestPause = 0
    const request = get(url, { agent: false }, (response) => {
      response.on("data", (piece: Buffer) => {
        const now = performance.now()
        longestPause = Math.max(longestPause, now - (last ?? now))
        last = now
        pieces.push(piece)
        received += piece.length
        onBytes(received)
      })
      response.on("error", () => {})
      response.on(
        "close",
        () => resume(Effect.succeed({ received: Buffer.concat(pieces), isWhole: response.complete, longestPause }))
      )
    })
    return Effect.sync(() => request.destroy())
  })

/** `watch`, and kills a mirror when a quarter has arrived. */
const watchWhileKilling = Effect.fnUntraced(function*(url: string, { kill }: { readonly kill: Effect.Effect<void> }) {
  let isKilled = false
  return yield* watch(url, (received) => {
    if (isKilled || received < SIZE / 4) return
    isKilled = true
    Effect.runFork(kill)
  })
})

const statesAt = (url: string) =>
  Effect.map(
    Effect.promise(() => fetch(`${url}/_spillway/api/status`).then((answer) => answer.json() as Promise<Status>)),
    ({ origins }) => origins.map(({ state }) => state).join()
  )

const metricsAt = (url: string) =>
  Effect.promise(() => fetch(`${url}/_spillway/metrics`).then((answer) => answer.text()))

/** What `spillway status` prints. */
const statusOf = (url: string) =>
  Effect.callback<string>((resume) => {
    const child = spawn(process.execPath, [main, "status"], { env: { ...process.env, SPILLWAY_SERVER: url } })
    let printed = ""
    child.stdout.on("data", (data: Buffer) => printed += data.toString())
    child.on("close", () => resume(Effect.succeed(printed)))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** How long a viewer may wait for the next bytes, in milliseconds: on a machine of its own it is some 20 ms. */
const LONGEST_PAUSE_MILLIS = 3000

describe("a route with two mirrors", () => {
  it.live(
    "sends every byte to a viewer while one of them is killed in the middle of the body",
    () =>
      Effect.gen(function*() {
        const film = randomBytes(SIZE)
        const { first, restart, url } = yield* begin([film, film])
        const { isWhole, longestPause, received } = yield* watchWhileKilling(`${url}/film`, first)
        assert.isTrue(isWhole)
        assert.strictEqual(createHash("sha256").update(received).digest("hex"), sha256(film))
        process.stdout.write(`longest pause ${longestPause.toFixed(0)} ms\n`)
        assert.isBelow(longestPause, LONGEST_PAUSE_MILLIS)
        const metrics = yield* metricsAt(url)
        assert.isAtLeast(valueOf(metrics, "spillway_origin_failovers_total{reason=\"body\"}")!, 1)
        assert.strictEqual(valueOf(metrics, `spillway_origin_up{origin="${first.url}/"}`), 0)
        assert.include(yield* statusOf(url), `origins   ${first.url}/ down since`)
        // Nobody has to ask for anything.
        yield* restart(first, 0)
        yield* eventually(
          "the first mirror to be in use again",
          Effect.map(statesAt(url), (states) => states === "up,up")
        )
      })
  )

  it.live(
    "cuts a stream whose version only the killed one had, and sends the other version from then on",
    () =>
      Effect.gen(function*() {
        const films = [randomBytes(SIZE), randomBytes(SIZE, 2)] as const
        const { first, url } = yield* begin(films)
        const { isWhole, received } = yield* watchWhileKilling(`${url}/film`, first)
        assert.isFalse(isWhole)
        assert.isTrue(received.equals(films[0].subarray(0, received.length)))
        assert.strictEqual((yield* view(`${url}/film`)).sha256, sha256(films[1]))
      })
  )

  it.live("answers again as soon as one of them is back", () =>
    Effect.gen(function*() {
      const film = randomBytes(MiB)
      const { first, restart, second, url } = yield* begin([film, film])
      yield* first.kill
      yield* second.kill
      assert.strictEqual((yield* view(`${url}/film`)).status, 502)
      assert.strictEqual(yield* statesAt(url), "down,down")
      yield* restart(second, 1)
      assert.strictEqual((yield* view(`${url}/film`)).sha256, sha256(film))
      assert.include(yield* statesAt(url), "up")
    }))
})
