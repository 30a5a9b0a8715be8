import { assert, it } from "@effect/vitest"
import { Effect, Logger, LogLevel } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Server from "../../../src/http/server/Server.ts"
import { makeTestProxy } from "../../http/TestProxy.ts"
import { eventually } from "../../support/Program.ts"
import { campaign, explain } from "./campaign.ts"
import { fileAt, fill } from "./files.ts"

/** Connections before memory is looked at for the first time, so that what is cached is cached, and those after it. */
const CONNECTIONS = { warm: 600, more: 2400 }

const CONCURRENCY = 16

/** How much memory may have grown between the two looks, in bytes. */
const GROWTH_BYTES = 12 * 1024 ** 2

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

const memory = Effect.gen(function*() {
  for (let i = 0; i < 3; i++) {
    collect()
    yield* Effect.sleep("20 millis")
  }
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
})

it.live("every answer to random input is right, and no resource leaks", () => {
  const errors: Array<string> = []
  const record = Logger.make(({ logLevel, message }) => {
    if (LogLevel.isGreaterThanOrEqualTo(logLevel, "Error")) errors.push(JSON.stringify(message))
  })
  return Effect.gen(function*() {
    const { ask, origin, port } = yield* makeTestProxy({ server: Server.layerNode({ host: "127.0.0.1", port: 0 }) })
    fill(origin)
    const play = Effect.fnUntraced(function*(from: number, count: number) {
      const summary = yield* Effect.promise(() => campaign(port, from, count, CONCURRENCY))
      if (summary.failed !== undefined) assert.fail(explain(summary.failed))
      return summary
    })
    const gauge = (name: string) =>
      Effect.map(
        ask("/_spillway/metrics", { headers: { host: "localhost" } }),
        ({ body }) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body.toString())?.[1])
      )

    yield* play(1, CONNECTIONS.warm)
    const before = yield* memory
    const { statuses } = yield* play(1 + CONNECTIONS.warm, CONNECTIONS.more)
    // The one that asks.
    yield* eventually("the end of all connections", Effect.map(gauge("spillway_connections"), (count) => count === 1))
    yield* eventually("the end of all streams", Effect.map(gauge("spillway_streams"), (count) => count === 0))
    assert.isBelow((yield* memory) - before, GROWTH_BYTES)
    assert.deepStrictEqual(errors, [])

    // It was worth it: all of this was reached.
    for (const status of [200, 204, 206, 302, 304, 400, 403, 404, 410, 414, 416, 417, 431, 500]) {
      assert.isTrue(statuses.has(status), `no ${status}`)
    }
    const answer = yield* ask("/a")
    assert.strictEqual(answer.status, 200)
    assert.isTrue(answer.body.equals(fileAt("/a")!.bytes))
  }).pipe(Effect.provide(Logger.layer([record])))
})
