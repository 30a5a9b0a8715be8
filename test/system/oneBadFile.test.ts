import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { VERIFIED_BEHIND } from "../../src/services/cache/unreadableChunks.ts"
import { ROOT_BYTES } from "../../src/services/disk/blocks.ts"
import { headerBytes, PART_BYTES } from "../../src/services/disk/chunkFormat.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { Faults, type Operation } from "../../src/testing/FaultyFileSystem.ts"
import { MemoryDisk } from "../../src/testing/MemoryFileSystem.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, restartable, stack, ticking, view, World } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

/** One file of the cache that fails, on a disk that works. */

const urlOf = (name: string) => `http://origin.test/${name}`

const CHUNKS = 4
const perFile = CHUNKS * bytesOnDisk(CHUNK) + MANIFEST_BYTES

/** A file at the origin. */
const put = Effect.fnUntraced(function*(name: string, chunks = CHUNKS) {
  const origin = yield* MemoryOrigin
  const bytes = randomBytes(chunks * CHUNK, name.length * 256 + name.charCodeAt(0))
  origin.files.set(urlOf(name), { bytes, etag: `"${name}"`, headers: { "cache-control": "max-age=86400" } })
})

/** Views a file, checks every byte, waits until it is kept or given up. The bytes that the origin sent for it. */
const watch = Effect.fnUntraced(function*(name: string) {
  const origin = yield* MemoryOrigin
  const sent = () => origin.requests.reduce((sum, request) => sum + request.sent, 0)
  const before = sent()
  const { bytes } = yield* view(urlOf(name))
  assert.strictEqual(sha256(bytes), sha256(origin.files.get(urlOf(name))!.bytes))
  yield* (yield* ChunkWriter).idle
  return sent() - before
})

/** Puts files into the cache. */
const keep = Effect.fnUntraced(function*(...names: ReadonlyArray<string>) {
  for (const name of names) {
    yield* put(name)
    yield* watch(name)
  }
})

/** Lets time pass, of which the disk in memory takes none. */
const pass = (seconds: number) =>
  Effect.forEach(
    Array.from({ length: seconds * 4 }),
    () => Effect.andThen(TestClock.adjust("250 millis"), Effect.promise(() => new Promise(setImmediate))),
    { discard: true }
  )

/** Whether a path is in the directory of a file. */
const of = (name: string) => {
  const { id } = makeResource(urlOf(name))
  return (path: string) => path.includes(id)
}

/** Whether a path is that of a chunk, or its temporary file. */
const ofChunk = (name: string, index: number) => {
  const isOf = of(name)
  return (path: string) => isOf(path) && new RegExp(`\\.${index}($|\\.)`).test(path)
}

/** How often the breaker opens while `effect` runs. */
const openings = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const breaker = yield* DiskBreaker
  let opened = 0
  const follower = yield* Effect.forkChild(Stream.runForEach(breaker.changes, ({ _tag }) =>
    Effect.sync(() => {
      if (_tag !== "Usable") opened += 1
    })))
  yield* effect
  yield* pass(1)
  yield* Fiber.interrupt(follower)
  return opened
})

const errnos = ["EIO", "EUCLEAN", "EBADMSG", "EPERM", "EACCES", "EISDIR", "ELOOP", "ENXIO", "ENOTDIR", "ESTALE"]

