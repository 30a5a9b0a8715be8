import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { makeRoute } from "../../src/domain/Route.ts"
import { defaultPolicy } from "../../src/domain/RoutePolicy.ts"
import { NodeServer } from "../../src/http/server/Server.ts"
import { story } from "../support/cacheStatus.ts"
import { makeRawOrigin, response } from "../support/RawOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { start, until, withTime } from "./Site.ts"
import { ask as askAt, layerHttp, makeTestProxy } from "./TestProxy.ts"

/** A site whose origin holds each request for `/events` until the test answers it. */
const startPolled = Effect.fnUntraced(
  function*(options: Parameters<typeof start>[0] = { policy: { longPolls: true } }) {
    const site = yield* start(options)
    const polls: Array<ServerResponse> = []
    site.origin.handlers.set("/events", (_, response) => void polls.push(response))
    return { ...site, polls }
  }
)

/** Longer than the time-outs of the options. */
const longTime = TestClock.adjust("50 seconds")

describe("a long poll, on a route for long polls", () => {
  it.effect("waits for its event without limit, and is sent once", () =>
    Effect.gen(function*() {
      const { ask, polls, seen } = yield* startPolled()
      const poll = yield* Effect.forkChild(ask("/events"))
      yield* until("the poll", () => polls.length === 1)
      yield* longTime
      assert.isUndefined(poll.pollUnsafe())
      polls[0]!.end("event")
      const { body, headers } = yield* Fiber.join(poll)
      assert.strictEqual(body.toString(), "event")
      assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=LONG_POLL")
      assert.strictEqual(seen("/events").length, 1)
    }))

  it.effect("is sent for each viewer, also while others wait", () =>
    Effect.gen(function*() {
      const { ask, polls } = yield* startPolled()
      const viewers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(ask("/events")))
      yield* until("the polls", () => polls.length === 3)
      polls.forEach((poll, i) => poll.setHeader("cache-control", "max-age=60").end(`${i}`))
      const bodies = yield* Effect.forEach(viewers, (viewer) =>
        Effect.map(Fiber.join(viewer), ({ body }) => String(body)))
      assert.sameMembers(bodies, ["0", "1", "2"])
      // Nothing of it is cached, whatever the response says.
      const another = yield* Effect.forkChild(ask("/events"))
      yield* until("the poll", () =>
        polls.length === 4)
      polls[3]!.end()
      yield* Fiber.join(another)
    }))

  it.effect("ends at the origin when its viewer leaves", () =>
    Effect.gen(function*() {
      const { ask, polls } = yield* startPolled()
      const poll = yield* Effect.forkChild(ask("/events"))
      yield* until("the poll", () => polls.length === 1)
      yield* Fiber.interrupt(poll)
      yield* until("the end", () => polls[0]!.destroyed)
    }))

  it.effect("is not repeated when its connection breaks, even if that was kept alive", () =>
    Effect.gen(function*() {
      const origin = yield* makeRawOrigin(({ nthOnConnection, socket }) => {
        if (nthOnConnection === 1) return response(200, {}, "event")
        socket.destroy()
      })
      const url = new URL(origin.url)
      const statusesWith = Effect.fnUntraced(function*(longPolls: boolean) {
        const routes = [makeRoute({ _tag: "All" }, url, { ...defaultPolicy(url), longPolls })]
        const proxy = yield* makeTestProxy({ origins: { origins: { routes, urlHosts: [], allowPrivate: false } } })
        const before = origin.requests.length
        const statuses = []
        for (let i = 0; i < 2; i++) statuses.push((yield* withTime(askAt(proxy.url, "/events"))).status)
        return [statuses, origin.requests.length - before]
      })
      assert.deepStrictEqual(yield* statusesWith(true), [[200, 502], 2])
      // Elsewhere it is, as the origin may have closed an idle connection.
      assert.deepStrictEqual(yield* statusesWith(false), [[200, 200], 3])
    }))

  it.live("keeps its viewer's connection, although nothing moves there", () =>
    Effect.gen(function*() {
      const accepted: Array<Socket> = []
      const server = Layer.effectDiscard(
        Effect.map(NodeServer, (node) => node.on("connection", (socket) => accepted.push(socket)))
      ).pipe(Layer.provideMerge(layerHttp))
      const { origin, port } = yield* makeTestProxy({ server, policy: { longPolls: true } })
      const held: Array<ServerResponse> = []
      origin.handlers.set("/poll", (_, response) => void held.push(response))
      origin.handlers.set("/stream", (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders()
        held.push(response)
      })
      for (const [i, path] of ["/poll", "/stream"].entries()) {
        const viewer = yield* openRaw(port)
        viewer.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
        yield* until("the request", () => held.length === i + 1)
        if (path === "/stream") yield* until("the head", () => viewer.received().includes("\r\n\r\n"))
        // As Node does after the idle time.
        accepted[i]!.emit("timeout")
        held[i]!.end("event")
        yield* viewer.closed
        assert.include(viewer.received(), "event")
      }
    }))
})

describe("the times of a route", () => {
  it.effect("replace those of the options: before the first byte", () =>
    Effect.gen(function*() {
      const { ask, polls } = yield* startPolled({ policy: { firstByteTimeout: 60_000 } })
      const slow = yield* Effect.forkChild(ask("/events", { method: "POST" }))
      yield* until("the request", () => polls.length === 1)
      yield* longTime
      polls[0]!.end("done")
      assert.strictEqual((yield* Fiber.join(slow)).body.toString(), "done")
      const silent = yield* Effect.forkChild(ask("/events", { method: "POST" }))
      yield* until("the request", () => polls.length === 2)
      yield* longTime
      assert.isUndefined(silent.pollUnsafe())
      yield* longTime
      assert.strictEqual((yield* Fiber.join(silent)).status, 504)
    }))

  it.effect("replace those of the options: in a body", () =>
    Effect.gen(function*() {
      const { ask, polls } = yield* startPolled({ policy: { silenceTimeout: 60_000 } })
      const slow = yield* Effect.forkChild(Effect.result(ask("/events", { method: "POST" })))
      yield* until("the request", () => polls.length === 1)
      polls[0]!.write("a")
      yield* longTime
      assert.isUndefined(slow.pollUnsafe())
      polls[0]!.end("b")
      const result = yield* Fiber.join(slow)
      assert.strictEqual(result._tag === "Success" && String(result.success.body), "ab")
    }))
})
