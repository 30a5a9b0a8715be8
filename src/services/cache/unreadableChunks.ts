import { Effect } from "effect"
import { type CacheError, isDamage, isOfOneFile } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import * as DamageReport from "../observe/damageReport.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { IndexScan } from "./IndexScan.ts"
import { WriteLock } from "./WriteLock.ts"

/** How many chunks behind a damaged one are verified at once. What has damaged one has often damaged the next ones too. */
export const VERIFIED_BEHIND = 16

/** How many of them are read at a time. */
const VERIFIED_AT_ONCE = 4

/** Makes what `ChunkCache` does about chunks that can't be read. */
export const makeUnreadable = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const scan = yield* IndexScan
  const { withWriteLock } = yield* WriteLock
  const store = yield* ChunkStore
  const reportDamage = yield* DamageReport.make
  /** Once at a time, so that the disk stays free for viewers. */
  let isVerifying = false

  // Beside the viewer's path: the removal waits for a write that is under way, after which the chunk may be new and good.
  const drop = (key: ChunkKey, error: CacheError) =>
    Effect.suspend(() => {
      const isMissing = error.errno === "ENOENT"
      index.condemn(key)
      const remove = Effect.suspend(() =>
        index.has(key)
          ? Effect.void
          : Effect.andThen(
            store.remove(key, index.isAlone(key.resource)),
            Effect.sync(() => index.remove(key))
          )
      )
      // Where one file has gone, others may have too: a directory was deleted.
      const handle = isMissing
        ? Effect.andThen(reportDamage(error), Effect.andThen(remove, scan.reconcile(key.resource)))
        : remove
      // An eviction removes the file before the entry, and a read between the two finds no damage.
      return Effect.suspend(() => index.holds(key) ? handle : Effect.void).pipe(
        withWriteLock,
        Effect.ignore,
        Effect.forkDetach,
        Effect.andThen(isMissing ? Effect.void : reportDamage(error))
      )
    })

  /** Fails unless the chunk is damaged. */
  const verify = Effect.fnUntraced(function*(key: ChunkKey) {
    if (!index.has(key)) return yield* Effect.fail("missing")
    const error = yield* Effect.flip(store.verify(key))
    return isDamage(error) ? yield* failed(key, error) : yield* error
  })

  /**
   * Takes note that a chunk could not be read. When that is the fault of its file, the chunk counts as missing from now on, and the file is
   * removed in the background. What may be the fault of the disk is reported.
   */
  const failed = (key: ChunkKey, error: CacheError): Effect.Effect<void> => {
    if (isDamage(error)) return drop(key, error)
    if (error._tag === "DiskBusy") return Effect.void
    const ofFile = error._tag !== "IoError" || isOfOneFile(error)
    return Effect.andThen(ofFile ? drop(key, error) : Effect.void, breaker.report(error))
  }

  /** Begins what `ChunkCache.verifyBehind` says. */
  const verifyBehind = ({ index: damaged, ...file }: ChunkKey, error: CacheError): Effect.Effect<void> =>
    Effect.suspend(() => {
      // Where files are missing, the store is listed.
      if (!isDamage(error) || error.errno === "ENOENT" || isVerifying) return Effect.void
      isVerifying = true
      const behind = Array.from({ length: VERIFIED_BEHIND }, (_, i) => ({ ...file, index: damaged + 1 + i }))
      return Effect.forEach(behind, verify, { concurrency: VERIFIED_AT_ONCE, discard: true }).pipe(
        Effect.ignore,
        Effect.ensuring(Effect.sync(() => isVerifying = false)),
        Effect.forkDetach
      )
    })

  return { failed, verifyBehind }
})
