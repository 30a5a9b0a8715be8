import { Effect, FiberSet } from "effect"
import { indexAt, span } from "../../domain/Chunk.ts"
import { isSingle, type Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { READ_AHEAD_BYTES, type RoutePolicy } from "../../domain/RoutePolicy.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import type { Download } from "./Download.ts"
import { type AheadSupply, ReadAhead } from "./ReadAhead.ts"
import type { Reader } from "./Reader.ts"

/** How many files are fetched to their ends without viewers at a time. */
const MAX_FINISHING = 8

/** Which part of the cache read-aheads for one file may fill. Else they would evict what they have brought. */
const MAX_SHARE_OF_CACHE = 0.5

/** Whether parts of it can be fetched apart and kept. */
const isInParts = (representation: Representation): boolean =>
  !isSingle(representation) && representation.ranges !== "none"

/**
 * Makes the functions that fill the cache ahead of readers as the policies of their routes say, and complete files after their last
 * readers. `forget` is called with the download when a file is complete or given up.
 */
export const makeFillAhead = Effect.fnUntraced(function*(
  startAhead: AheadSupply["startAhead"],
  forget: (download: Download) => void
) {
  const cache = yield* ChunkCache
  const maxBytes = (yield* CacheConfig).maxSize * MAX_SHARE_OF_CACHE
  const fork = yield* withoutServices(FiberSet.makeRuntime<never, void, never>())
  let finishing = 0

  /** Passes over chunks that are complete in memory, but not cached. */
  const cachedTo = (download: Download, { end, start }: ByteRange): number => {
    const { assemblies, representation } = download
    const { chunkSize, size } = representation
    let at = start
    while (at < end) {
      at = cache.endOfCached(representation, { start: at, end })
      const index = indexAt(at, chunkSize)
      if (at >= end || assemblies.get(index)?.whole === undefined) break
      at = span(index, chunkSize, size).end
    }
    return Math.min(at, end)
  }

  const supply: AheadSupply = {
    startAhead,
    cachedTo,
    hasRoomAhead: ({ representation }, offset) => cache.hasRoomAhead(representation, offset),
    after: (millis, work) => {
      const fiber = fork(Effect.andThen(Effect.sleep(millis), Effect.sync(work)))
      return () => fiber.interruptUnsafe()
    }
  }

  const attach = (reader: Reader, policy: RoutePolicy): void => {
    if (
      (policy.readAhead <= READ_AHEAD_BYTES && policy.parallel === 1) || reader.ahead !== undefined ||
      reader.source.background === true
    ) return
    reader.ahead = new ReadAhead(reader, policy, supply, maxBytes)
    reader.ahead.look()
  }

  return {
    /** A reader begins. */
    begin: (reader: Reader): void => {
      const { download, end, offset, source } = reader
      const { policy, representation } = download
      if (source.background === true || source.isApart === true || !isInParts(representation)) return
      if (cache.hasAll(representation, { start: offset, end })) return
      if (policy !== undefined) return policy === "none" ? undefined : attach(reader, policy)
      const onPolicy = (policy: RoutePolicy) => {
        for (const reader of download.readers) attach(reader, policy)
      }
      download.onPolicy = onPolicy
      // Otherwise the request for its first byte brings it.
      if (!cache.hasAll(representation, { start: offset, end: offset + 1 })) return
      fork(Effect.ignore(Effect.map(source.locate(), ({ route }) => download.learnPolicy(route))))
    },
    /** A reader has left. If it was the last one, the rest of the file is fetched if the policy says so. */
    end: ({ download, source }: Reader): void => {
      const { policy, representation } = download
      if (policy === undefined || policy === "none" || !policy.finish) return
      if (download.readers.size > 0 || download.isFinishing || finishing >= MAX_FINISHING) return
      if (!isInParts(representation) || representation.size > maxBytes) return
      download.isFinishing = true
      finishing += 1
      const onIdle = () => {
        if (!download.isFinishing) return
        download.isFinishing = false
        finishing -= 1
        ahead.close()
        forget(download)
      }
      const consumer = {
        download,
        source: { ...source, background: true, onHints: undefined },
        offset: 0,
        end: representation.size,
        isViewer: false,
        disregards: () => true,
        onIdle
      }
      const ahead = new ReadAhead(
        consumer,
        { ...policy, readAhead: Number.POSITIVE_INFINITY },
        supply,
        maxBytes
      )
      ahead.look()
    }
  }
})
