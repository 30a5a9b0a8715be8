import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { CAPACITY, FailureLog } from "../../../../src/services/operate/FailureLog.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const url = "http://origin.test/film.mp4?key=1"
const film = randomBytes(4 * CHUNK)

const putFilm = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  return origin
})

describe("failures", () => {
  it.effect("of the disk are told with their cause, and when they passed", () =>
    Effect.gen(function*() {
      const failures = yield* FailureLog
      const faults = yield* Faults
      const breaker = yield* DiskBreaker
      yield* putFilm
      yield* ticking(Effect.yieldNow)
      yield* faults.add({ operation: "write", fault: "EROFS" })
      yield* view(url)
      yield* ticking(Effect.repeat(Effect.yieldNow, { until: () => failures.recent().length > 0, times: 100_000 }))
      const [failure] = failures.recent()
      assert.deepInclude(failure, { kind: "PermissionDenied", errno: "EROFS", operation: "write" })
      assert.isUndefined(failure!.recoveredAt)
      yield* faults.clear
      yield* ticking(
        Effect.repeat(Effect.yieldNow, { until: () => breaker.unwritable() === undefined, times: 100_000 })
      )
      yield* ticking(
        Effect.repeat(Effect.yieldNow, { until: () => failures.recent()[0]?.recoveredAt !== undefined, times: 100_000 })
      )
      assert.isAbove(failures.recent()[0]!.recoveredAt!, failure!.at)
      assert.lengthOf(failures.recent(), 1)
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("of an origin that no viewer noticed are told, without the query", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      origin.behaviour = (_, index) => index === 0 ? { _tag: "Reset", after: 10_000 } : undefined
      const failures = yield* FailureLog
      const { bytes } = yield* ticking(view(url))
      assert.lengthOf(bytes, film.length)
      const [failure, ...others] = failures.recent()
      assert.deepInclude(failure, { kind: "OriginBodyFailed", url: "http://origin.test/film.mp4?…" })
      assert.isDefined(failure!.recoveredAt)
      assert.lengthOf(others, 0)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("that go on are one, and the oldest go", () =>
    Effect.gen(function*() {
      const origin = yield* putFilm
      const failures = yield* FailureLog
      origin.behaviour = () => ({ _tag: "Refuse" })
      yield* ticking(Effect.flip(view(url)))
      assert.isAbove(origin.requests.length, 1)
      assert.deepStrictEqual(failures.recent().map(({ kind }) => kind), ["OriginUnreachable"])
      assert.deepInclude(failures.recent()[0], {
        errno: "ECONNREFUSED",
        message: `${url}: no answer from the origin: connection refused (ECONNREFUSED)`,
        advice: "Start the origin, or correct host and port of its URL"
      })
      for (let i = 0; i < CAPACITY; i++) {
        origin.files.set(`http://${i}.test/`, { bytes: film, etag: "\"1\"" })
        yield* ticking(Effect.flip(view(`http://${i}.test/`)))
      }
      assert.lengthOf(failures.recent(), CAPACITY)
      assert.strictEqual(failures.recent()[0]!.url, `http://${CAPACITY - 1}.test/`)
      assert.isTrue(failures.recent().every((failure) => failure.url !== url))
    }).pipe(Effect.provide(stack("memory"))))
})
