import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { ROOT_BYTES } from "../../src/services/disk/blocks.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { Faults, type Operation, operations, type Rule } from "../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, restartable, view, World } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

/**
 * Every fault, at every operation, at every moment: in each cell every viewer gets the right bytes, and when the fault ends
 * the cache comes back.
 */
const faults = [
  "ENOSPC",
  "EDQUOT",
  "EACCES",
  "EPERM",
  "EROFS",
  "EIO",
  "EMFILE",
  "ENOENT",
  "hang",
  "short write",
  "short read"
] as const

const moments = ["first chunk", "middle chunk", "last chunk", "on a hit", "at start-up", "during clean-up"] as const

type Fault = (typeof faults)[number]
type Moment = (typeof moments)[number]

const CHUNKS = 5
const film = { url: "http://origin.test/film", bytes: randomBytes(CHUNKS * CHUNK - 1000, 1) }
const other = { url: "http://origin.test/other", bytes: randomBytes(CHUNKS * CHUNK - 2000, 2) }
const fileBytes = CHUNKS * bytesOnDisk(CHUNK) + MANIFEST_BYTES

/** Only a write can stop half-way, and only a read can find the end too early. */
const isPossible = (fault: Fault, operation: Operation): boolean =>
  fault === "short write" ? operation === "write" : fault === "short read" ? operation === "read" : true

/** What is done to the disk at each moment; elsewhere there is nothing to fail. */
const done: Record<Moment, ReadonlyArray<Operation>> = {
  "first chunk": ["mkdir", "open", "write", "rename", "read"],
  "middle chunk": ["open", "write", "rename"],
  "last chunk": ["open", "write", "rename"],
  "on a hit": ["open", "read"],
  "at start-up": ["open", "write", "sync", "rename", "read", "stat", "readdir", "unlink"],
  "during clean-up": ["open", "write", "rename", "unlink", "read"]
}

/** The rule that makes `fault` happen to `operation` at `moment`. */
const ruleFor = (moment: Moment, operation: Operation, fault: Fault): Rule => {
  const index = { "first chunk": 0, "middle chunk": 2, "last chunk": CHUNKS - 1 }[moment as string]
  // A directory and a manifest belong to the first chunk.
  const path = (path: string) =>
    index === undefined ||
    (index === 0 ? !/\.[1-9](\.|$)/.test(path) : path.includes(`.${index}.`) || path.endsWith(`.${index}`))
  return { operation, fault: fault.startsWith("short") ? "short" : fault, path }
}

/** Lets time pass for as long as `effect` runs. */
const ticking = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const clock = yield* Effect.forkChild(
      Effect.forever(Effect.andThen(TestClock.adjust("50 millis"), Effect.promise(() => new Promise(setImmediate))))
    )
    return yield* Effect.ensuring(effect, Fiber.interrupt(clock))
  })

const watch = Effect.fnUntraced(function*({ bytes, url }: typeof film) {
  const views = yield* Effect.all([view(url), view(url)], { concurrency: "unbounded" })
  for (const seen of views) assert.strictEqual(sha256(seen.bytes), sha256(bytes))
})

const cells = moments.flatMap((moment) =>
  operations.flatMap((operation) => faults.map((fault) => ({ moment, operation, fault })))
)
const possible = cells.filter(({ fault, operation }) => isPossible(fault, operation))

/** The second matrix: one file of the cache that fails for good, on a disk that works otherwise. */
const objects = {
  "a chunk": { operations: ["open", "read", "stat", "write", "rename", "unlink"], ends: "2" },
  "a manifest": { operations: ["open", "read", "stat", "write", "rename", "unlink"], ends: "manifest.json" }
} as const
const objectErrnos = ["EIO", "EUCLEAN", "EPERM", "EACCES", "EISDIR", "ELOOP", "ENXIO", "ENOENT"] as const
const objectMoments = ["first chunk", "on a hit", "at start-up", "during clean-up"] as const

const objectCells = objectMoments.flatMap((moment) =>
  Object.entries(objects).flatMap(([object, { ends, operations }]) =>
    operations.flatMap((operation) => objectErrnos.map((errno) => ({ ends, errno, moment, object, operation })))
  )
)

/** How often the breaker opens while `effect` runs. */
const openings = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const breaker = yield* DiskBreaker
  let count = 0
  const follower = yield* Effect.forkChild(Stream.runForEach(breaker.changes, ({ _tag }) =>
    Effect.sync(() => {
      if (_tag !== "Usable") count += 1
    })))
  yield* effect
  yield* Effect.sleep("1 second")
  yield* Fiber.interrupt(follower)
  return count
})

