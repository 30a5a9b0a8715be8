import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { make as makeResource, variant } from "../../src/domain/Resource.ts"
import type { Coding } from "../../src/domain/rfc/ContentCoding.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import type { CacheOptions } from "../../src/services/config/CacheConfig.ts"
import { ROOT_BYTES } from "../../src/services/disk/blocks.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { Faults, type Operation, operations, type Rule } from "../../src/testing/FaultyFileSystem.ts"
import { type MemoryFile, MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, get, ORIGIN, restartable, World } from "../support/stack.ts"
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
const film = { path: "/film", bytes: randomBytes(CHUNKS * CHUNK - 1000, 1) }
const other = { path: "/other", bytes: randomBytes(CHUNKS * CHUNK - 2000, 2) }
const fileBytes = CHUNKS * bytesOnDisk(CHUNK) + MANIFEST_BYTES

const CACHE_FIELDS = { "cache-control": "max-age=86400" }

/** How the origin identifies its files. */
interface Kind {
  readonly name: string
  readonly file: (bytes: Uint8Array) => MemoryFile
  readonly options?: Partial<CacheOptions>
  /** Fields of each request. */
  readonly request?: Record<string, string>
  readonly coding?: Coding
  /** All bytes are of one transfer, so that without one chunk the whole is fetched again. */
  readonly isSingle?: boolean
}

const validated: Kind = { name: "strong ETag", file: (bytes) => ({ bytes, etag: "\"1\"", headers: CACHE_FIELDS }) }

const others: ReadonlyArray<Kind> = [
  { name: "assumed", file: (bytes) => ({ bytes, headers: CACHE_FIELDS }), options: { assumeUnchanged: ["/*"] } },
  { name: "no validator", file: (bytes) => ({ bytes, headers: CACHE_FIELDS }), isSingle: true },
  {
    name: "coded",
    file: (bytes) => ({ bytes: new Uint8Array(), coded: { gzip: validated.file(bytes) } }),
    request: { "accept-encoding": "gzip" },
    coding: "gzip"
  },
  { name: "no length", file: (bytes) => ({ bytes, headers: CACHE_FIELDS, isChunked: true }), isSingle: true }
]

/** The kinds of files that a cell is for: always the first, and one of the others in turn, so that each meets every fault, operation and moment. */
const kindsOf = (...indices: ReadonlyArray<number>): ReadonlyArray<Kind> => [
  validated,
  others[indices.reduce((sum, index) => sum + index, 0) % others.length]!
]

/** Has the origin send the files of the matrix. */
const serve = Effect.fnUntraced(function*({ file }: Kind) {
  const { files } = yield* MemoryOrigin
  for (const { bytes, path } of [film, other]) files.set(ORIGIN + path, file(bytes))
})

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

const watch = Effect.fnUntraced(function*({ bytes, path }: typeof film, { request }: Kind) {
  const views = yield* Effect.all([get(path, request), get(path, request)], { concurrency: "unbounded" })
  for (const seen of views) {
    assert.strictEqual(seen.status, 200)
    assert.strictEqual(sha256(seen.bytes), sha256(bytes))
  }
})

const cells = moments.flatMap((moment, m) =>
  operations.flatMap((operation, o) =>
    faults.flatMap((fault, f) => kindsOf(m, o, f).map((kind) => ({ fault, kind, moment, name: kind.name, operation })))
  )
)
const possible = cells.filter(({ fault, operation }) => isPossible(fault, operation))

/** The second matrix: one file of the cache that fails for good, on a disk that works otherwise. */
const objects = {
  "a chunk": { operations: ["open", "read", "stat", "write", "rename", "unlink"], isManifest: false },
  "a manifest": { operations: ["open", "read", "stat", "write", "rename", "unlink"], isManifest: true }
} as const
const objectErrnos = ["EIO", "EUCLEAN", "EPERM", "EACCES", "EISDIR", "ELOOP", "ENXIO", "ENOENT"] as const
const objectMoments = ["first chunk", "on a hit", "at start-up", "during clean-up"] as const

