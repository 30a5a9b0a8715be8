import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { type Job, Warmer } from "../../../../src/services/operate/Warmer.ts"
import { Faults, type Rule } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const SIZE = 2 * CHUNK

const resourceOf = (name: string) => makeResource(`http://origin.test/${name}`)

const put = (name: string) =>
  Effect.map(MemoryOrigin, ({ files }) => {
    files.set(resourceOf(name).url, {
      bytes: randomBytes(SIZE),
      etag: "\"1\"",
      headers: { "cache-control": "max-age=3600" }
    })
  })

/** Has the disk hang when the first chunk of a file is written. More would leave no room for other calls (`DiskLimiter`). */
const hang = (name: string) => {
  const rule: Rule = {
    operation: "write",
    fault: "hang",
    path: (path) => path.includes(`${resourceOf(name).id}/`) && !path.includes("manifest"),
    times: 1
  }
  return Effect.as(Faults.use((_) => _.add(rule)), rule)
}

/** Lets other fibers run until `check`, while the clock stands still. */
const until = (what: string, check: () => boolean) =>
  Effect.gen(function*() {
    for (let turn = 0; !check(); turn++) {
      if (turn === 10_000) return yield* Effect.die(`waited in vain for ${what}`)
      yield* Effect.promise(() => new Promise(setImmediate))
    }
  })

/** Lets hanging writes go on at the end, since the services wait for them when they stop. */
const cleared = Effect.ensuring(Faults.use((_) => _.clear))

const hasEnded = ({ state }: Job): boolean => state !== "waiting" && state !== "running"

describe("warming a file", () => {
  it.effect("ends when its own chunks are written, although a write of another file hangs", () =>
    Effect.gen(function*() {
      const warmer = yield* Warmer
      const writer = yield* ChunkWriter
      const index = yield* CacheIndex
      const faults = yield* Faults
      yield* ticking(IndexScan.use((_) => _.loaded))
      for (const name of ["first", "stuck", "film"]) yield* put(name)
      // What is offered during the first write gets into one group.
      const first = yield* hang("first")
      yield* hang("stuck")
      yield* view(resourceOf("first").url)
      yield* until("the first write", () => faults.strikes()[0]! > 0)
      yield* view(resourceOf("stuck").url)
      const { id } = warmer.add("/film", resourceOf("film"))!
      yield* until("the film", () => warmer.job(id)?.bytes === SIZE)
      assert.strictEqual(warmer.job(id)?.state, "running")
      yield* faults.lift(first)
      yield* until("the job", () => hasEnded(warmer.job(id)!))
      assert.deepInclude(warmer.job(id), { state: "done", bytes: SIZE, error: undefined })
      assert.isTrue(index.hasResource(resourceOf("film").id))
      assert.isAbove(faults.strikes()[1]!, 0)
      assert.isAbove(writer.backlog().bytes, 0)
      assert.isUndefined((yield* DiskBreaker).unwritable())
    }).pipe(cleared, Effect.provide(stack("faulty"))))

  it.effect("fails when its own writes hang", () =>
    Effect.gen(function*() {
      const warmer = yield* Warmer
      yield* put("film")
      yield* Faults.use((_) => _.add({ operation: "write", fault: "hang" }))
      const { id } = warmer.add("/film", resourceOf("film"))!
      yield* ticking(Effect.sleep("20 seconds"))
      assert.deepInclude(warmer.job(id), { state: "failed", bytes: SIZE })
      assert.match(warmer.job(id)?.error ?? "", /the cache can't be written to/)
    }).pipe(cleared, Effect.provide(stack("faulty"))))
})
