import { Clock, Context, Effect, Fiber, FiberSet, Layer, Schema, Stream } from "effect"
import { type ChunkKey, count, span } from "../../domain/Chunk.ts"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import { ChunkWriter } from "../cache/ChunkWriter.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { bytesOnDisk } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { MediaStream, type Opened } from "../media/MediaStream.ts"
import type { Source } from "../origin/askOrigin.ts"

/** A file that is fetched ahead. Sizes are in bytes. */
export interface Job {
  readonly id: string
  readonly url: string
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled"
  readonly size: number | undefined
  /** How far it is, and how much of that was there already. */
  readonly bytes: number
  readonly cachedBytes: number
  /** Of what had to be fetched. */
  readonly bytesPerSecond: number
  readonly secondsLeft: number | undefined
  readonly error: string | undefined
}

/**
 * Fetches files ahead, as a viewer would who does not mind waiting: viewers' requests to the origin go first, and the disk is given
 * time to write. Chunks that are on the disk are not fetched again, so a new job continues one that was cut.
 */
export class Warmer extends Context.Service<Warmer, {
  /** The job for a resource, a new one unless it has one that has not ended; `undefined` where as many wait as may. */
  readonly add: (resource: Resource, source: Source) => Job | undefined
  /** All that have not ended, and those that ended last, in the order in which they were added. */
  readonly jobs: () => ReadonlyArray<Job>
  readonly job: (id: string) => Job | undefined
  /** Stops a job, unless it has ended. What was fetched stays. */
  readonly cancel: (id: string) => Effect.Effect<Job | undefined>
}>()("spillway/services/operate/Warmer") {
  static readonly layer: Layer.Layer<
    Warmer,
    never,
    CacheConfig | DiskBreaker | CacheIndex | ChunkCache | MediaStream | ChunkWriter
  > = Layer.effect(Warmer, Effect.suspend(() => make))
}

/** How many jobs run at a time, how many wait, and how many of those that have ended are remembered. */
export const MAX_RUNNING = 2
export const MAX_WAITING = 1000
export const MAX_ENDED = 100

/** The largest request, in bytes. */
const STRETCH_BYTES = 64 * 1024 ** 2

/** How often a file is gone through for chunks that could not be kept, or since it changed meanwhile. */
const MAX_PASSES = 3

/** How many chunks are checked before others get their turn. */
const LOOKS = 1024

/** How long to wait for pending writes before missing chunks are fetched again. */
const WRITE_TIMEOUT = "10 seconds"

/** How often it is looked whether the disk has caught up. */
const PACE = "50 millis"