describe("the matrix of one file that fails", () => {
  it("has a cell for each file, fault, operation and moment", () => {
    assert.strictEqual(objectCells.length, 2 * 8 * 6 * 4)
  })

  it.effect.each(objectCells)(
    "$errno at $operation of $object, $moment",
    ({ ends, errno, moment, operation }) =>
      Effect.gen(function*() {
        const plan = yield* Faults
        const origin = yield* MemoryOrigin
        for (const { bytes, url } of [film, other]) {
          origin.files.set(url, { bytes, etag: "\"1\"", headers: { "cache-control": "max-age=86400" } })
        }
        // The chunk that cannot be removed stays, with its manifest.
        const left = bytesOnDisk(CHUNK) + MANIFEST_BYTES
        const services = restartable(moment === "during clean-up" ? { maxSize: fileBytes + ROOT_BYTES + left } : {})
        // Of the first file that is cached, with its temporary files.
        const { id } = makeResource(moment === "during clean-up" ? other.url : film.url)
        const isIt = new RegExp(`${id}/.*${ends.replace(".", "\\.")}(\\.[^/]*tmp)?$`)
        const isChunk = /\/[0-9a-f]{32}\.\d+/
        const path = (path: string) => isIt.test(path) && (ends === "manifest.json" || isChunk.test(path))
        const addRule = plan.add({ operation, fault: errno, path })
        if (moment === "at start-up") {
          const before = Effect.andThen(watch(film), ChunkWriter.use((_) => _.idle))
          yield* ticking(Effect.provide(before, Layer.fresh(services)))
          yield* addRule
        }
        yield* ticking(Effect.provide(
          Effect.gen(function*() {
            const writer = yield* ChunkWriter
            if (moment === "on a hit" || moment === "during clean-up") {
              yield* watch(moment === "on a hit" ? film : other)
              yield* writer.idle
            }
            if (moment !== "at start-up") yield* addRule
            const opened = yield* openings(Effect.gen(function*() {
              for (let round = 0; round < 3; round++) {
                yield* watch(film)
                yield* writer.idle
              }
            }))
            assert.strictEqual(opened, 0)
            const sent = () => origin.requests.reduce((sum, request) => sum + request.sent, 0)
            const viewed = Effect.gen(function*() {
              const before = sent()
              yield* view(film.url)
              yield* writer.idle
              return sent() - before
            })
            // All but that file is served from the cache.
            assert.isAtMost(yield* viewed, moment === "during clean-up" ? 0 : ends === "2" ? CHUNK : film.bytes.length)
            yield* plan.clear
            yield* watch(film)
            yield* writer.idle
            yield* Effect.sleep("70 seconds")
            yield* watch(film)
            yield* writer.idle
            assert.strictEqual(yield* viewed, 0)
          }),
          services
        ))
      }).pipe(Effect.provide(World))
  )
})

describe("the fault matrix", () => {
  it("has a cell for each fault, operation and moment", () => {
    assert.strictEqual(cells.length, 11 * 9 * 6)
    assert.strictEqual(possible.length, (9 * 9 + 2) * 6)
  })

  it.effect.each(possible)("$fault at $operation, $moment", ({ fault, moment, operation }) =>
    Effect.gen(function*() {
      const plan = yield* Faults
      const origin = yield* MemoryOrigin
      for (const { bytes, url } of [film, other]) {
        origin.files.set(url, { bytes, etag: "\"1\"", headers: { "cache-control": "max-age=86400" } })
      }
      // Room for one film: the other one's chunks have to go for it.
      const services = restartable(moment === "during clean-up" ? { maxSize: fileBytes + ROOT_BYTES } : {})
      const addRule = plan.add(ruleFor(moment, operation, fault))
      if (moment === "at start-up") {
        const before = Effect.andThen(watch(film), ChunkWriter.use((_) => _.idle))
        yield* ticking(Effect.provide(before, Layer.fresh(services)))
        yield* addRule
      }
      yield* ticking(Effect.provide(
        Effect.gen(function*() {
          const breaker = yield* DiskBreaker
          const writer = yield* ChunkWriter
          if (moment === "on a hit" || moment === "during clean-up") {
            yield* watch(moment === "on a hit" ? film : other)
            yield* writer.idle
          }
          if (moment !== "at start-up") yield* addRule
          yield* watch(film)
          if (fault !== "hang") yield* writer.idle
          yield* watch(film)
          if (done[moment].includes(operation)) {
            yield* Effect.repeat(Effect.sleep("50 millis"), { until: () => plan.strikes()[0]! > 0, times: 100 })
            assert.isAbove(plan.strikes()[0]!, 0)
          }

          yield* plan.clear
          yield* Effect.repeat(Effect.sleep("100 millis"), {
            until: () => breaker.unwritable() === undefined,
            times: 500
          })
          assert.isUndefined(breaker.unwritable())
          yield* writer.idle
          yield* watch(film)
          yield* writer.idle
          const sent = () => origin.requests.reduce((sum, request) => sum + request.sent, 0)
          const before = sent()
          yield* watch(film)
          assert.strictEqual(sent(), before)
        }),
        services
      ))
    }).pipe(Effect.provide(World)))
})
