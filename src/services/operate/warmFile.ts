import { Effect, Schema, Stream } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { ChunkWriter } from "../cache/ChunkWriter.ts"
import { IndexScan } from "../cache/IndexScan.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { bytesOnDisk } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { Fleet } from "../fleet/Fleet.ts"
import { MediaStream, type Opened } from "../media/MediaStream.ts"
import type { Source } from "../origin/askOrigin.ts"
import { makeMissingChunks } from "./missingChunks.ts"

/** How often a file is gone through, because it changed or because chunks could not be written. */
const MAX_PASSES = 3

/** How long to wait for the writes of a file before its missing chunks are fetched again. */
const WRITE_TIMEOUT = "10 seconds"

/** How often to check whether the disk has caught up. */
const PACE = "50 millis"

/** A file to fetch ahead, and how far that is. Sizes are in bytes. */
export class WarmProgress {
  readonly resource: Resource
  readonly source: Source
  size: number | undefined
  /** What was cached before. */
  cached = 0
  fetched = 0
  #wasFirstCached = false

  constructor(resource: Resource, source: Source) {
    this.resource = resource
    this.source = source
  }

  /** How much is cached by now. */
  get bytes(): number {
    return Math.min(this.cached + this.fetched, this.size ?? Number.POSITIVE_INFINITY)
  }

  /** Starts again, with a representation of `size` bytes whose first chunk was cached, or has just been fetched. */
  begin(size: number, wasFirstCached: boolean): void {
    this.size = size
    this.cached = 0
    this.fetched = 0
    this.#wasFirstCached = wasFirstCached
  }

  /** Counts a chunk that is cached. Nothing is counted twice, so later passes count none. */
  skip(bytes: number, isFirstPass: boolean): void {
    if (this.cached + this.fetched === 0 && !this.#wasFirstCached) this.fetched += bytes
    else if (isFirstPass) this.cached += bytes
  }
}

/** Why a file can't be fetched ahead, for people. */
export class NotWarmed extends Schema.TaggedError<NotWarmed>()("NotWarmed", { message: Schema.String }) {}

/** The origin's response must not be stored, or can't be. */
export class NotCacheable extends Schema.TaggedError<NotCacheable>()("NotCacheable", { message: Schema.String }) {}

const refusal = (opened: Exclude<Opened, { readonly _tag: "Media" }>): NotCacheable | NotWarmed => {
  switch (opened._tag) {
    case "NotCached":
      return new NotWarmed({ message: "the server is offline and sends no requests to the origin (--offline)" })
    case "Uncacheable":
      return new NotCacheable({ message: `the origin's response is uncacheable: ${opened.reason}` })
  }
}

/**
 * Makes the function that fetches a whole file as a viewer would, but no faster than the disk can write, and keeps count in its argument.
 * It succeeds when all chunks are on disk, with the representation.
 */
export const makeWarmFile = Effect.gen(function*() {
  const { maxSize } = yield* CacheConfig
  const breaker = yield* DiskBreaker
  const isAlone = (yield* Fleet).self === undefined
  const scan = yield* IndexScan
  const media = yield* MediaStream
  const writer = yield* ChunkWriter
  const { isWhole, nextMissing } = yield* makeMissingChunks

  const writable = Effect.suspend(() => {
    const failure = breaker.unwritable()
    return failure === undefined
      ? Effect.void
      : Effect.fail(new NotWarmed({ message: `the cache can't be written to: ${failure.message}` }))
  })

  /** Waits for the disk. If the origin were faster, chunks would be dropped. */
  const pace = Effect.andThen(
    writable,
    Effect.suspend(() => writer.isBehind() ? Effect.as(Effect.sleep(PACE), true) : Effect.succeed(false))
  ).pipe(Effect.repeat({ while: (isBehind) => isBehind }))

  /** Fetches a range as a viewer would, and returns what was opened. */
  const fetch = Effect.fnUntraced(function*(
    { resource, source }: WarmProgress,
    { end, start }: ByteRange,
    each: (bytes: number) => void
  ) {
    const opened = yield* media.open({
      resource,
      source,
      ranges: [{ _tag: "From", start, last: end - 1 }],
      reuses: true
    })
    if (opened._tag !== "Media") return yield* refusal(opened)
    const { status } = opened.entry.representation
    if (status !== undefined) return yield* new NotWarmed({ message: `the origin responded with status ${status}` })
    for (const part of opened.parts) {
      const bytes = yield* part.bytes
      if (bytes instanceof Uint8Array) {
        each(bytes.length)
        continue
      }
      yield* Stream.runForEach(bytes, (piece) => {
        each(piece.length)
        return pace
      })
    }
    return opened
  }, Effect.scoped)

  /** Fetches what is missing, once. `false` if the file has changed meanwhile. */
  const pass = Effect.fnUntraced(function*(progress: WarmProgress, representation: Representation, isFirst: boolean) {
    const skip = (bytes: number) => progress.skip(bytes, isFirst)
    let missing = yield* nextMissing(representation, 0, isFirst, skip)
    while (missing !== undefined) {
      yield* pace
      const found = yield* fetch(progress, missing, (bytes) => {
        if (isFirst) progress.fetched += bytes
      })
      if (found.entry.representation.id !== representation.id) return false
      missing = yield* nextMissing(representation, Math.ceil(missing.end / representation.chunkSize), isFirst, skip)
    }
    return true
  })

  return Effect.fnUntraced(
    function*(progress: WarmProgress): Effect.fn.Return<Representation, NotCacheable | NotWarmed | OriginError> {
      yield* scan.loaded
      yield* writable
      let before: string | undefined
      for (let passes = 0; passes < MAX_PASSES; passes++) {
        const found = yield* fetch(progress, { start: 0, end: 1 }, () => {})
        // Its size is known now that all of it has come.
        if (found.isUnmeasured) continue
        const { entry: { representation }, means, status } = found
        // In a fleet, it may be spread over several disks.
        if (isAlone && bytesOnDisk(representation.size) > maxSize) {
          return yield* new NotWarmed({ message: "the file is larger than the cache: increase --max-size" })
        }
        const isFirst = representation.id !== before
        before = representation.id
        if (isFirst) {
          progress.begin(representation.size, means !== "fetched" && status.fwd !== "miss" && status.fwd !== "bypass")
        }
        const isSame = yield* pass(progress, representation, isFirst)
        yield* Effect.ignore(Effect.timeout(writer.settled(representation), WRITE_TIMEOUT))
        yield* writable
        if (isSame && (yield* isWhole(representation))) return representation
      }
      return yield* new NotWarmed({ message: "parts of the file are still not cached. Is --max-size too small?" })
    }
  )
})
