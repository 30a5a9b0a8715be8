import { Effect, Layer } from "effect"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Evictor } from "./Evictor.ts"
import { IndexScan } from "./IndexScan.ts"

/**
 * Probes the disk in the background, so that caching resumes when the disk recovers. A disk that works is not enough: as long as the
 * store can't be listed or nothing makes room for a chunk, every write would fail again.
 */
export const layer: Layer.Layer<never, never, DiskBreaker | Evictor | IndexScan> = Layer.effectDiscard(
  Effect.gen(function*() {
    const breaker = yield* DiskBreaker
    const evictor = yield* Evictor
    const scan = yield* IndexScan
    yield* breaker.keepProbing(() => scan.unreadable() ?? evictor.shortage())
  })
)
