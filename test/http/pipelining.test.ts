import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Server from "../../src/http/server/Server.ts"
import { ServerConfig } from "../../src/services/config/ServerConfig.ts"
import { eventually } from "../support/Program.ts"
import { fileOf, makeGate, MiB } from "../support/TestOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { CHUNK_BYTES, makeTestProxy } from "./TestProxy.ts"

const LARGE = 24 * MiB
const small = fileOf(3 * CHUNK_BYTES, 1)
/** More than the buffers of both sockets take. */
const large = fileOf(LARGE, 2, { headers: { "cache-control": "no-store" } })

const request = (target: string, ...fields: ReadonlyArray<string>): string =>
  [`GET ${target} HTTP/1.1`, "Host: localhost", ...fields, "", ""].join("\r\n")

const start = Effect.gen(function*() {
  const proxy = yield* makeTestProxy({
    server: Server.layerNode({ host: "127.0.0.1", port: 0 }),
    cache: { memory: 100 * MiB }
  })
  const { ask, origin } = proxy
  origin.files.set("/small", small)
  origin.files.set("/large", large)
  yield* ask("/small")
  const metrics = Effect.map(
    ask("/_spillway/metrics", { headers: { host: "localhost" } }),
    ({ body }) => body.toString()
  )
  const metric = (pattern: RegExp) => Effect.map(metrics, (text) => Number(pattern.exec(text)?.[1]))
  return {
    ...proxy,
    fromMemory: metric(/^spillway_sent_bytes_total\{source="memory"\} (\d+)$/m),
    streams: metric(/^spillway_streams (\d+)$/m),
    unsent: metric(/^spillway_unsent_bytes (\d+)$/m)
  }
}).pipe(Effect.provide(ServerConfig.layer()))

/** Answers as they follow each other, by their lengths. */
const answersOf = (received: Buffer): ReadonlyArray<{ readonly head: string; readonly body: Buffer }> => {
  const answers = []
  let rest = received
  while (rest.length > 0) {
    const end = rest.indexOf("\r\n\r\n") + 4
    const head = rest.subarray(0, end).toString("latin1")
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
    answers.push({ head, body: rest.subarray(end, end + length) })
    rest = rest.subarray(end + length)
  }
  return answers
}

describe("pipelined requests after one whose answer is not read", () => {
  const ranges = [
    [0, 9],
    [CHUNK_BYTES - 5, CHUNK_BYTES + 4],
    [CHUNK_BYTES, 2 * CHUNK_BYTES - 1],
    [100, 3 * CHUNK_BYTES - 101]
  ] as const
  const hits = ranges.map(([first, last]) => request("/small", `Range: bytes=${first}-${last}`)).join("")

  it.live("buffer nothing of their answers, and get them whole in their turn", () =>
    Effect.gen(function*() {
      const { fromMemory, port, unsent } = yield* start
      const viewer = yield* openRaw(port)
      viewer.socket.pause()
      const before = yield* fromMemory
      // In one piece: while an answer waits for its viewer, Node reads nothing more.
      viewer.send(request("/large") + hits + request("/small", "Range: bytes=0-0,1000-1000,70000-70000"))
      yield* eventually("the buffers to be full", Effect.map(unsent, (bytes) => bytes > 0))
      yield* Effect.sleep("100 millis")
      assert.strictEqual(yield* fromMemory, before)
      // Nothing but the piece of the first answer that is being sent.
      assert.isBelow(yield* unsent, 2 * CHUNK_BYTES)

      // What has come is looked at as a whole once only: it is long.
      const parts: Array<Buffer> = []
      viewer.socket.on("data", (part) => parts.push(part))
      viewer.socket.resume()
      const isWhole = () =>
        /\r\n--[0-9a-f]+--\r\n$/.test(Buffer.concat(parts.slice(-2)).subarray(-60).toString("latin1"))
      yield* eventually("the last answer", Effect.sync(isWhole))
      const answers = answersOf(Buffer.from(viewer.received(), "latin1"))
      assert.lengthOf(answers, 6)
      assert.isTrue(answers[0]!.body.equals(large.bytes))
      for (const [i, [first, last]] of ranges.entries()) {
        assert.include(answers[i + 1]!.head, "206")
        assert.isTrue(answers[i + 1]!.body.equals(small.bytes.subarray(first, last + 1)), `${first}-${last}`)
      }
      assert.include(answers[5]!.head, "multipart/byteranges")
    }))

  it.live("are given up when the viewer leaves", () =>
    Effect.gen(function*() {
      const { port, streams, unsent } = yield* start
      const viewer = yield* openRaw(port)
      viewer.socket.pause()
      viewer.send(request("/large") + hits + request("/missing"))
      yield* eventually("the streams", Effect.map(streams, (count) => count === 2))
      viewer.socket.destroy()
      yield* eventually("the end of the streams", Effect.map(streams, (count) => count === 0))
      assert.strictEqual(yield* unsent, 0)
    }))

  it.live("are sent to the origin at once, except unsafe ones", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start
      const gate = makeGate()
      const asked: Array<string> = []
      for (const path of ["/first", "/second", "/change"]) {
        origin.handlers.set(path, ({ method }, response) => {
          asked.push(`${method} ${path}`)
          void gate.opened.then(() => response.end(path))
        })
      }
      const viewer = yield* openRaw(port)
      viewer.send(request("/first") + request("/change").replace("GET", "POST") + request("/second"))
      yield* eventually("both", Effect.sync(() => asked.includes("GET /first") && asked.includes("GET /second")))
      yield* Effect.sleep("100 millis")
      assert.notInclude(asked, "POST /change")
      yield* gate.open
      yield* viewer.until("all answers", (received) => received.includes("/second"))
      assert.isTrue(/\/first[^]*\/change[^]*\/second/.test(viewer.received()))
      assert.strictEqual(asked.filter((what) => what === "POST /change").length, 1)
    }))
})
