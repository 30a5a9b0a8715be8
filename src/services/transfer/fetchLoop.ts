import { Cause, Clock, Effect, Scope } from "effect"
import {
  loggable,
  OriginBodyFailed,
  type OriginError,
  OriginUnexpected,
  RepresentationChanged,
  retryAfterMillis
} from "../../domain/OriginError.ts"
import { carriedRange, compare, ifUnchanged, type OriginHead, type RangeSupport } from "../../domain/Representation.ts"
import { type ByteRange, formatRange } from "../../domain/rfc/ByteRange.ts"
import { toPull } from "../../effects/pieces.ts"
import { askOrigin } from "../origin/askOrigin.ts"
import type { Origin, OriginResponse } from "../origin/Origin.ts"
import { GRACE_MILLIS } from "../origin/OriginLimiter.ts"
import { mayRetry, pause } from "../origin/retry.ts"
import {
  answered,
  awaitDemand,
  type Download,
  type Fetch,
  isWanted,
  setBack,
  type Throttled,
  yieldPlace
} from "./Fetch.ts"

/** An answer of the origin whose body is about to be read, with the scope that holds its connection. */
export interface OpenTransfer {
  readonly response: OriginResponse
  /** How it was requested; `none` for everything. */
  readonly asked: RangeSupport
  readonly scope: Scope.Closeable
}

/** How long a stream that is running waits for an origin that asks to come again later, in milliseconds, at most. */
const MAX_RETRY_AFTER_MILLIS = 10_000

const rangesOf = ({ download }: Fetch): RangeSupport => download.representation.ranges ?? "conditional"

/** What a transfer does to fetches. */
interface Effects {
  /** Takes the bytes at the fetch's position. `false` when the fetch has met bytes that are there already. */
  readonly accept: (fetch: Fetch, bytes: Uint8Array) => boolean
  /** Has the fetch be sequential, from the first byte on if `fromStart`. */
  readonly makeSequential: (fetch: Fetch, fromStart: boolean) => void
  /** Records how the origin answers requests for ranges. */
  readonly learn: (download: Download, ranges: RangeSupport) => void
  readonly throttled: Throttled
}

/**
 * The transfer of a fetch: asks the origin, checks that the answer is of the very bytes that are missing, and has them accepted for as
 * long as they are wanted. Transient failures are tried again from the exact byte.
 */