interface State {
  readonly id: string
  readonly resource: Resource
  readonly source: Source
  state: Job["state"]
  size: number | undefined
  cached: number
  fetched: number
  /** When it began to run, and ended; milliseconds since 1970. */
  began: number
  ended: number | undefined
  error: string | undefined
  /** Whether its first chunk was there before. */
  hadFirst: boolean
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

/** Why a file cannot be fetched ahead, for people. */
class NotWarmed extends Schema.TaggedError<NotWarmed>()("NotWarmed", { message: Schema.String }) {}

const refusal = (opened: Exclude<Opened, { readonly _tag: "Media" }>): NotWarmed => {
  switch (opened._tag) {
    case "NotCached":
      return new NotWarmed({ message: "no origin may be asked: the server is offline" })
    case "Uncacheable":
      return new NotWarmed({ message: `the origin's answer cannot be kept: ${opened.reason}` })
    case "Final":
      return new NotWarmed({ message: `the origin answered ${opened.answer.status}` })
  }
}

const make = Effect.gen(function*() {
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const { maxSize } = yield* CacheConfig
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const media = yield* MediaStream
  const writer = yield* ChunkWriter
  const states = new Map<string, State>()
  const fork = yield* FiberSet.makeRuntime<never, void, never>()
  let ids = 0
  let running = 0
  let closing = false
  yield* Effect.addFinalizer(() => Effect.sync(() => closing = true))
  const now = () => clock.currentTimeMillisUnsafe()

  const keyAt = ({ id, resource }: Representation, at: number): ChunkKey => ({
    resource,
    representation: id,
    index: at
  })

  /** Whether a chunk is on the disk, or on its way; one that is in memory only is sent there. */
  const isKept = (representation: Representation, at: number): boolean => {
    const key = keyAt(representation, at)
    if (index.has(key) || writer.pending(key) !== undefined) return true
    const inMemory = cache.inMemory(key)
    if (inMemory === undefined) return false
    cache.keep(representation, key, inMemory)
    return writer.pending(key) !== undefined
  }

  /** The next bytes from chunk `from` on that are not kept, `undefined` if there are none; `skip` gets those that are. */
  const nextMissing = Effect.fnUntraced(function*(
    representation: Representation,
    from: number,
    skip: (bytes: number) => void
  ) {
    const { chunkSize, size } = representation
    const chunks = count(size, chunkSize)
    let first = from
    for (; first < chunks && isKept(representation, first); first++) {
      const { end, start } = span(first, chunkSize, size)
      skip(end - start)
      if (first % LOOKS === 0) yield* Effect.yieldNow
    }
    if (first >= chunks) return undefined
    let end = first + 1
    while (end < chunks && (end - first) * chunkSize < STRETCH_BYTES && !isKept(representation, end)) end++
    return { start: first * chunkSize, end: Math.min(end * chunkSize, size) }
  })

  const usable = Effect.suspend(() => {
    const failure = breaker.unwritable()
    return failure === undefined
      ? Effect.void
      : Effect.fail(new NotWarmed({ message: `nothing can be kept: ${failure.message}` }))
  })

  /** The origin may be faster than the disk, which would then drop chunks. */
  const pace = Effect.andThen(
    usable,
    Effect.suspend(() => writer.isBehind() ? Effect.as(Effect.sleep(PACE), true) : Effect.succeed(false))
  ).pipe(Effect.repeat({ while: (isBehind) => isBehind }))

  /** Fetches a range as a viewer would, and returns what it turned out to be of. */
  const fetch = Effect.fnUntraced(function*(
    { resource, source }: State,
    { end, start }: ByteRange,
    each: (bytes: number) => void
  ) {
    const opened = yield* media.open({ resource, source, ranges: [{ _tag: "From", start, last: end - 1 }] })
    if (opened._tag !== "Media") return yield* refusal(opened)
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

  /** Goes through the file once; `false` where it is another one by then. What is fetched for the second time is not counted. */
  const pass = Effect.fnUntraced(function*(state: State, representation: Representation, isFirst: boolean) {
    const skip = (bytes: number): void => {
      // The first chunk was fetched to learn what the file is.
      if (state.cached + state.fetched === 0 && !state.hadFirst) state.fetched += bytes
      else if (isFirst) state.cached += bytes
    }
    let missing = yield* nextMissing(representation, 0, skip)
    while (missing !== undefined) {
      yield* pace
      const found = yield* fetch(state, missing, (bytes) => {
        if (isFirst) state.fetched += bytes
      })
      if (found.entry.representation.id !== representation.id) return false
      missing = yield* nextMissing(representation, Math.ceil(missing.end / representation.chunkSize), skip)
    }
    return true
  })

  const isWhole = Effect.fnUntraced(function*(representation: Representation) {
    for (let at = 0; at < count(representation.size, representation.chunkSize); at++) {
      if (!index.has(keyAt(representation, at))) return false
      if (at % LOOKS === 0) yield* Effect.yieldNow
    }
    return true
  })

  const work = Effect.fnUntraced(function*(state: State): Effect.fn.Return<void, NotWarmed | OriginError> {
    yield* index.loaded
    yield* usable
    let before: string | undefined
    for (let passes = 0; passes < MAX_PASSES; passes++) {
      const { entry: { representation }, means, status } = yield* fetch(state, { start: 0, end: 1 }, () => {})
      if (bytesOnDisk(representation.size) > maxSize) {
        return yield* new NotWarmed({ message: "the file is larger than the cache may be" })
      }
      const isFirst = representation.id !== before
      before = representation.id
      if (isFirst) {
        state.size = representation.size
        state.cached = 0
        state.fetched = 0
        state.hadFirst = means !== "fetched" && status.fwd !== "miss" && status.fwd !== "bypass"
      }
      const isSame = yield* pass(state, representation, isFirst)
      yield* Effect.ignore(Effect.timeout(writer.idle, WRITE_TIMEOUT))
      yield* usable
      if (isSame && (yield* isWhole(representation))) return
    }
    return yield* new NotWarmed({ message: "not all of it could be kept: is the cache too small?" })
  })

  const end = (state: State, outcome: Job["state"], error?: string): void => {
    state.state = outcome
    state.error = error
    state.ended = now()
    state.fiber = undefined
    const ended = [...states.values()].filter((other) => other.ended !== undefined)
    for (const { id } of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) states.delete(id)
  }

  const start = (state: State): void => {
    state.state = "running"
    state.began = now()
    running += 1
    state.fiber = fork(
      work(state).pipe(
        Effect.catchDefect((defect) =>
          Effect.andThen(
            Effect.logError("Defect while fetching ahead", defect),
            Effect.fail(new NotWarmed({ message: "internal error" }))
          )
        ),
        Effect.matchEffect({
          onSuccess: () => Effect.sync(() => end(state, "done")),
          onFailure: ({ message }) => Effect.sync(() => end(state, "failed", message))
        }),
        Effect.onInterrupt(() => Effect.sync(() => end(state, "cancelled"))),
        Effect.ensuring(Effect.sync(() => {
          running -= 1
          startNext()
        }))
      )
    )
  }

  const startNext = (): void => {
    for (const state of states.values()) {
      if (closing || running >= MAX_RUNNING) return
      if (state.state === "waiting") start(state)
    }
  }

  const told = ({ began, cached, ended, error, fetched, id, resource, size, state }: State): Job => {
    const seconds = ((ended ?? now()) - began) / 1000
    const bytesPerSecond = began === 0 || seconds <= 0 ? 0 : Math.round(fetched / seconds)
    const bytes = Math.min(cached + fetched, size ?? Infinity)
    const isRunning = state === "running" && size !== undefined && bytesPerSecond > 0
    const secondsLeft = isRunning ? Math.ceil((size - bytes) / bytesPerSecond) : undefined
    return { id, url: resource.url, state, size, bytes, cachedBytes: cached, bytesPerSecond, secondsLeft, error }
  }

  return Warmer.of({
    add: (resource, source) => {
      const active = [...states.values()].filter((state) => state.ended === undefined)
      const known = active.find((state) => state.resource.id === resource.id)
      if (known !== undefined) return told(known)
      if (active.length >= MAX_RUNNING + MAX_WAITING) return undefined
      const id = String(++ids)
      const state: State = {
        id,
        resource,
        source,
        state: "waiting",
        size: undefined,
        cached: 0,
        fetched: 0,
        began: 0,
        ended: undefined,
        error: undefined,
        hadFirst: false,
        fiber: undefined
      }
      states.set(id, state)
      startNext()
      return told(state)
    },
    jobs: () => Array.from(states.values(), told),
    job: (id) => {
      const state = states.get(id)
      return state && told(state)
    },
    cancel: (id) =>
      Effect.suspend(() => {
        const state = states.get(id)
        if (state === undefined) return Effect.undefined
        if (state.ended === undefined && state.fiber !== undefined) {
          return Effect.map(Fiber.interrupt(state.fiber), () => told(state))
        }
        if (state.ended === undefined) end(state, "cancelled")
        return Effect.succeed(told(state))
      })
  })
})
