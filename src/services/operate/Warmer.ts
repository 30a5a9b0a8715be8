import { Clock, Context, Effect, Fiber, FiberSet, Layer } from "effect"
import type { Resource } from "../../domain/Resource.ts"
import type { CacheIndex } from "../cache/CacheIndex.ts"
import type { ChunkCache } from "../cache/ChunkCache.ts"
import type { ChunkWriter } from "../cache/ChunkWriter.ts"
import type { IndexScan } from "../cache/IndexScan.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import type { OriginConfig } from "../config/OriginConfig.ts"
import type { DiskBreaker } from "../disk/DiskBreaker.ts"
import type { MediaStream } from "../media/MediaStream.ts"
import type { Origin } from "../origin/Origin.ts"
import type { OriginResolver } from "../origin/OriginResolver.ts"
import { makeAddressing } from "./addressing.ts"
import { type FileCounts, PresentationProgress } from "./PresentationProgress.ts"
import { NotWarmed, WarmProgress } from "./warmFile.ts"
import { makeWarmPresentation } from "./warmPresentation.ts"

/** A presentation that is fetched ahead. Sizes are in bytes. */
export interface Job {
  readonly id: string
  readonly url: string
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled"
  /** The numbers of files of a playlist, as far as they are known. */
  readonly files: FileCounts | undefined
  /** `undefined` for a playlist, too. */
  readonly size: number | undefined
  /** How much is cached by now, and how much was cached before. */
  readonly bytes: number
  readonly cachedBytes: number
  /** The rate at which missing bytes are fetched. */
  readonly bytesPerSecond: number
  readonly secondsLeft: number | undefined
  readonly error: string | undefined
}

/**
 * Fetches files ahead, and what playlists name. Viewers' requests to the origin go first, and the disk gets time to write. Chunks that are on disk are not
 * fetched again, so a new job continues where an interrupted one stopped.
 */
export class Warmer extends Context.Service<Warmer, {
  /** The unfinished job for `resource`, which `text` names, or a new one; `undefined` if too many wait. */
  readonly add: (text: string, resource: Resource) => Job | undefined
  /** All unfinished jobs and the latest finished ones, in the order in which they were added. */
  readonly jobs: () => ReadonlyArray<Job>
  readonly job: (id: string) => Job | undefined
  /** Stops a job, unless it has ended. What has been fetched stays cached. */
  readonly cancel: (id: string) => Effect.Effect<Job | undefined>
}>()("spillway/services/operate/Warmer") {
  static readonly layer: Layer.Layer<
    Warmer,
    never,
    | CacheConfig
    | DiskBreaker
    | CacheIndex
    | ChunkCache
    | IndexScan
    | MediaStream
    | ChunkWriter
    | Origin
    | OriginConfig
    | OriginResolver
  > = Layer.effect(Warmer, Effect.suspend(() => make))
}

/** How many jobs run at a time, how many wait, and how many finished ones are remembered. */
export const MAX_RUNNING = 2
const MAX_WAITING = 1000
const MAX_ENDED = 100

interface State {
  readonly id: string
  readonly progress: PresentationProgress
  state: Job["state"]
  /** When it was started, and ended; milliseconds since 1970. */
  began: number
  ended: number | undefined
  error: string | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

const jobOf = ({ began, ended, error, id, progress, state }: State, now: number): Job => {
  const { bytes, cached, fetched, files, first, size } = progress
  const seconds = ((ended ?? now) - began) / 1000
  const bytesPerSecond = began === 0 || seconds <= 0 ? 0 : Math.round(fetched / seconds)
  const isRunning = state === "running" && size !== undefined && bytesPerSecond > 0
  const secondsLeft = isRunning ? Math.ceil((size - bytes) / bytesPerSecond) : undefined
  const { url } = first.resource
  return { id, url, state, files, size, bytes, cachedBytes: cached, bytesPerSecond, secondsLeft, error }
}

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const { sourceOf } = yield* makeAddressing
  const warmPresentation = yield* makeWarmPresentation
  const states = new Map<string, State>()
  const fork = yield* FiberSet.makeRuntime<never, void, never>()
  let ids = 0
  let running = 0
  let closing = false
  yield* Effect.addFinalizer(() => Effect.sync(() => closing = true))
  const now = () => clock.currentTimeMillisUnsafe()
  const snapshot = (state: State): Job => jobOf(state, now())

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
      warmPresentation(state.progress).pipe(
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

  return Warmer.of({
    add: (text, resource) => {
      const active = [...states.values()].filter((state) => state.ended === undefined)
      const known = active.find((state) => state.progress.first.resource.id === resource.id)
      if (known !== undefined) return snapshot(known)
      if (active.length >= MAX_RUNNING + MAX_WAITING) return undefined
      const id = String(++ids)
      const state: State = {
        id,
        progress: new PresentationProgress(text, new WarmProgress(resource, sourceOf(text, resource, true))),
        state: "waiting",
        began: 0,
        ended: undefined,
        error: undefined,
        fiber: undefined
      }
      states.set(id, state)
      startNext()
      return snapshot(state)
    },
    jobs: () => Array.from(states.values(), snapshot),
    job: (id) => {
      const state = states.get(id)
      return state && snapshot(state)
    },
    cancel: (id) =>
      Effect.suspend(() => {
        const state = states.get(id)
        if (state === undefined) return Effect.undefined
        if (state.ended === undefined && state.fiber !== undefined) {
          return Effect.map(Fiber.interrupt(state.fiber), () => snapshot(state))
        }
        if (state.ended === undefined) end(state, "cancelled")
        return Effect.succeed(snapshot(state))
      })
  })
})
