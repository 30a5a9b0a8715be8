import { Effect, Layer } from "effect"
import { keepRunning } from "../../effects/keepRunning.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { ChunkCache } from "./ChunkCache.ts"
import { IndexScan } from "./IndexScan.ts"

/** The pause after each chunk that is read. */
const PAUSE = "2 seconds"

/** Reads the whole cache again and again, slowly, one chunk at a time, and drops damaged chunks before a viewer needs them. */
export const layer: Layer.Layer<never, never, DiskBreaker | CacheIndex | ChunkCache | ChunkStore | IndexScan> = Layer
  .effectDiscard(
    Effect.gen(function*() {
      const cache = yield* ChunkCache
      const breaker = yield* DiskBreaker
      const index = yield* CacheIndex
      const scan = yield* IndexScan
      const store = yield* ChunkStore

      const scrub = (key: Parameters<typeof store.verify>[0]) =>
        Effect.suspend(() => breaker.unwritable() === undefined && index.has(key) ? store.verify(key) : Effect.void)
          .pipe(
            Effect.catch((error) => cache.failed(key, error)),
            Effect.andThen(Effect.sleep(PAUSE))
          )

      yield* scan.loaded.pipe(
        Effect.andThen(Effect.suspend(() => Effect.forEach(index.keys(), scrub, { discard: true }))),
        Effect.andThen(Effect.sleep(PAUSE)),
        keepRunning("Scrubber")
      )
    })
  )
