import { Clock, Effect, Exit, Scope, Stream } from "effect"
import { type ByteRange, formatRange, type RangeSpec, resolve } from "../domain/ByteRange.ts"
import { roundUp } from "../domain/Chunk.ts"
import { retryAfterMillis } from "../domain/OriginError.ts"
import { carriedRange, type OriginHead } from "../domain/Representation.ts"
import { askOrigin, type Question, type Source } from "./askOrigin.ts"
import type { Times } from "./Catalog.ts"
import type { Origin, OriginResponse } from "./Origin.ts"
import { mayRetry, pause } from "./retry.ts"

/** How often the origin is asked again after it let a time-out pass, which is long already. */
const RETRIES_AFTER_TIMEOUT = 1

/** How long a viewer is kept waiting for an origin that asks to come again later, in milliseconds; else it is told so. */
const MAX_RETRY_AFTER_MILLIS = 2000

/** An answer of the origin's, and when it was asked for and came. */
export interface Answered {
  readonly response: OriginResponse
  readonly times: Times
}

/**
 * The origin's answer to the first request for something, and when it was asked for and came. What fails and may pass is tried
 * again if `isPatient`: nothing else can be had.
 */
export const makeFirstAnswer = (origin: Origin["Service"]) =>
  Effect.fnUntraced(function*(source: Source, question: Question, isPatient: boolean) {
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    for (let failures = 1;; failures++) {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const requested = now()
      const outcome = yield* Effect.result(Scope.provide(askOrigin(origin, source, question), scope))
      if (outcome._tag === "Success") {
        const response = outcome.success
        const isBusy = response.status === 429 || response.status === 503
        const wait = isBusy ? retryAfterMillis(response.headers, now()) : undefined
        if (!isPatient || wait === undefined || wait > MAX_RETRY_AFTER_MILLIS || failures > 1) {
          return { response, times: { requested, received: now() } } satisfies Answered
        }
        yield* Scope.close(scope, Exit.void)
        yield* pause(failures, wait)
      } else {
        const error = outcome.failure
        const isLate = error._tag === "OriginTimeout" && failures > RETRIES_AFTER_TIMEOUT
        if (!isPatient || isLate || !mayRetry(error, failures)) return yield* error
        yield* pause(failures)
      }
    }
  })

/** The range that a first request asks for, rounded up to the end of a chunk, since whole chunks are kept. */
export const rangeField = (wanted: RangeSpec | undefined, chunkSize: number): string | undefined => {
  if (wanted === undefined) return undefined
  if (wanted._tag === "Suffix") return `bytes=-${wanted.length}`
  const end = wanted.last === undefined ? undefined : roundUp(wanted.last + 1, chunkSize, Number.MAX_SAFE_INTEGER)
  return formatRange(wanted.start, end)
}

/**
 * The bytes that a 200 or 206 carries of a representation of `size` bytes, if that is known, or `undefined` when it does not say, or
 * they are not those wanted.
 */
export const carriedBytes = (
  head: OriginHead,
  size: number | undefined,
  wanted: RangeSpec | undefined
): ByteRange | undefined => {
  if (head.status === 200) return { start: 0, end: size ?? 0 }
  const range = carriedRange(head)?.range
  if (range === undefined || size === undefined) return range
  const start = wanted === undefined ? 0 : resolve(wanted, size)?.start
  return start === range.start ? range : undefined
}

/** A body of at most `limit` bytes, or `undefined` for a longer one, of which no more is read. */
export const shortBody = <E>(
  body: Stream.Stream<Uint8Array, E>,
  limit: number
): Effect.Effect<Uint8Array | undefined, E> =>
  Effect.suspend(() => {
    const pieces: Array<Uint8Array> = []
    let length = 0
    const read = Stream.runForEachWhile(body, (piece) =>
      Effect.sync(() => {
        pieces.push(piece)
        length += piece.length
        return length <= limit
      }))
    return Effect.map(read, () => length > limit ? undefined : Buffer.concat(pieces))
  })
