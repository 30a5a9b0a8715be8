import { type Cause, Effect, Queue, type Scope, Stream } from "effect"
import type { OriginError } from "../domain/OriginError.ts"
import type { ByteSource } from "../services/observe/Counters.ts"

/**
 * The position of an opened stream, and the source of its bytes at the moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenEvent {
  /** The offset in the file of the next byte. */
  readonly position: number
  /** `passthrough` is the origin of a response that is uncacheable, or while nothing can be cached. */
  readonly source: ByteSource
  /** Why the bytes bypass the cache, such as `DISK_FULL`. */
  readonly detail: string | undefined
}

/** How many events wait for who reads them. Older ones are dropped. */
const MAX_EVENTS = 16

/** There is an event whenever the source changes, and after so many bytes. */
const EVENT_BYTES = 1024 ** 2

/** What reports to the events of one stream. */
export interface OpenEvents {
  readonly events: Stream.Stream<OpenEvent>
  /** Counts bytes of the stream. */
  readonly report: (source: ByteSource, bytes: number, detail?: string) => void
  /** Counts the bytes of `stream`, which all come from `source`. */
  readonly counted: (
    stream: Stream.Stream<Uint8Array, OriginError>,
    source: ByteSource,
    detail?: string
  ) => Stream.Stream<Uint8Array, OriginError>
  /** `stream`, which begins at the offset `start`. Its end is that of the events. */
  readonly until: (
    stream: Stream.Stream<Uint8Array, OriginError>,
    start: number
  ) => Stream.Stream<Uint8Array, OriginError>
}

/** Makes the events of one stream. They end with it, and with the scope. */
export const makeOpenEvents: Effect.Effect<OpenEvents, never, Scope.Scope> = Effect.gen(function*() {
  const queue = yield* Queue.sliding<OpenEvent, Cause.Done>(MAX_EVENTS)
  let start: number | undefined
  let bytes = 0
  let last: Omit<OpenEvent, "position"> | undefined
  let told: (OpenEvent & { readonly bytes: number }) | undefined

  const tell = (): void => {
    if (start === undefined || last === undefined) return
    told = { ...last, bytes, position: start + bytes }
    const { bytes: _, ...event } = told
    Queue.offerUnsafe(queue, event)
  }

  const report = (source: ByteSource, more: number, detail?: string): void => {
    bytes += more
    last = { source, detail }
    if (told?.source !== source || told.detail !== detail || bytes - told.bytes >= EVENT_BYTES) tell()
  }

  const end = Effect.suspend(() => {
    if (told?.bytes !== bytes) tell()
    return Queue.end(queue)
  })
  yield* Effect.addFinalizer(() => end)

  return {
    events: Stream.fromQueue(queue),
    report,
    counted: (stream, source, detail) =>
      Stream.map(stream, (piece) => {
        report(source, piece.length, detail)
        return piece
      }),
    until: (stream, from) => {
      start = from
      tell()
      return Stream.ensuring(stream, end)
    }
  }
})
