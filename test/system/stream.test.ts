import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { Faults, type Operation } from "../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { CHUNK, specOf, stack, view } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4"
/** Five whole chunks and a short one. */
const film = randomBytes(5 * CHUNK + 12_345)
const fresh = { etag: "\"1\"", headers: { "cache-control": "max-age=3600" } }

const putFilm = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, ...fresh })
  return origin
})

const sent = Effect.map(MemoryOrigin, ({ requests }) => requests.reduce((sum, request) => sum + request.sent, 0))

/** Lets time pass for as long as `effect` runs, so that what waits for a clock goes on. */
const ticking = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Effect.forever(Effect.andThen(TestClock.adjust("100 millis"), Effect.promise(() => new Promise(setImmediate))))
    )
    return yield* Effect.ensuring(effect, Fiber.interrupt(fiber))
  })

describe.each(["memory", "real", "faulty"] as const)("over the %s store", (store) => {
  const test = store === "real" ? it.live : it.effect

  test("streams a file from the origin, and then from the store", () =>
    Effect.gen(function*() {
      yield* putFilm
      const first = yield* view(url)
      assert.strictEqual(sha256(first.bytes), sha256(film))
      assert.deepInclude(first.status, { fwd: "uri-miss", stored: true })
      yield* (yield* ChunkWriter).idle
      const second = yield* view(url)
      assert.strictEqual(sha256(second.bytes), sha256(film))
      assert.deepInclude(second.status, { hit: true })
      assert.strictEqual(yield* sent, film.length)
    }).pipe(Effect.provide(stack(store))))

  test("fetches the chunks that a range needs, in one request, and no more", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      const range = { start: CHUNK + 100, end: 3 * CHUNK - 100 }
      const { bytes } = yield* view(url, specOf(range))
      assert.strictEqual(sha256(bytes), sha256(film.subarray(range.start, range.end)))
      yield* ticking(
        Effect.repeat(ChunkWriter.use((_) => _.idle), { until: () => origin.requests.length === 2, times: 50 })
      )
      // From the sought byte first, and then the front of its chunk.
      assert.deepStrictEqual(origin.requests.map(({ headers }) => headers["range"]), [
        `bytes=${range.start}-${3 * CHUNK - 1}`,
        `bytes=${CHUNK}-${range.start - 1}`
      ])
      assert.strictEqual(yield* sent, 2 * CHUNK)
    }).pipe(Effect.provide(stack(store))))

  test("costs the origin one transfer for many viewers", () =>
    Effect.gen(function*() {
      yield* putFilm
      const views = yield* Effect.all(Array.from({ length: 50 }, () => view(url)), { concurrency: "unbounded" })
      for (const { bytes } of views) assert.strictEqual(sha256(bytes), sha256(film))
      assert.strictEqual(yield* sent, film.length)
    }).pipe(Effect.provide(stack(store, { memory: 1e7 }))))

  test("serves the new file, whole, when the origin's has changed", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      origin.files.set(url, { bytes: film, etag: "\"1\"" })
      yield* view(url)
      const other = randomBytes(film.length, 2)
      origin.files.set(url, { bytes: other, etag: "\"2\"" })
      assert.strictEqual(sha256((yield* view(url)).bytes), sha256(other))
    }).pipe(Effect.provide(stack(store))))
})

/** Each error, at each operation that can bring it. */
const errnos = {
  DiskFull: ["ENOSPC", "EDQUOT"],
  PermissionDenied: ["EACCES", "EPERM", "EROFS"],
  IoError: ["EIO"]
} as const
const writing: ReadonlyArray<Operation> = ["mkdir", "open", "write", "rename"]
const cells = Object.entries(errnos).flatMap(([tag, codes]) =>
  codes.flatMap((errno) => writing.flatMap((operation) => [0, 2, 5].map((after) => ({ tag, errno, operation, after }))))
)

