import { Context, Effect, Exit, Layer, type Scope } from "effect"
import { indexAt, roundUp } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { atEnd } from "../../effects/withoutServices.ts"
import type { Catalog } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { ChunkMemory, type HandedPieces } from "../cache/ChunkMemory.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import type { OriginConfig } from "../config/OriginConfig.ts"
import type { Source } from "../origin/askOrigin.ts"
import type { Origin } from "../origin/Origin.ts"
import { Download } from "./Download.ts"
import type { OpenResponse } from "./fetchLoop.ts"
import { makeFillAhead } from "./fillAhead.ts"
import { Reader } from "./Reader.ts"
import { makeStartFetch } from "./startFetch.ts"

/**
 * Streams bytes from the origin to any number of viewers, in memory. A *fetch* is one origin request for a contiguous stretch of
 * missing chunks. A viewer's *reader* joins the fetch that is about to deliver its byte, or starts one at that very byte, and gets
 * bytes as they arrive. A fetch stays a bounded distance ahead of its fastest reader, stops at bytes that are cached, and ends when
 * its last reader has left, or when none has taken bytes for some seconds. If a route says so, the cache is filled further ahead
 * (`ReadAhead`). If a fetch for another viewer fails, the reader tries its
 * own. A complete chunk is handed to `ChunkCache`, once.
 *
 * A byte passes through these files: `startFetch` runs `fetchLoop`, which checks the response (`checkResponse`) and passes its bytes to
 * `assembleChunks`; that writes them into a `ChunkAssembly`, where `Reader` finds them. `chooseFetch` decides which `Fetch` a reader
 * waits for.
 */
export class Downloader extends Context.Service<Downloader, {
  /** A reader of `range`, until the scope closes. Its viewer gets its pieces through `handed`. */
  readonly read: (
    representation: Representation,
    range: ByteRange,
    source: Source,
    handed: HandedPieces
  ) => Effect.Effect<Reader, never, Scope.Scope>
  /**
   * Makes a fetch of a response that is open already and carries `range`. Until a reader joins, it goes on to the end of the chunk that
   * holds the byte at `wanted`, the one that the reader will need. `false`, and nothing is done, if a fetch is about to deliver these
   * bytes.
   */
  readonly adopt: (
    representation: Representation,
    open: OpenResponse,
    range: ByteRange,
    source: Source,
    wanted?: number
  ) => boolean
  /** Whether a reader of the byte at `offset` with this source would share a fetch, or find the byte in memory. */
  readonly isRunning: (representation: Representation, offset: number, source?: Source) => boolean
  /**
   * Whether the transfer of a `Single` representation is active, and a reader finds all bytes from `offset` on in the cache or in that
   * transfer.
   */
  readonly canFollow: (representation: Representation, offset: number, source?: Source) => boolean
}>()("spillway/services/transfer/Downloader") {
  static readonly layer: Layer.Layer<Downloader, never, CacheConfig | Catalog | ChunkCache | Origin | OriginConfig> =
    Layer.effect(
      Downloader,
      Effect.suspend(() => make)
    )
}

const make = Effect.gen(function*() {
  const cache = yield* ChunkCache
  const memory = yield* ChunkMemory
  const downloads = new Map<string, Download>()

  /** Sources that are apart share nothing with the others. */
  const keyOf = ({ id }: Representation, source: Source | undefined): string =>
    source?.isApart === true ? `${id} apart` : id

  const downloadOf = (representation: Representation, source: Source): Download => {
    const key = keyOf(representation, source)
    const known = downloads.get(key)
    if (known !== undefined) return known
    const created = new Download(representation, memory, key)
    downloads.set(key, created)
    return created
  }

  const forget = (download: Download): void => {
    if (download.isIdle) downloads.delete(download.key)
  }

  const { start, startAhead, startAt } = yield* makeStartFetch(forget)
  const fillAhead = yield* makeFillAhead(startAhead, forget)
  const supply = {
    hasChunk: (download: Download, index: number) => cache.has(download.keyOf(index)),
    startFetch: startAt
  }

  const isRunning = (representation: Representation, offset: number, source?: Source): boolean => {
    const download = downloads.get(keyOf(representation, source))
    if (download === undefined) return false
    if (download.fetches.approaching(offset).some((fetch) => fetch.isOpenTo(undefined))) return true
    const assembly = download.assemblies.get(indexAt(offset, representation.chunkSize))
    return assembly !== undefined && assembly.filledTo(offset) > offset
  }

  return Downloader.of({
    read: Effect.fnUntraced(function*(representation, range, source, handed) {
      const reader = new Reader(downloadOf(representation, source), source, range, supply, handed)
      fillAhead.begin(reader)
      yield* atEnd((exit) => {
        reader.close(Exit.isSuccess(exit))
        fillAhead.end(reader)
        forget(reader.download)
      })
      return reader
    }),
    adopt: (representation, open, range, source, wanted = range.start) => {
      if (isRunning(representation, range.start, source)) return false
      const keepUntil = roundUp(Math.max(range.start, wanted) + 1, representation.chunkSize, range.end)
      const download = downloadOf(representation, source)
      download.learnPolicy(open.response.route)
      start(download, source, range, { keepUntil, open })
      return true
    },
    isRunning,
    canFollow: (representation, offset, source) => {
      const fetch = downloads.get(keyOf(representation, source))?.fetches.activeSequential
      if (fetch === undefined) return false
      const { chunkSize } = representation
      const chunk = indexAt(fetch.position, chunkSize) * chunkSize
      return offset >= chunk || cache.hasAll(representation, { start: offset, end: chunk })
    }
  })
})
