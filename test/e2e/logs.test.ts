import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { ask } from "../http/TestProxy.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, openView, type Program, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

interface Line {
  readonly [name: string]: unknown
}

const linesOf = (program: Program): ReadonlyArray<Line> =>
  program.stderr().split("\n").slice(0, -1).map((line) => JSON.parse(line) as Line)

const requestsOf = (program: Program) => linesOf(program).filter(({ message }) => message === "request")

const start = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const origin = yield* makeTestOrigin
  origin.files.set("/film?token=hidden", fileOf(2 * MiB, 1))
  const directory = yield* temporaryDirectory
  const program = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0", ...args])
  return { origin, program }
})

describe.concurrent("the log", () => {
  it.live(
    "has a line of JSON for each request when it is over, and all of them at the end",
    () =>
      Effect.gen(function*() {
        const { program } = yield* start()
        yield* view(`${program.url}/film?token=hidden`)
        yield* view(`${program.url}/film?token=hidden`, { range: "bytes=0-99" })
        yield* view(`${program.url}/nothing`)
        yield* view(`${program.url}/_spillway/ready`)
        yield* view(`${program.url}/film?token=hidden`, {
          "range": "bytes=1-1",
          "user-agent": "a",
          "x-request-id": "r1"
        })
        assert.strictEqual(yield* program.stop(), 0)
        const [miss, hit, nothing, named, ...others] = requestsOf(program)
        assert.isEmpty(others)
        assert.deepInclude(miss, {
          method: "GET",
          url: "/film?…",
          status: 200,
          outcome: "miss",
          source: "origin",
          bytes: 2 * MiB
        })
        assert.deepInclude(hit, {
          url: "/film?…",
          status: 206,
          outcome: "hit",
          source: "memory",
          bytes: 100,
          level: "INFO"
        })
        assert.deepInclude(nothing, { url: "/nothing", status: 404, outcome: "miss" })
        const { host } = new URL(program.url)
        assert.deepInclude(named, { client: "127.0.0.1", host, range: "bytes=1-1", userAgent: "a", requestId: "r1" })
        for (const { milliseconds, timestamp } of requestsOf(program)) {
          assert.isAbove(milliseconds as number, 0)
          assert.match(timestamp as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        }
      })
  )

  it.live("has Spillway's own pages at the level debug", () =>
    Effect.gen(function*() {
      const { program } = yield* start("--log-level", "debug")
      yield* view(`${program.url}/_spillway/ready`)
      yield* program.stop()
      assert.deepInclude(requestsOf(program)[0], { level: "DEBUG", url: "/_spillway/ready", status: 200 })
    }))

  it.live("can be a file, which is made again when it was renamed", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const file = join(directory, "access.log")
      const { program } = yield* start("--access-log", file, "--access-log-format", "combined")
      const read = (path: string) => Fs.existsSync(path) ? Fs.readFileSync(path, "utf8") : ""
      yield* view(`${program.url}/film?token=hidden`, { "range": "bytes=0-9", "user-agent": "test" })
      const line = /^127\.0\.0\.1 - - \[[^\]]+\] "GET \/film\?… HTTP\/1\.1" 206 10 "-" "test"\n$/
      yield* eventually("a line", Effect.sync(() => line.test(read(file))))
      assert.strictEqual(Fs.statSync(file).mode & 0o777, 0o640)
      Fs.renameSync(file, `${file}.1`)
      yield* eventually(
        "a line in another file",
        Effect.andThen(
          view(`${program.url}/none`),
          Effect.sync(() => read(file).includes("\"GET /none HTTP/1.1\" 404 "))
        )
      )
      yield* program.stop()
      assert.isEmpty(requestsOf(program))
    }))

  it.live("can be off", () =>
    Effect.gen(function*() {
      const { program } = yield* start("--access-log", "off")
      yield* view(`${program.url}/film`)
      yield* program.stop()
      assert.isEmpty(requestsOf(program))
    }))

  it.live("that can't be written to is a reason not to start", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(start("--access-log", "/proc/none/access.log"))
      assert.include(message, "--access-log: cannot write to /proc/none/access.log: ENOENT")
    }))

  it.live("tells of answers that were cut, by the origin or by the viewer", () =>
    Effect.gen(function*() {
      const { origin, program } = yield* start()
      origin.handlers.set("/cut", (_, response) => {
        response.writeHead(200, { "content-length": String(MiB) })
        // Later, so that the head has left: a body that breaks at once is a 502.
        response.write(Buffer.alloc(1000), () => setTimeout(() => response.destroy(), 300))
      })
      yield* Effect.result(view(`${program.url}/cut`))
      origin.files.set("/long", fileOf(64 * MiB, 2))
      yield* Effect.scoped(Effect.flatMap(openView(`${program.url}/long`), ({ readTo }) => readTo(1000)))
      yield* eventually("both lines", Effect.sync(() => requestsOf(program).length === 2))
      for (const line of requestsOf(program)) {
        assert.deepInclude(line, { status: 200, cut: true })
        assert.isBelow(line["bytes"] as number, 64 * MiB)
      }
    }))

  it.live("tells where bytes came from: the disk, or past a cache that cannot be used", () =>
    Effect.gen(function*() {
      const sourceOf = (program: Program, headers?: Record<string, string>) =>
        Effect.gen(function*() {
          const before = requestsOf(program).length
          yield* view(`${program.url}/film?token=hidden`, headers)
          yield* eventually("a line", Effect.sync(() => requestsOf(program).length > before))
          return requestsOf(program).at(-1)?.["source"]
        })
      const { origin, program } = yield* start("--memory", "0")
      yield* eventually("a hit", Effect.map(sourceOf(program), (source) => source === "disk"))
      assert.strictEqual(yield* sourceOf(program, { range: "bytes=0-99" }), "disk")
      const broken = yield* startProgram([origin.url, "--memory", "0", "--cache-dir", "/proc/none"])
      assert.strictEqual(yield* sourceOf(broken), "passthrough")
    }))

  it.live("says nothing of requests above the level info", () =>
    Effect.gen(function*() {
      const { origin, program } = yield* start("--log-level", "warn")
      yield* view(`${program.url}/film`)
      yield* origin.close
      yield* view(`${program.url}/other`)
      yield* program.stop()
      assert.isEmpty(requestsOf(program))
      assert.deepInclude(linesOf(program)[0], { level: "WARN", message: "Origin failed", error: "OriginUnreachable" })
    }))

  it.live("holds nobody up when its reader takes nothing, and comes to its end", () =>
    Effect.gen(function*() {
      const { program } = yield* start()
      program.process.stderr!.pause()
      // More than pipe, sockets and buffers hold.
      for (let i = 0; i < 400; i++) {
        const status = yield* Effect.callback<number | undefined>((resume) => {
          const sent = request(`${program.url}/${"y".repeat(7000)}`, { agent: false }, (response) => {
            response.resume().on("end", () => resume(Effect.succeed(response.statusCode)))
          })
          sent.end()
        })
        assert.strictEqual(status, 404)
      }
      const { body } = yield* ask(program.url, "/_spillway/metrics")
      const dropped = /^spillway_log_lines_dropped_total (\d+)$/m.exec(body.toString())?.[1]
      assert.isAbove(Number(dropped), 0)
      const code = yield* Effect.callback<number | null>((resume) => {
        program.process.once("exit", (code) => resume(Effect.succeed(code)))
        program.process.kill("SIGTERM")
      })
      assert.strictEqual(code, 0)
    }))
})