export const makeFetchLoop = (
  origin: Origin["Service"],
  { accept, learn, makeSequential, throttled }: Effects
) => {
  /** Checks that an answer is of the wanted bytes: those that it carries, or `undefined` to ask in another way. */
  const carriedBy = (
    fetch: Fetch,
    head: OriginHead,
    asked: RangeSupport,
    now: number
  ): Effect.Effect<ByteRange | undefined, OriginError> => {
    const { representation } = fetch.download
    const { headers, status } = head
    const url = loggable(representation.url)
    if (status === 404 || status === 410 || status === 412 || status === 416) {
      return Effect.fail(new RepresentationChanged({ url, status }))
    }
    if (status !== 200 && status !== 206) {
      const retryAfter = retryAfterMillis(headers, now)
      const detail = "no body of the file"
      return Effect.fail(
        new OriginUnexpected({ url, status, detail, ...(retryAfter !== undefined && { retryAfter }) })
      )
    }
    const sameness = compare(representation, head)
    if (sameness === "Unknown" && status === 206 && asked !== "none") {
      // Without `If-Range` all fields have to come; the whole file has them in any case.
      learn(fetch.download, asked === "conditional" ? "plain" : "none")
      return Effect.succeed(undefined)
    }
    if (sameness !== "Same") return Effect.fail(new RepresentationChanged({ url, status }))
    if (status === 200) {
      const announced = headers["accept-ranges"]?.toLowerCase() === "bytes"
      // Some origins take only `If-Range` amiss, and some send everything just once although they have ranges.
      if (asked === "conditional" && rangesOf(fetch) === asked) learn(fetch.download, "plain")
      if (asked === "plain" && !announced) learn(fetch.download, "none")
      return Effect.succeed({ start: 0, end: representation.size })
    }
    const range = carriedRange(head)?.range
    return range?.start === fetch.position
      ? Effect.succeed(range)
      : Effect.fail(new OriginUnexpected({ url, status, detail: "another range than was asked for" }))
  }

  const request = (fetch: Fetch, asked: RangeSupport) => {
    const { download: { representation }, end, position } = fetch
    return askOrigin(origin, fetch.source, {
      method: "GET",
      headers: asked === "none"
        ? {}
        : { range: formatRange(position, end), ...(asked === "conditional" && ifUnchanged(representation)) },
      background: fetch.isFill
    })
  }

  /** One request, read until the fetch has what it wants: `true`. `false`: more is to be requested. */
  const transfer = Effect.fnUntraced(function*(fetch: Fetch, response: OriginResponse, asked: RangeSupport) {
    const carried = yield* carriedBy(fetch, response, asked, yield* Clock.currentTimeMillis)
    if (carried === undefined) return false
    const { end, start } = carried
    answered(fetch)
    let place = start
    if (place < fetch.position && fetch.position > 0 && !fetch.sequential) {
      // The whole file came for a range. What nobody has seen yet may as well start at its beginning, to be kept.
      makeSequential(fetch, [...fetch.viewers].every(({ offset }) => offset >= fetch.position))
    }
    if (response.slot !== undefined) {
      // Viewers have a mebibyte in hand. When the origin has no ranges, it would have to send everything again.
      response.slot.grace = fetch.sequential ? GRACE_MILLIS : 0
      response.slot.release = Effect.sync(() => yieldPlace(fetch))
    }
    const pull = yield* toPull(response.body)
    let wanted = true
    while (wanted && fetch.position < fetch.end && place < end) {
      for (const bytes of yield* pull) {
        // What comes after the announced end belongs nowhere.
        const announced = bytes.subarray(0, end - place)
        // After a retry without range support, the bytes up to the position have been seen.
        const fresh = place < fetch.position ? announced.subarray(fetch.position - place) : announced
        place += announced.length
        wanted = fresh.length === 0 || accept(fetch, fresh)
        if (!wanted) break
      }
      if (wanted && fetch.position < fetch.end && place < end && !(yield* awaitDemand(fetch, throttled))) return true
    }
    // A body that is left before its end has been seen is destroyed, with an error that is made for nobody.
    if (place === end && Number(response.headers["content-length"]) === end - start) yield* Effect.exit(pull)
    // A server may send less than was requested (RFC 9110 §15.3.7).
    return !wanted || fetch.position >= fetch.end
  })

  return Effect.fnUntraced(function*(fetch: Fetch, first: OpenTransfer | undefined) {
    const endedEarly = (cause: unknown) =>
      new OriginBodyFailed({ url: loggable(fetch.download.representation.url), offset: fetch.position, cause })
    const ask = Effect.suspend(() => {
      const asked = fetch.sequential ? "none" : rangesOf(fetch)
      return Effect.scoped(Effect.flatMap(request(fetch, asked), (response) => transfer(fetch, response, asked)))
    })
    const attempt = (opened: OpenTransfer | undefined) =>
      (opened === undefined ? ask : Effect.onExit(
        Scope.provide(transfer(fetch, opened.response, opened.asked), opened.scope),
        (exit) => Scope.close(opened.scope, exit)
      )).pipe(Effect.catchIf(Cause.isDone, () => Effect.fail(endedEarly("end of body"))))
    let opened = first
    let failures = 0
    while (true) {
      const before = fetch.position
      const outcome = yield* Effect.result(attempt(opened))
      opened = undefined
      if (outcome._tag === "Success") {
        if (outcome.success || !isWanted(fetch)) return
        failures = 0
        continue
      }
      const error = outcome.failure
      failures = fetch.position > before ? 1 : failures + 1
      if (!mayRetry(error, failures)) return yield* error
      const wait = error._tag === "OriginUnexpected" ? error.retryAfter : undefined
      // It may be the source whom the origin keeps waiting, rather than everybody.
      if (wait !== undefined || error._tag === "OriginTimeout") setBack(fetch, error)
      yield* pause(failures, Math.min(wait ?? 0, MAX_RETRY_AFTER_MILLIS))
      if (!isWanted(fetch)) return
    }
  })
}
