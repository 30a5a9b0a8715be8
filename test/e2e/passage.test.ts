import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import type { ServerResponse } from "node:http"
import { join } from "node:path"
import { openRaw } from "../http/RawConnection.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, startProgram } from "../support/Program.ts"
import { makeTestOrigin, randomBytes } from "../support/TestOrigin.ts"
import { makeUpgradeOrigin } from "../support/upgradeOrigin.ts"
import { openWebSocket } from "../support/webSocket.ts"

/** Longer than each time-out of the programs here. */
const LONG = "5 seconds"

/** A program with a route for WebSockets, one for long polls, and one for all else, all with short time-outs. */
const start = Effect.fnUntraced(function*(workers: number) {
  const directory = yield* temporaryDirectory
  const origin = yield* makeTestOrigin
  const upgrading = yield* makeUpgradeOrigin
  const file = join(directory, "spillway.toml")
  Fs.writeFileSync(
    file,
    `
cache-dir = "${join(directory, "cache")}"
min-free = 0
workers = ${workers}
first-byte-timeout = "1s"
silence-timeout = "1s"
idle-timeout = "3s"

[[route]]
match = "/ws"
origin = "${upgrading.url}"
upgrades = true
first-byte-timeout = "30s"

[[route]]
match = "/polls"
origin = "${origin.url}/polls"
long-polls = true

[[route]]
origin = "${origin.url}"
first-byte-timeout = "30s"
`
  )
  const program = yield* startProgram(["--config", file])
  const port = Number(new URL(program.url).port)
  return { origin, upgrading, program, port }
})

const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`

describe.each([1, 2])("with %i processes for viewers", (workers) => {
  it.live("a WebSocket passes, is refused by the origin, and gets 501 elsewhere", () =>
    Effect.gen(function*() {
      const { program, upgrading } = yield* start(workers)
      const { ask, closed, socket } = yield* openWebSocket(`${program.url}/ws/chat`, ["chat"])
      const message = randomBytes(1_000_000)
      assert.isTrue((yield* ask(message)).data.equals(message))
      yield* Effect.sleep(LONG)
      assert.strictEqual(String((yield* ask("after a silence")).data), "after a silence")
      socket.close(4001, "enough")
      assert.deepStrictEqual(yield* closed, { code: 4001, reason: "enough" })
      yield* eventually("the close", Effect.sync(() => upgrading.closed.length === 1))
      assert.deepStrictEqual(upgrading.closed, [{ code: 4001, reason: "enough" }])
      assert.strictEqual((yield* Effect.flip(openWebSocket(`${program.url}/ws/refused`))).status, 403)
      assert.strictEqual((yield* Effect.flip(openWebSocket(`${program.url}/other`))).status, 501)
    }))

  it.live(
    "a WebSocket ends with the origin, and with the program after its time for streams",
    () =>
      Effect.gen(function*() {
        const { program, upgrading } = yield* start(workers)
        const first = yield* openWebSocket(`${program.url}/ws/a`)
        for (const webSocket of upgrading.webSockets) webSocket.terminate()
        assert.strictEqual((yield* first.closed).code, 1006)
        const second = yield* openWebSocket(`${program.url}/ws/b`)
        const end = yield* Effect.forkChild(program.stop())
        assert.strictEqual(String((yield* second.ask("still there")).data), "still there")
        assert.strictEqual((yield* second.closed).code, 1006)
        assert.strictEqual(yield* Fiber.join(end), 0)
        yield* eventually("the end", Effect.sync(() => upgrading.webSockets.size === 0))
      })
  )

  it.live("event streams and long polls are not cut when nothing happens, and sent once", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* start(workers)
      const held: Array<ServerResponse> = []
      origin.handlers.set("/polls/1", (_, response) => void held.push(response))
      origin.handlers.set("/events", (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n")
        held.push(response)
      })
      const poll = yield* openRaw(port)
      poll.send(request("/polls/1"))
      const events = yield* openRaw(port)
      events.send(request("/events"))
      yield* events.until("the first event", (received) => received.includes("data: 1"))
      yield* eventually("the poll", Effect.sync(() => held.length === 2))
      yield* Effect.sleep(LONG)
      assert.isFalse(poll.isClosed() || events.isClosed())
      for (const response of held) response.end("data: 2\n\n")
      for (const viewer of [poll, events]) {
        yield* viewer.closed
        assert.include(viewer.received(), "data: 2")
      }
      // The program checks its origins when it starts.
      const asked = origin.requests.map(({ url }) => url).filter((url) => url !== "/" && url !== "/polls")
      assert.sameMembers(asked, ["/polls/1", "/events"])
    }))
})
