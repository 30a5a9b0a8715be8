import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { type CacheError, fromErrno } from "../../../../src/domain/CacheError.ts"
import { Evictor } from "../../../../src/services/cache/Evictor.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import * as recovery from "../../../../src/services/cache/recovery.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"

const unreadable = fromErrno("EIO", "readdir", "/cache/v1")
const full = fromErrno("ENOSPC", "reserve", "/cache")

const rows: ReadonlyArray<readonly [string, CacheError | undefined, CacheError | undefined, CacheError | undefined]> = [
  ["succeed when the store was listed and has room", undefined, undefined, undefined],
  ["fail while the store can't be listed", unreadable, undefined, unreadable],
  ["fail while nothing makes room", undefined, full, full],
  ["fail with what can't be listed first", unreadable, full, unreadable]
]

describe("probes of the cache's disk", () => {
  it.effect.each(rows)("%s", ([, unlisted, shortage, expected]) =>
    Effect.gen(function*() {
      let unmet: (() => CacheError | undefined) | undefined
      const keepProbing = (condition: () => CacheError | undefined) => Effect.sync(() => void (unmet = condition))
      yield* Layer.build(recovery.layer).pipe(Effect.provide(Layer.mergeAll(
        Layer.succeed(DiskBreaker, { keepProbing } as unknown as DiskBreaker["Service"]),
        Layer.succeed(IndexScan, { unreadable: () => unlisted } as IndexScan["Service"]),
        Layer.succeed(Evictor, { shortage: () => shortage } as Evictor["Service"])
      )))
      assert.isDefined(unmet)
      assert.strictEqual(unmet(), expected)
    }))
})