describe("a chunk that cannot be read", () => {
  it.effect.each(errnos.flatMap((errno) => (["open", "read"] as const).map((operation) => ({ errno, operation }))))(
    "is fetched and written again, and other files stay hits: $errno at $operation",
    ({ errno, operation }) =>
      Effect.gen(function*() {
        const faults = yield* Faults
        const breaker = yield* DiskBreaker
        yield* keep("bad", "good", "fine")
        const isBad = ofChunk("bad", 1)
        const rule = { operation, fault: errno, path: (path: string) => isBad(path) && !path.endsWith(".tmp") }
        yield* faults.add(rule)
        for (let round = 0; round < 8; round++) {
          yield* watch("bad")
          assert.strictEqual(yield* watch("good"), 0)
          assert.strictEqual(yield* watch("fine"), 0)
          assert.isUndefined(breaker.unwritable())
          yield* pass(1)
        }
        yield* faults.clear
        yield* watch("bad")
        assert.strictEqual(yield* watch("bad"), 0)
      }).pipe(Effect.provide(stack("faulty")))
  )

  it.effect("and cannot be removed or replaced is not read again, and costs only its own bytes", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      yield* keep("bad", "good")
      const isBad = ofChunk("bad", 2)
      yield* faults.add({ operation: "read", fault: "EIO", path: isBad })
      yield* faults.add({ operation: "unlink", fault: "EIO", path: isBad })
      yield* faults.add({ operation: "rename", fault: "EPERM", path: isBad })
      for (let round = 0; round < 6; round++) {
        assert.strictEqual(yield* watch("bad"), CHUNK)
        assert.strictEqual(yield* watch("good"), 0)
        yield* pass(1)
      }
      assert.strictEqual(faults.strikes()[0], 1)
      assert.isUndefined(breaker.unwritable())
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("is found by the scrubber if one part of it is damaged", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryDisk
      const index = yield* CacheIndex
      yield* keep("bad", "good")
      const [path, file] = [...disk.files()].find(([path]) => ofChunk("bad", 2)(path))!
      const bytes = Buffer.from(file)
      bytes[headerBytes(CHUNK) + PART_BYTES + 5]! ^= 1
      disk.overwrite(path, bytes)
      yield* pass(30)
      assert.deepStrictEqual(
        index.chunksOf(makeResource(urlOf("bad")).id).map(({ key }) => key.index).toSorted((a, b) => a - b),
        [0, 1, 3]
      )
      assert.strictEqual(index.count(), 2 * CHUNKS - 1)
    }).pipe(Effect.provide(Layer.provideMerge(restartable(), World))))

  it.effect("is found by the scrubber too", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      const index = yield* CacheIndex
      yield* keep("bad", "good")
      yield* faults.add({ operation: "read", fault: "EIO", path: ofChunk("bad", 3) })
      yield* pass(30)
      assert.isUndefined(breaker.unwritable())
      assert.strictEqual(index.count(), 2 * CHUNKS - 1)
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("a stretch of damaged chunks", () => {
  /** Flips a bit of these chunks on disk. */
  const damage = Effect.fnUntraced(function*(name: string, indices: ReadonlyArray<number>) {
    const disk = yield* MemoryDisk
    for (const [path, file] of disk.files()) {
      if (!indices.some((index) => ofChunk(name, index)(path))) continue
      const bytes = Buffer.from(file)
      bytes[headerBytes(CHUNK) + 5]! ^= 1
      disk.overwrite(path, bytes)
    }
  })

  /** How many requests a view of the whole file costs. */
  const requests = Effect.fnUntraced(function*(name: string) {
    const origin = yield* MemoryOrigin
    const before = origin.requests.length
    const sent = yield* watch(name)
    return { count: origin.requests.length - before, sent }
  })

  it.effect("costs few requests: the chunks behind a damaged one are verified while it is fetched", () =>
    Effect.gen(function*() {
      const chunks = 3 * VERIFIED_BEHIND
      yield* put("long", chunks)
      yield* watch("long")
      yield* damage("long", Array.from({ length: chunks }, (_, index) => index))
      const { count, sent } = yield* requests("long")
      assert.strictEqual(sent, chunks * CHUNK)
      assert.isAtMost(count, chunks / 2)
      assert.strictEqual((yield* requests("long")).sent, 0)
    }).pipe(Effect.provide(Layer.provideMerge(restartable(), World))))

  it.effect("stays as it is behind a viewer who doesn't read on", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      yield* put("long", 12)
      yield* watch("long")
      yield* damage("long", [1, 2, 3])
      // More than what is copied, so that it is streamed.
      yield* view(urlOf("long"), { _tag: "From", start: CHUNK, last: 2 * CHUNK - 1 })
      yield* pass(1)
      const { id } = makeResource(urlOf("long"))
      const left = index.chunksOf(id).map(({ key }) => key).filter(index.has).map((key) => key.index)
      for (const behind of [2, 3]) assert.include(left, behind)
    }).pipe(Effect.provide(Layer.provideMerge(restartable(), World))))

  it.effect("ends at the first intact chunk", () =>
    Effect.gen(function*() {
      yield* put("long", 12)
      yield* watch("long")
      yield* damage("long", [1, 2, 3, 5])
      const { sent } = yield* requests("long")
      assert.strictEqual(sent, 4 * CHUNK)
    }).pipe(Effect.provide(Layer.provideMerge(restartable(), World))))
})

