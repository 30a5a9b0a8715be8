import { Effect, Layer } from "effect"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { Evictor } from "./Evictor.ts"

/**
 * Probes the disk in the background, so that caching resumes when the disk recovers. A disk that works is not enough: as long as the
 * store can't be listed or nothing makes room for a chunk, every write would fail again.
 */
export const layer: Layer.Layer<never, never, DiskBreaker | CacheIndex | Evictor> = Layer.effectDiscard(
  Effect.gen(function*() {
    const breaker = yield* DiskBreaker
    const evictor = yield* Evictor
    const index = yield* CacheIndex
    yield* breaker.keepProbing(() => index.unreadable() ?? evictor.shortage())
  })
)
