import { Clock, Effect, Exit, Scope } from "effect"
import { otherRange, rangeField, startOf, type Wanted } from "../../domain/FirstRange.ts"
import { type OriginError, retryAfterMillis } from "../../domain/OriginError.ts"
import {
  acceptSame,
  carriedRange,
  compare,
  isConfirmedBy,
  type OriginHead,
  type Representation,
  validation
} from "../../domain/Representation.ts"
import { type ByteRange, formatSpec, type RangeSpec } from "../../domain/rfc/ByteRange.ts"
import { type AcceptedCodings, isCoded } from "../../domain/rfc/ContentCoding.ts"
import type { Times } from "../../domain/rfc/Freshness.ts"
import { type AskOrigin, makeAskOrigin, type Question, type Source } from "./askOrigin.ts"
import type { FailedOrigins } from "./FailedOrigins.ts"
import type { OriginResponse } from "./Origin.ts"
import { mayRetry, pause } from "./retry.ts"

/** How often a request is repeated after a timeout, which has taken long already. */
const RETRIES_AFTER_TIMEOUT = 1

/**
 * Whether to give up after a timeout. A response that does not begin may wait for an event (a long poll), and a retry would start a second
 * one. That can't be so if the file `isKnown`.
 */
const isLate = (error: OriginError, failures: number, isKnown: boolean): boolean =>
  error._tag === "OriginTimeout" && failures > (error.phase === "header" && !isKnown ? 0 : RETRIES_AFTER_TIMEOUT)

/** How long a viewer waits when the origin sends `Retry-After`, in milliseconds. If that is longer, the viewer gets the response. */
const MAX_RETRY_AFTER_MILLIS = 2000

/** A response of the origin, and when it was requested and received. */
export interface FirstResponse {
  readonly response: OriginResponse
  /** Ends the transfer of a body that isn't needed. */
  readonly discard: Effect.Effect<void>
  readonly times: Times
  /** The known representation that a 304 confirms. */
  readonly confirmed?: Representation
}

/**
 * Makes the function that requests a resource. With `isPatient`, nothing else can be served, so transient failures are retried. If the origin
 * refuses or misreads a range, it is requested once more in another form.
 */
const makePatient = (askOrigin: AskOrigin) =>
  Effect.fnUntraced(
    function*(
      source: Source,
      question: Question,
      { isKnown, isPatient }: { readonly isPatient: boolean; readonly isKnown: boolean },
      wanted?: Wanted
    ): Effect.fn.Return<FirstResponse, OriginError, Scope.Scope> {
      const clock = yield* Clock.Clock
      const now = () => clock.currentTimeMillisUnsafe()
      let range = wanted === undefined ? undefined : rangeField(wanted)
      let hasChangedRange = false
      let failures = 1
      while (true) {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const requested = now()
        const headers = range === undefined ? question.headers : { ...question.headers, range }
        const isHedgeable = isKnown && question.background !== true
        const asked = askOrigin(source, { ...question, headers, isHedgeable })
        const outcome = yield* Effect.result(Scope.provide(asked, scope))
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

/** What the first request is for. */
interface About {
  readonly method: "GET" | "HEAD"
  /** The content codings that the viewer accepts. A coded representation that is known is requested in its own. */
  readonly accepted: AcceptedCodings
  /** The range; the whole file if omitted. */
  readonly wanted?: Wanted | undefined
  /** The viewer's `If-Range`. */
  readonly ifRange?: string | undefined
  readonly known: Representation | undefined
  /** Whether the origin may confirm the known representation with a 304 instead of sending it. */
  readonly conditional: boolean
  readonly background?: boolean
  /** The origins of the route that are asked last, because they have just failed. */
  readonly avoid: FailedOrigins
}

/**
 * Makes the function that sends the first request for a resource, or revalidates a known representation. With `isPatient`, nothing else
 * can be served, so transient failures are retried.
 */
export const makeFirstResponse = Effect.map(makeAskOrigin, (askOrigin) => {
  const ask = makePatient(askOrigin)
  return Effect.fnUntraced(function*(
    source: Source,
    { accepted, avoid, background = false, conditional, ifRange, known, method, wanted }: About,
    isPatient: boolean
  ) {
    // Only files are requested in ranges.
    const how = { isPatient, isKnown: known !== undefined || wanted !== undefined }
    // Once a version is known, the viewer's validator is compared with it.
    const isTied = known === undefined && wanted !== undefined && ifRange !== undefined
    const isOfCoding = known !== undefined && isCoded(known.headers)
    const coding = isOfCoding ? acceptSame(known) : { "accept-encoding": accepted.field }
    const headers = { ...coding, ...(isTied && { "if-range": ifRange }) }
    const plain = { method, headers, background, avoid: avoid.inOrder() }
    const question = known === undefined ? plain : { ...plain, headers: { ...coding, ...validation(known) } }
    const first = yield* ask(source, conditional ? question : plain, how, wanted)
    if (known === undefined) return first
    const { response } = first
    // The version of a part without a validator is unknown, so the whole file is revalidated.
    const isBlank = response.status === 206 && compare(known, response) === "Unknown"
    if (!isBlank && !(conditional && response.status === 304)) return first
    if (isBlank) yield* first.discard
    const about = isBlank ? yield* ask(source, question, how) : first
    if (about.response.status !== 304) return about
    if (isConfirmedBy(known, about.response.headers)) return { ...about, confirmed: known }
    // It confirms another version than the known one.
    yield* about.discard
    return yield* ask(source, plain, how, wanted)
  })
})

/**
 * The bytes of a representation of `size` bytes that a response carries. `undefined` if it does not say, or if they are not the requested
 * ones.
 */
export const carriedBytes = (
  head: OriginHead,
  size: number,
  wanted: RangeSpec | undefined
): ByteRange | undefined => {
  if (head.status !== 206) return { start: 0, end: size }
  const range = carriedRange(head)?.range
  return range?.start === (wanted === undefined ? 0 : startOf(wanted, size)) ? range : undefined
}