describe("a manifest that cannot be read", () => {
  it.effect.each(["EIO", "EISDIR", "EPERM"])("affects no other file: %s", (errno) =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      yield* keep("good")
      yield* put("bad")
      yield* faults.add({
        operation: "stat",
        fault: errno,
        path: (path) => of("bad")(path) && path.endsWith("manifest.json")
      })
      for (let round = 0; round < 4; round++) {
        yield* watch("bad")
        assert.strictEqual(yield* watch("good"), 0)
        yield* pass(1)
      }
      assert.strictEqual(yield* watch("bad"), 0)
      assert.isUndefined(breaker.unwritable())
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("a chunk that cannot be written", () => {
  it.effect.each(
    [
      { errno: "EISDIR", operation: "rename" },
      { errno: "EPERM", operation: "rename" },
      { errno: "EIO", operation: "write" },
      { errno: "EUCLEAN", operation: "write" },
      { errno: "EACCES", operation: "open" },
      { errno: "ENOTDIR", operation: "mkdir" }
    ] as const
  )("costs nobody else anything: $errno at $operation", ({ errno, operation }) =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* keep("good")
      yield* put("bad")
      yield* faults.add({
        operation,
        fault: errno,
        path: (path) => operation === "mkdir" ? of("bad")(path) : ofChunk("bad", 1)(path)
      })
      const opened = yield* openings(Effect.gen(function*() {
        for (const name of ["a", "bb", "ccc", "dddd"]) {
          yield* watch("bad")
          assert.strictEqual(yield* watch("good"), 0)
          yield* keep(name)
          assert.strictEqual(yield* watch(name), 0)
          yield* pass(1)
        }
      }))
      assert.strictEqual(opened, 0)
      assert.isUndefined(health.unwritable())
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("leaves a temporary file that cannot be removed, and others are still written", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* put("bad")
      const isBad = ofChunk("bad", 1)
      yield* faults.add({ operation: "write", fault: "EIO", path: isBad })
      yield* faults.add({ operation: "unlink", fault: "EPERM", path: isBad })
      yield* watch("bad")
      yield* keep("good")
      assert.strictEqual(yield* watch("good"), 0)
      yield* pass(1)
      assert.isUndefined(health.unwritable())
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("a chunk that cannot be removed", () => {
  const options = { maxSize: 2 * perFile + ROOT_BYTES }

  it.effect.each(["EPERM", "EUCLEAN", "EBUSY", "EIO"])(
    "is skipped by eviction, still counts, and is removed when it can be: %s",
    (errno) =>
      Effect.gen(function*() {
        const faults = yield* Faults
        const health = yield* DiskBreaker
        const index = yield* CacheIndex
        yield* keep("bad")
        yield* faults.add({ operation: "unlink", fault: errno, path: ofChunk("bad", 0) })
        const opened = yield* openings(Effect.gen(function*() {
          for (const name of ["a", "bb", "ccc", "dddd", "eeeee"]) {
            yield* keep(name)
            yield* pass(1)
            assert.strictEqual(yield* watch(name), 0)
            assert.isAtMost(index.bytes(), options.maxSize)
          }
        }))
        assert.strictEqual(opened, 0)
        const left = index.chunksOf(makeResource(urlOf("bad")).id)
        assert.deepStrictEqual(left.map(({ key }) => key.index), [0])
        // It can be read, after all.
        assert.strictEqual(yield* watch("bad"), (CHUNKS - 1) * CHUNK)
        yield* faults.clear
        yield* pass(70)
        yield* keep("ffffff", "ggggggg")
        assert.strictEqual(index.chunksOf(makeResource(urlOf("bad")).id).length, 0)
        assert.isUndefined(health.unwritable())
      }).pipe(Effect.provide(stack("faulty", options)))
  )

  it.effect("makes the cache full if no other can be removed, until one can", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* keep("a", "bb")
      yield* faults.add({ operation: "unlink", fault: "EPERM", path: (path) => !path.includes("probe") })
      const opened = yield* openings(Effect.gen(function*() {
        yield* keep("ccc")
        yield* pass(30)
        assert.strictEqual(health.unwritable()?.errno, "MAX_SIZE")
        assert.strictEqual(yield* watch("a"), 0)
      }))
      assert.strictEqual(opened, 1)
      yield* faults.clear
      yield* pass(10)
      assert.isUndefined(health.unwritable())
      yield* keep("ccc")
      assert.strictEqual(yield* watch("ccc"), 0)
    }).pipe(Effect.provide(stack("faulty", options))))
})

describe("the breaker", () => {
  /** Reads of chunks fail, and a probe's do not, as with a probe's file in the page cache. */
  const ofChunks = (path: string) => !path.includes("probe") && !path.endsWith(".tmp")

  it.effect("opens after one error when a probe fails too", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* keep("a")
      yield* faults.add({ operation: "read", fault: "EIO" })
      yield* watch("a")
      yield* pass(1)
      assert.strictEqual(health.unwritable()?.errno, "EIO")
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("opens when three files fail one after the other, though probes succeed", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* keep("a", "bb")
      yield* faults.add({ operation: "read", fault: "EIO", path: ofChunks })
      const fiber = yield* Effect.forkChild(watch("a"))
      yield* Fiber.join(fiber)
      assert.strictEqual(health.unwritable()?.errno, "EIO")
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("stays closed when files fail that are far apart in time", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* keep("a", "bb", "ccc", "dddd")
      const opened = yield* openings(Effect.gen(function*() {
        for (const name of ["a", "bb", "ccc", "dddd"]) {
          const rule = { operation: "read", fault: "EIO", path: ofChunk(name, 0) } as const
          yield* faults.add({ ...rule, times: 1 })
          yield* watch(name)
          yield* pass(6)
        }
      }))
      assert.strictEqual(opened, 0)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("opens at once for errors that a single file cannot cause", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const health = yield* DiskBreaker
      yield* keep("a")
      yield* faults.add({ operation: "open", fault: "EMFILE", path: ofChunk("a", 0) })
      yield* watch("a")
      assert.strictEqual(health.unwritable()?.errno, "EMFILE")
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("what a scan at the start can't read", () => {
  const { id } = makeResource(urlOf("a"))
  const places: ReadonlyArray<readonly [string, Operation, (path: string) => boolean]> = [
    // The scan examines the first chunk of a file.
    ["a chunk", "stat", (path) => path.includes(id) && path.endsWith(".0")],
    ["a directory of a resource", "readdir", (path) => path.endsWith(id)],
    ["a directory of several resources", "readdir", (path) => path.endsWith(`/${id.slice(0, 2)}`)]
  ]
  it.effect.each(places)("is counted once it can be read: %s", ([, operation, path]) =>
    Effect.gen(function*() {
      const services = restartable()
      const used = CacheIndex.use((index) => Effect.sync(index.bytes))
      const before = yield* ticking(Effect.provide(Effect.andThen(keep("a"), used), Layer.fresh(services)))
      const plan = yield* Faults
      yield* plan.add({ operation, fault: "EACCES", path })
      yield* ticking(Effect.provide(
        Effect.gen(function*() {
          yield* IndexScan.use(({ loaded }) => loaded)
          yield* Effect.sleep("20 seconds")
          assert.isBelow(yield* used, before)
          yield* plan.clear
          yield* Effect.sleep("20 seconds")
          assert.strictEqual(yield* used, before)
        }),
        services
      ))
    }).pipe(Effect.provide(World)))
})
