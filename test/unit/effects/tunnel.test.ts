import { NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { HALF_OPEN_MILLIS, tunnel } from "../../../src/effects/tunnel.ts"
import { until } from "../../http/Site.ts"

/** Both ends of a TCP connection, each of which may end before the other. */
const makePair = Effect.acquireRelease(
  Effect.callback<readonly [Socket, Socket]>((resume) => {
    const server = createServer({ allowHalfOpen: true }, (accepted) => {
      server.close()
      resume(Effect.succeed([accepted, client]))
    })
    let client: Socket
    server.listen(0, "127.0.0.1", () => {
      client = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true })
    })
  }),
  (pair) => Effect.sync(() => pair.forEach((socket) => socket.destroy()))
)

/** A tunnel between two connections: their outer ends, and how it ends. */
const start = Effect.gen(function*() {
  const [near, innerNear] = yield* makePair
  const [far, innerFar] = yield* makePair
  const moved: Array<readonly [number, string]> = []
  for (const socket of [near, innerNear, far, innerFar]) socket.on("error", () => {})
  const open = (socket: Socket) =>
    NodeSocket.fromDuplex(Effect.acquireRelease(Effect.succeed(socket), () => Effect.sync(() => socket.destroy())))
  const ended = yield* Effect.forkScoped(
    Effect.scoped(
      Effect.flatMap(
        Effect.all([open(innerNear), open(innerFar)]),
        ([a, b]) => tunnel(a, b, (bytes, direction) => void moved.push([bytes, direction]))
      )
    )
  )
  return { near, far, ended, moved }
})

describe("tunnel", () => {
  it.effect("reports bytes with their direction, and ends when both sides have ended", () =>
    Effect.gen(function*() {
      const { ended, far, moved, near } = yield* start
      near.end("abc")
      far.end("de")
      far.resume()
      near.resume()
      yield* Fiber.join(ended)
      assert.sameDeepMembers(moved, [[3, "forth"], [2, "back"]])
    }))

  it.effect("fails, and closes the other connection, when one breaks", () =>
    Effect.gen(function*() {
      const { ended, far, near } = yield* start
      far.resume()
      near.resetAndDestroy()
      yield* until("the end", () => far.destroyed || far.readableEnded)
      assert.strictEqual((yield* Effect.flip(Fiber.join(ended)))._tag, "SocketError")
    }))

  it.effect("closes both connections when one side has ended and the other is silent", () =>
    Effect.gen(function*() {
      const { ended, far, moved, near } = yield* start
      let got = ""
      far.on("data", (data: Buffer) => got += data.toString())
      near.resume()
      near.end("question")
      yield* until("the question", () => got === "question" && far.readableEnded)
      yield* TestClock.adjust(HALF_OPEN_MILLIS / 2)
      far.write("part")
      yield* until("the part", () => moved.length === 2)
      yield* TestClock.adjust(HALF_OPEN_MILLIS / 2)
      assert.isUndefined(ended.pollUnsafe())
      yield* TestClock.adjust(HALF_OPEN_MILLIS)
      yield* Fiber.join(ended)
      yield* until("the end", () => near.readableEnded)
    }))

  it.effect("stays open without limit while both sides may send", () =>
    Effect.gen(function*() {
      const { ended, far, moved, near } = yield* start
      far.resume()
      near.write("a")
      yield* until("the byte", () => moved.length === 1)
      yield* TestClock.adjust("10 days")
      assert.isUndefined(ended.pollUnsafe())
    }))
})
