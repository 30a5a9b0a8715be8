import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { request } from "node:http"
import { Snapshot } from "../../../src/http/admin/api/model.ts"
import { MAX_WATCHERS } from "../../../src/http/admin/SnapshotFeed.ts"
import * as Server from "../../../src/http/server/Server.ts"
import { makeGate, SIZE, start, until } from "../Site.ts"
import { CHUNK_BYTES } from "../TestProxy.ts"
import { control } from "./Control.ts"

/** Somebody who watches the events. */
const watch = (port: number) => {
  const watched = { text: "", status: 0, type: "", ended: false, close: () => {} }
  const sent = request(
    { port, host: "127.0.0.1", path: "/_spillway/api/events", headers: { host: "localhost" }, agent: false },
    (response) => {
      watched.status = response.statusCode!
      watched.type = response.headers["content-type"] ?? ""
      response.setEncoding("utf8")
      response.on("data", (text: string) => watched.text += text)
      response.on("end", () => watched.ended = true)
      response.on("error", () => {})
    }
  )
  sent.on("error", () => {})
  sent.end()
  watched.close = () => void sent.destroy()
  return watched
}

const snapshots = (text: string): ReadonlyArray<typeof Snapshot.Type> =>
  text.split("\n\n").slice(0, -1).map((event) => {
    assert.match(event, /^event: snapshot\ndata: \{[^\n]*$/)
    return Schema.decodeUnknownSync(Snapshot)(JSON.parse(event.slice("event: snapshot\ndata: ".length)))
  })

describe("events", () => {
  it.effect("send a snapshot at once, and one each second", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const gate = makeGate()
      site.file("/a.mp4", { hold: { after: CHUNK_BYTES + 10, until: gate.opened } })
      const viewer = yield* Effect.forkChild(site.ask("/a.mp4"))
      const api = control(site)
      yield* Effect.repeat(api.get<{ cache: { chunks: number } }>("/status"), {
        until: ({ cache }) => cache.chunks === 1
      })
      const watched = watch(site.port)
      yield* until("a snapshot", () => snapshots(watched.text).length === 1)
      assert.deepStrictEqual([watched.status, watched.type], [200, "text/event-stream"])
      const [first] = snapshots(watched.text)
      assert.strictEqual(first!.status.streams, 1)
      assert.deepStrictEqual(first!.totals, first!.status.totals)
      assert.deepInclude(first!.streams[0], { url: `${site.origin.url}/a.mp4`, source: "origin", size: SIZE })
      assert.deepStrictEqual(first!.resources.map(({ ranges, streams }) => ({ ranges, streams })), [
        { ranges: [{ start: 0, end: CHUNK_BYTES }], streams: [{ position: CHUNK_BYTES + 10 }] }
      ])
      assert.deepStrictEqual(first!.failures, [])
      // What has been put together is for all who come within a second.
      const other = watch(site.port)
      yield* until("its snapshot", () => other.text === watched.text)
      gate.open()
      yield* Fiber.join(viewer)
      site.answer("/b.mp4", () => ({ status: 500 }))
      yield* site.ask("/b.mp4")
      for (const count of [2, 3]) {
        yield* TestClock.adjust("1 second")
        yield* until("the next", () => snapshots(watched.text).length === count)
        yield* until("the same", () => other.text === watched.text)
      }
      const last = snapshots(watched.text)[2]!
      assert.deepInclude(last, { streams: [], resources: [] })
      assert.deepInclude(last.failures[0], { kind: "OriginUnexpected", url: `${site.origin.url}/b.mp4` })
      assert.strictEqual(last.status.uptime, 2)
      watched.close()
      other.close()
    }))

  it.effect("are limited to a number of clients", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const watchers = Array.from({ length: MAX_WATCHERS }, () => watch(site.port))
      yield* until("all to watch", () => watchers.every(({ text }) => text !== ""))
      yield* control(site).refusal(503, "/events")
      watchers[0]!.close()
      const next = yield* Effect.suspend(() => Effect.sync(() => watch(site.port))).pipe(
        Effect.tap((watched) => until("an answer", () => watched.status !== 0)),
        Effect.repeat({ until: ({ status }) => status === 200, times: 100 })
      )
      yield* until("a snapshot", () => next.text !== "")
      for (const { close } of [...watchers, next]) close()
    }))

  it.effect("end with the server and do not delay its end", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const site = yield* Scope.provide(start({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) }), scope)
      const watched = watch(site.port)
      yield* until("a snapshot", () => watched.text !== "")
      // The time of this clock doesn't pass, so it ends without waiting.
      yield* Scope.close(scope, Exit.void)
      assert.lengthOf(snapshots(watched.text), 1)
      yield* until("the end", () => watched.ended)
    }))
})