describe("when a write fails", () => {
  it.effect.each(cells)(
    "$errno at $operation after $after: the viewer gets every byte",
    ({ after, errno, operation, tag }) =>
      Effect.gen(function*() {
        yield* putFilm
        const faults = yield* Faults
        const breaker = yield* DiskBreaker
        const writer = yield* ChunkWriter
        // The start's own probe is over.
        yield* ticking(Effect.yieldNow)
        yield* faults.add({ operation, fault: errno, after })
        const first = yield* view(url)
        assert.strictEqual(sha256(first.bytes), sha256(film))
        assert.strictEqual(yield* sent, film.length)
        yield* ticking(writer.idle)
        const [struck = 0] = faults.strikes()
        // A probe makes no directories, and those of one file are its own.
        if (struck > 0 && tag !== "DiskFull" && (operation !== "mkdir" || errno === "EROFS")) {
          // Unless the error is the disk's for certain, a probe finds out.
          yield* ticking(
            Effect.repeat(Effect.yieldNow, { until: () => breaker.unwritable() !== undefined, times: 100_000 })
          )
          const failure = breaker.unwritable()
          assert.strictEqual(failure?._tag, tag)
          assert.strictEqual(failure?.errno, errno)
        }
        // Whatever the state is, so is the next view right; and after the repair the file is kept.
        assert.strictEqual(sha256((yield* view(url)).bytes), sha256(film))
        yield* faults.clear
        yield* ticking(
          Effect.repeat(Effect.yieldNow, { until: () => breaker.unwritable() === undefined, times: 100_000 })
        )
        assert.isUndefined(breaker.unwritable())
        yield* view(url)
        yield* ticking(writer.idle)
        const before = yield* sent
        const last = yield* view(url)
        assert.strictEqual(sha256(last.bytes), sha256(film))
        assert.strictEqual(yield* sent, before)
      }).pipe(Effect.provide(stack("faulty")))
  )
})

describe("when a read fails", () => {
  const faults = ["EIO", "EACCES", "ENOENT", "EMFILE", "short"]
  const reads = faults.flatMap((fault) =>
    (["open", "read"] as const).flatMap((operation) => [0, 1, 5].map((after) => ({ fault, operation, after })))
  )
  it.effect.each(reads)(
    "$fault at $operation after $after: the origin takes over",
    ({ after, fault, operation }) =>
      Effect.gen(function*() {
        yield* putFilm
        const faults = yield* Faults
        const writer = yield* ChunkWriter
        yield* view(url)
        yield* ticking(writer.idle)
        yield* faults.add({
          operation,
          fault,
          after,
          times: 1,
          path: (path) => !path.includes("probe") && !path.endsWith(".tmp")
        })
        assert.strictEqual(sha256((yield* view(url)).bytes), sha256(film))
        assert.deepStrictEqual(faults.strikes(), [1])
        yield* ticking(writer.idle)
        assert.strictEqual(sha256((yield* view(url)).bytes), sha256(film))
      }).pipe(Effect.provide(stack("faulty")))
  )
})

const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("any ranges, in any order, with any failures", () => {
  it.effect.prop("are the origin's bytes", {
    views: Schema.Array(Schema.Struct({
      start: intBetween(0, film.length - 1),
      length: intBetween(1, 3 * CHUNK),
      operation: Schema.Literals(["mkdir", "open", "write", "rename", "read", "unlink"]),
      fault: Schema.Literals(["none", "ENOSPC", "EROFS", "EIO", "ENOENT", "short"]),
      after: intBetween(0, 4),
      origin: Schema.Literals(["well", "Reset", "Truncate"]),
      at: intBetween(0, CHUNK)
    })).check(Schema.isMinLength(1), Schema.isMaxLength(8))
  }, ({ views }) =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      const faults = yield* Faults
      for (const { after, at, fault, length, operation, origin: misbehaviour, start } of views) {
        yield* faults.clear
        if (fault !== "none") yield* faults.add({ operation, fault, after, times: 2 })
        let misbehaved = false
        origin.behaviour = () => {
          if (misbehaviour === "well" || misbehaved) return undefined
          misbehaved = true
          return { _tag: misbehaviour, after: at }
        }
        const range = { start, end: Math.min(start + length, film.length) }
        const { bytes } = yield* ticking(view(url, specOf(range)))
        assert.strictEqual(sha256(bytes), sha256(film.subarray(range.start, range.end)))
      }
    }).pipe(Effect.provide(stack("faulty", { memory: 2 * CHUNK, maxSize: 4 * CHUNK }))), { arbitrary: { runs: 60 } })
})
