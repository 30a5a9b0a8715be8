import { Clock, Effect, Exit, Scope } from "effect"
import { otherRange, rangeField, startOf, type Wanted } from "../../domain/FirstRange.ts"
import { type OriginError, retryAfterMillis } from "../../domain/OriginError.ts"
import {
  carriedRange,
  compare,
  isConfirmedBy,
  type OriginHead,
  type Representation,
  validation
} from "../../domain/Representation.ts"
import { type ByteRange, formatSpec, type RangeSpec } from "../../domain/rfc/ByteRange.ts"
import type { Times } from "../../domain/rfc/Freshness.ts"
import { type AskOrigin, makeAskOrigin, type Question, type Source } from "./askOrigin.ts"
import type { OriginResponse } from "./Origin.ts"
import { mayRetry, pause } from "./retry.ts"

/** How often the origin is asked again after it let a time-out pass, which is long already. */
const RETRIES_AFTER_TIMEOUT = 1

/**
 * Whether a time-out is returned at once. An answer that does not begin may be one that waits for something to happen (a long poll),
 * and asking twice would take two of those; a file that `isKnown` isn't one.
 */
const isLate = (error: OriginError, failures: number, isKnown: boolean): boolean =>
  error._tag === "OriginTimeout" && failures > (error.phase === "header" && !isKnown ? 0 : RETRIES_AFTER_TIMEOUT)

/** How long a viewer is kept waiting for an origin that asks to come again later, in milliseconds; otherwise it gets that answer. */
const MAX_RETRY_AFTER_MILLIS = 2000

/** An answer of the origin, and when it was requested and came. */
export interface Answered {
  readonly response: OriginResponse
  /** Ends the transfer of a body that nobody needs. */
  readonly discard: Effect.Effect<void>
  readonly times: Times
  /** The known representation that a 304 confirms. */
  readonly confirmed?: Representation
}

/**
 * The answer to a request. With `isPatient`, nothing else is at hand, so transient failures are retried. A range that the origin
 * refuses or misreads is requested once more in another way.
 */
const makePatient = (askOrigin: AskOrigin) =>
  Effect.fnUntraced(
    function*(
      source: Source,
      question: Question,
      { isKnown, isPatient }: { readonly isPatient: boolean; readonly isKnown: boolean },
      wanted?: Wanted
    ): Effect.fn.Return<Answered, OriginError, Scope.Scope> {
      const clock = yield* Clock.Clock
      const now = () => clock.currentTimeMillisUnsafe()
      let range = wanted === undefined ? undefined : rangeField(wanted)
      let hasChangedRange = false
      let failures = 1
      while (true) {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const requested = now()
        const headers = range === undefined ? question.headers : { ...question.headers, range }
        const outcome = yield* Effect.result(Scope.provide(askOrigin(source, { ...question, headers }), scope))
        if (outcome._tag === "Success") {
          const response = outcome.success
          const other = range === undefined || wanted === undefined || hasChangedRange
            ? undefined
            : otherRange(range, wanted, response)
          if (other !== undefined) {
            hasChangedRange = true
            range = other
            yield* Scope.close(scope, Exit.void)
            continue
          }
          const isBusy = response.status === 429 || response.status === 503
          const wait = isBusy ? retryAfterMillis(response.headers, now()) : undefined
          if (!isPatient || wait === undefined || wait > MAX_RETRY_AFTER_MILLIS || failures > 1) {
            const discard = Scope.close(scope, Exit.void)
            return { response, discard, times: { requested, received: now() } }
          }
          yield* Scope.close(scope, Exit.void)
          yield* pause(failures++, wait)
        } else {
          const error = outcome.failure
          if (!isPatient || isLate(error, failures, isKnown) || !mayRetry(error, failures)) return yield* error
          // A server may fail because the range exceeds the file.
          if (wanted !== undefined && wanted.size === undefined) range = formatSpec(wanted.spec)
          yield* pause(failures++)
        }
      }
    }
  )

/** What a first request is about. */
export interface About {
  readonly method: "GET" | "HEAD"
  /** The range, or everything without it. */
  readonly wanted?: Wanted | undefined
  /** The validator to which the viewer ties the range. */
  readonly ifRange?: string | undefined
  readonly known: Representation | undefined
  /** Whether the origin need not send what is known. */
  readonly conditional: boolean
  readonly background?: boolean
}

/**
 * The origin's answer to the first request for a resource, or about the one that is known. With `isPatient`, nothing else is at
 * hand, so transient failures are retried.
 */
export const makeFirstResponse = Effect.map(makeAskOrigin, (askOrigin) => {
  const ask = makePatient(askOrigin)
  return Effect.fnUntraced(function*(
    source: Source,
    { background = false, conditional, ifRange, known, method, wanted }: About,
    isPatient: boolean
  ) {
    // Only files are requested in ranges.
    const how = { isPatient, isKnown: known !== undefined || wanted !== undefined }
    // Once a version is known, the viewer's validator is compared with it.
    const isTied = known === undefined && wanted !== undefined && ifRange !== undefined
    const plain = { method, headers: isTied ? { "if-range": ifRange } : {}, background }
    const question = known === undefined ? plain : { ...plain, headers: validation(known) }
    const answered = yield* ask(source, conditional ? question : plain, how, wanted)
    if (known === undefined) return answered
    const { response } = answered
    // A part without the validator does not tell its version, so the origin is asked about the whole.
    const isBlank = response.status === 206 && compare(known, response) === "Unknown"
    if (!isBlank && !(conditional && response.status === 304)) return answered
    if (isBlank) yield* answered.discard
    const about = isBlank ? yield* ask(source, question, how) : answered
    if (about.response.status !== 304) return about
    if (isConfirmedBy(known, about.response.headers)) return { ...about, confirmed: known }
    // It confirms some other version than the known one.
    yield* about.discard
    return yield* ask(source, plain, how, wanted)
  })
})

/**
 * The bytes that a 200 or 206 carries of a representation of `size` bytes. `undefined` if it does not say, or if they are not the
 * wanted ones.
 */
export const carriedBytes = (
  head: OriginHead,
  size: number,
  wanted: RangeSpec | undefined
): ByteRange | undefined => {
  if (head.status === 200) return { start: 0, end: size }
  const range = carriedRange(head)?.range
  return range?.start === (wanted === undefined ? 0 : startOf(wanted, size)) ? range : undefined
}
