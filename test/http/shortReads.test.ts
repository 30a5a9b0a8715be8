import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer } from "effect"
import { connect } from "node:net"
import { IoError } from "../../src/domain/CacheError.ts"
import * as Server from "../../src/http/server/Server.ts"
import { ChunkStore, readShortBy } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin } from "../support/TestOrigin.ts"
import { openRaw } from "./RawConnection.ts"
import { bytes, makeGate, SIZE, start, until } from "./Site.ts"
import { CHUNK_BYTES, layerHttp } from "./TestProxy.ts"

/** A file that is on disk, and none of it in memory. Reads wait for a gate if a test sets one, and fail if it says so. */
const onDisk = Effect.gen(function*() {
  const origin = yield* makeTestOrigin
  const memory = Context.get(yield* Layer.build(ChunkStore.layerMemory), ChunkStore)
  const disk = {
    gate: undefined as Promise<void> | undefined,
    error: undefined as IoError | undefined,
    reads: 0,
    lent: 0,
    released: 0,
    written: 0
  }
  const read: ChunkStore["Service"]["read"] = (...args) =>
    Effect.suspend(() => {
      disk.reads += 1
      const { error, gate } = disk
      const read = error === undefined ? memory.read(...args) : Effect.fail(error)
      return gate === undefined ? read : Effect.andThen(Effect.promise(() => gate), read)
    })
  const lend = readShortBy(read)
  const store = ChunkStore.of({
    ...memory,
    write: (...args) => Effect.tap(memory.write(...args), () => Effect.sync(() => void (disk.written += 1))),
    read,
    readShort: (key, length, range, onEnd) =>
      lend(key, length, range, (exit) =>
        onEnd(Exit.map(exit, ({ bytes }) => {
          disk.lent += 1
          return { bytes, release: () => void (disk.released += 1) }
        })))
  })
  /** The ranges of the requests that were not answered at once. */
  const handed: Array<string | undefined> = []
  let unsentBytes = () => 0
  const server = Layer.tap(layerHttp, (context) => {
    const node = Context.get(context, Server.NodeServer)
    return Effect.sync(() => {
      node.on("request", ({ headers }) => handed.push(headers.range))
      unsentBytes = () => node.unsentBytes()
    })
  })
  const site = yield* start({ before: { origin, store }, cache: { memory: 0 }, server })
  site.file("/a")
  yield* site.ask("/a")
  yield* until("the chunks on disk", () => disk.written === Math.ceil(SIZE / CHUNK_BYTES))
  handed.length = 0
  const range = (first: number, last: number) => site.ask("/a", { headers: { range: `bytes=${first}-${last}` } })
  return { ...site, disk, handed, range, unsentBytes: () => unsentBytes() }
})