const objectCells = objectMoments.flatMap((moment, m) =>
  Object.entries(objects).flatMap(([object, { isManifest, operations }], b) =>
    operations.flatMap((operation, o) =>
      objectErrnos.flatMap((errno, e) =>
        kindsOf(m, b, o, e).map((kind) => ({ errno, isManifest, kind, moment, name: kind.name, object, operation }))
      )
    )
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
    assert.strictEqual(objectCells.length, 2 * 2 * 8 * 6 * 4)
  })

  it.effect.each(objectCells)(
    "$errno at $operation of $object, $moment, $name",
    ({ errno, isManifest, kind, moment, operation }) =>
      Effect.gen(function*() {
        const plan = yield* Faults
        const origin = yield* MemoryOrigin
        yield* serve(kind)
        // The chunk that cannot be removed stays, with its manifest.
        const left = bytesOnDisk(CHUNK) + MANIFEST_BYTES
        const services = restartable({
          ...kind.options,
          ...(moment === "during clean-up" && { maxSize: fileBytes + ROOT_BYTES + left })
        })
        // Of the first file that is cached, with its temporary files.
        const { path: ofFile } = moment === "during clean-up" ? other : film
        const { id } = variant(makeResource(ORIGIN + ofFile), [], {}, false, kind.coding)
        const isIt = new RegExp(`${id}/(?:([0-9a-f]{32})\\.2|manifest\\.json)(?:\\.[^/]*tmp)?$`)
        // The name of a chunk begins with its representation, of which each transfer without a validator makes another.
        let representation: string | undefined
        const path = (path: string): boolean => {
          const found = isIt.exec(path)
          if (found === null) return false
          const [, named] = found
          return isManifest ? named === undefined : named !== undefined && named === (representation ??= named)
        }
        const addRule = plan.add({ operation, fault: errno, path })
        if (moment === "at start-up") {
          const before = Effect.andThen(watch(film, kind), ChunkWriter.use((_) => _.idle))
          yield* ticking(Effect.provide(before, Layer.fresh(services)))
          yield* addRule
        }
        yield* ticking(Effect.provide(
          Effect.gen(function*() {
            const writer = yield* ChunkWriter
            if (moment === "on a hit" || moment === "during clean-up") {
              yield* watch(moment === "on a hit" ? film : other, kind)
              yield* writer.idle
            }
            if (moment !== "at start-up") yield* addRule
            const opened = yield* openings(Effect.gen(function*() {
              for (let round = 0; round < 3; round++) {
                yield* watch(film, kind)
                yield* writer.idle
              }
            }))
            assert.strictEqual(opened, 0)
            const sent = () => origin.requests.reduce((sum, request) => sum + request.sent, 0)
            const viewed = Effect.gen(function*() {
              const before = sent()
              yield* get(film.path, kind.request)
              yield* writer.idle
              return sent() - before
            })
            // All but that file is served from the cache.
            const most = moment === "during clean-up" ? 0 : !isManifest && !kind.isSingle ? CHUNK : film.bytes.length
            assert.isAtMost(yield* viewed, most)
            yield* plan.clear
            yield* watch(film, kind)
            yield* writer.idle
            yield* Effect.sleep("70 seconds")
            yield* watch(film, kind)
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
    assert.strictEqual(cells.length, 2 * 11 * 9 * 6)
    assert.strictEqual(possible.length, 2 * (9 * 9 + 2) * 6)
  })

  it.effect.each(possible)(
    "$fault at $operation, $moment, $name",
    ({ fault, kind, moment, operation }) =>
      Effect.gen(function*() {
        const plan = yield* Faults
        const origin = yield* MemoryOrigin
        yield* serve(kind)
        // Room for one film: the other one's chunks have to go for it.
        const services = restartable({
          ...kind.options,
          ...(moment === "during clean-up" && { maxSize: fileBytes + ROOT_BYTES })
        })
        const addRule = plan.add(ruleFor(moment, operation, fault))
        if (moment === "at start-up") {
          const before = Effect.andThen(watch(film, kind), ChunkWriter.use((_) => _.idle))
          yield* ticking(Effect.provide(before, Layer.fresh(services)))
          yield* addRule
        }
        yield* ticking(Effect.provide(
          Effect.gen(function*() {
            const breaker = yield* DiskBreaker
            const writer = yield* ChunkWriter
            if (moment === "on a hit" || moment === "during clean-up") {
              yield* watch(moment === "on a hit" ? film : other, kind)
              yield* writer.idle
            }
            if (moment !== "at start-up") yield* addRule
            yield* watch(film, kind)
            if (fault !== "hang") yield* writer.idle
            yield* watch(film, kind)
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
            yield* watch(film, kind)
            yield* writer.idle
            const sent = () => origin.requests.reduce((sum, request) => sum + request.sent, 0)
            const before = sent()
            yield* watch(film, kind)
            assert.strictEqual(sent(), before)
          }),
          services
        ))
      }).pipe(Effect.provide(World))
  )
})
