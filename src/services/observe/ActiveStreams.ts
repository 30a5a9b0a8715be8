import { Clock, Context, Effect, Layer, type Scope } from "effect"
import { atEnd } from "../../effects/withoutServices.ts"
import { type ByteSource, Counters } from "./Counters.ts"
import { WorkerUsage } from "./WorkerUsage.ts"

/** A body to be sent: the bytes from `start` up to `end`, out of `size`. */
interface Begun {
  readonly url: string
  /** The identifier of the resource. */
  readonly resource: string
  readonly start: number
  readonly end: number
  readonly size: number
  /** The address of the viewer. */
  readonly viewer?: string | undefined
}

/** A body that is being sent. */
export interface Running extends Begun {
  readonly id: string
  /** The offset of the next byte. */
  readonly position: number
  readonly source: ByteSource
  /** Averaged over the last 5 to 10 seconds: players fetch in bursts. */
  readonly bytesPerSecond: number
  /** Milliseconds since 1970. */
  readonly startedAt: number
  /** Why it bypasses the cache, such as `DISK_FULL`. */
  readonly detail: string | undefined
}

/** Called with the source and the length of each piece of a body, and why it bypasses the cache, in the context where the body began. */
export class SourceListener extends Context.Reference<
  ((source: ByteSource, bytes: number, detail: string | undefined) => void) | undefined
>(
  "spillway/services/observe/ActiveStreams/SourceListener",
  { defaultValue: () => undefined }
) {}

/** Through which a stream reports its progress. Synchronous. */
export interface Progress {
  /** Reports bytes that are sent to the viewer. */
  readonly advance: (bytes: number, source: ByteSource, detail?: string) => void
}

/**
 * The bodies that are being sent, with their progress and the source of their bytes. Responses from memory alone are not listed, because
 * they end at once. Reported bytes are counted in `Counters`.
 */
export class ActiveStreams extends Context.Service<ActiveStreams, {
  /** Lists a stream until the scope closes. */
  readonly begin: (stream: Begun) => Effect.Effect<Progress, never, Scope.Scope>
  /** The oldest first, then those of `WorkerUsage`; at most `MAX_LISTED` in all. */
  readonly streams: () => ReadonlyArray<Running>
  /** How many there are, whether listed or not. */
  readonly count: () => number
}>()("spillway/services/observe/ActiveStreams") {
  static readonly layer: Layer.Layer<ActiveStreams, never, Counters> = Layer.effect(
    ActiveStreams,
    Effect.suspend(() => make)
  )
}

/** How many streams are listed. All are counted. */
const MAX_LISTED = 1000

/** A rate is measured since a position of at least this age and at most twice this age, in milliseconds. */
const RATE_MILLIS = 5000

/** No rate is measured over less than this, in milliseconds. */
const MIN_RATE_MILLIS = 500

/** A position, and when it was reached. */
interface Mark {
  readonly position: number
  readonly at: number
}

interface Entry {
  readonly id: string
  readonly stream: Begun
  readonly startedAt: number
  position: number
  source: ByteSource
  detail: string | undefined
  /** The rate is measured since the first mark. The second will replace it. */
  marks: readonly [Mark, Mark]
}

const make = Effect.gen(function*() {
  const counters = yield* Counters
  const clock = yield* Clock.Clock
  const workerUsage = yield* WorkerUsage
  const entries = new Set<Entry>()
  let ids = 0

  const rateOf = (entry: Entry, now: number): number => {
    const { marks: [, last], position } = entry
    if (now - last.at >= RATE_MILLIS) entry.marks = [last, { position, at: now }]
    const [since] = entry.marks
    const millis = now - since.at
    return millis < MIN_RATE_MILLIS ? 0 : Math.round((position - since.position) / millis * 1000)
  }

  const running = (entry: Entry, now: number): Running => {
    const { detail, id, position, source, startedAt, stream } = entry
    return { ...stream, id, position, source, bytesPerSecond: rateOf(entry, now), startedAt, detail }
  }

  const enter = (stream: Begun): Entry => {
    const now = clock.currentTimeMillisUnsafe()
    const begin = { position: stream.start, at: now }
    const entry: Entry = {
      id: String(++ids),
      stream,
      startedAt: now,
      position: stream.start,
      source: "origin",
      detail: undefined,
      marks: [begin, begin]
    }
    entries.add(entry)
    return entry
  }

  return ActiveStreams.of({
    begin: (stream) =>
      Effect.uninterruptible(Effect.suspend(() => {
        const entry = enter(stream)
        return Effect.as(atEnd(() => void entries.delete(entry)), entry)
      })).pipe(Effect.zipWith(SourceListener, (entry, listener) => ({
        advance: (bytes, source, detail) => {
          entry.position += bytes
          entry.source = source
          entry.detail = detail
          listener?.(source, bytes, detail)
          counters.bytes(source, bytes)
        }
      }))),
    streams: () => {
      const now = clock.currentTimeMillisUnsafe()
      const listed: Array<Running> = []
      for (const entry of entries) {
        if (listed.length >= MAX_LISTED) break
        listed.push(running(entry, now))
      }
      return [...listed, ...workerUsage().streams.slice(0, MAX_LISTED - listed.length)]
    },
    count: () => entries.size + workerUsage().streams.length
  })
})