describe("a short range from disk", () => {
  const ranges = [[0, 9], [CHUNK_BYTES - 5, CHUNK_BYTES + 4], [17_000, 17_000 + CHUNK_BYTES - 1], [SIZE - 10, SIZE - 1]]

  it.effect("is answered without the platform, and read alone", () =>
    Effect.gen(function*() {
      const { disk, handed, range, seen } = yield* onDisk
      for (const [first = 0, last = 0] of ranges) {
        const before = disk.reads
        const { body, headers, status } = yield* range(first, last)
        assert.strictEqual(status, 206)
        assert.strictEqual(headers["content-range"], `bytes ${first}-${last}/${SIZE}`)
        assert.strictEqual(story(headers), "spillway; hit")
        assert.isTrue(body.equals(bytes.subarray(first, last + 1)), `${first}-${last}`)
        assert.strictEqual(disk.reads - before, Math.floor(last / CHUNK_BYTES) - Math.floor(first / CHUNK_BYTES) + 1)
      }
      assert.deepStrictEqual(handed, [])
      assert.lengthOf(seen("/a"), 1)
    }))

  it.effect("has right bytes for many viewers at once, who share the memory that it is read into", () =>
    Effect.gen(function*() {
      const { range } = yield* onDisk
      const all = Array.from({ length: 300 }, (_, i) => (i * 7919) % (SIZE - 20_000))
      yield* Effect.forEach(
        all,
        (first) =>
          Effect.map(
            range(first, first + 19_999),
            ({ body }) => assert.isTrue(body.equals(bytes.subarray(first, first + 20_000)), `from ${first}`)
          ),
        { concurrency: 32 }
      )
    }))

  it.effect("comes from the origin if it can't be read", () =>
    Effect.gen(function*() {
      const { disk, handed, range, seen } = yield* onDisk
      disk.error = new IoError({ operation: "read", path: "chunk", errno: "CORRUPT" })
      const { body, status } = yield* range(10, 99)
      assert.strictEqual(status, 206)
      assert.isTrue(body.equals(bytes.subarray(10, 100)))
      assert.deepStrictEqual(handed, ["bytes=10-99"])
      assert.lengthOf(seen("/a"), 2)
    }))

  it.effect("isn't read for a viewer who has it already", () =>
    Effect.gen(function*() {
      const { ask, disk, handed } = yield* onDisk
      const before = disk.reads
      const { status } = yield* ask("/a", { headers: { "range": "bytes=0-9", "if-none-match": "\"v1\"" } })
      assert.strictEqual(status, 304)
      assert.deepStrictEqual([disk.reads - before, handed], [0, []])
    }))

  it.effect("comes before the response to the next request on its connection", () =>
    Effect.gen(function*() {
      const { disk, port } = yield* onDisk
      const gate = makeGate()
      disk.gate = gate.opened
      const viewer = yield* openRaw(port)
      const request = (first: number) =>
        `GET /a HTTP/1.1\r\nHost: localhost\r\nRange: bytes=${first}-${first + 9}\r\n\r\n`
      const before = disk.reads
      viewer.send(request(0) + request(100))
      yield* until("the first read", () => disk.reads === before + 1)
      assert.strictEqual(viewer.received(), "")
      gate.open()
      const text = (first: number) => bytes.toString("latin1", first, first + 10)
      yield* until("both responses", () => viewer.received().includes(text(100)))
      assert.match(viewer.received().split(text(100))[0]!, /bytes 0-9\/[^]+bytes 100-109\//)
    }))

  it.effect("gives its memory back when it was sent, or its viewer has left in the middle", () =>
    Effect.gen(function*() {
      const { disk, port, unsentBytes } = yield* onDisk
      const viewer = connect({ port, host: "127.0.0.1" })
      yield* Effect.addFinalizer(() => Effect.sync(() => viewer.destroy()))
      viewer.pause()
      // Until the kernel takes no more for a viewer who reads nothing.
      while (unsentBytes() === 0) {
        const { lent } = disk
        viewer.write(`GET /a HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-${CHUNK_BYTES - 1}\r\n\r\n`)
        yield* until("the read", () => disk.lent > lent)
        yield* until("the response", () => disk.released === disk.lent || unsentBytes() > 0)
      }
      assert.strictEqual(disk.lent - disk.released, 1)
      viewer.destroy()
      yield* until("all memory", () => disk.released === disk.lent)
    }))

  it.effect("may be left before it is read", () =>
    Effect.gen(function*() {
      const { disk, range } = yield* onDisk
      const gate = makeGate()
      disk.gate = gate.opened
      const before = disk.reads
      const viewers = yield* Effect.forEach([0, 1, 2], (i) => Effect.forkChild(range(i, i + 9)))
      yield* until("the reads", () => disk.reads === before + 3)
      yield* Effect.forEach(viewers, Fiber.interrupt)
      // A request that comes later is served later.
      disk.gate = undefined
      yield* range(500, 599)
      gate.open()
      assert.isTrue((yield* range(0, 99)).body.equals(bytes.subarray(0, 100)))
    }))
})
