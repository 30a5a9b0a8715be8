import { Cause, Clock, Effect, Metric, Scope } from "effect"
import { loggable, OriginBodyFailed, type OriginError, RepresentationChanged } from "../../domain/OriginError.ts"
import {
  acceptSame,
  ifUnchanged,
  isSingle,
  type OriginHead,
  type RangeSupport,
  Representation
} from "../../domain/Representation.ts"
import { formatRange } from "../../domain/rfc/ByteRange.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { toPull } from "../../effects/pieces.ts"
import { Catalog } from "../cache/Catalog.ts"
import { makeAskOrigin, type Question } from "../origin/askOrigin.ts"
import type { OriginResponse } from "../origin/Origin.ts"
import { GRACE_MILLIS } from "../origin/OriginLimiter.ts"
import { isLastTry, mayRetry, pauseAfter, retries } from "../origin/retry.ts"
import type { AssembleChunks } from "./assembleChunks.ts"
import { checkResponse } from "./checkResponse.ts"
import { makeIsCovered } from "./coverage.ts"
import type { Fetch } from "./Fetch.ts"
import { makeHedge } from "./hedge.ts"
import { ReceivedBytes } from "./ReceivedBytes.ts"
import type { AwaitDemand } from "./throttling.ts"

/** A response whose body is about to be read, with the scope that holds its connection. */
export interface OpenResponse {
  readonly response: OriginResponse
  /** How the bytes were requested; `none` is a request for the whole file. */
  readonly mode: RangeSupport
  readonly scope: Scope.Closeable
}

const endedEarly = ({ download, position }: Fetch): OriginBodyFailed =>
  new OriginBodyFailed({ url: loggable(download.representation.url), offset: position, cause: "end of body" })

/**
 * Compares the beginning of another response with what has arrived of a `Single` representation. Returns a function that takes the bytes
 * before the fetch's position, and says whether they are the same once all of them are there.
 */
const comparison = (received: ReceivedBytes) => {
  const repeated = new ReceivedBytes(received.start)
  return (bytes: Uint8Array): boolean => {
    repeated.add(bytes)
    return repeated.end < received.end || repeated.isSame(received)
  }
}

/** How long a fetch waits at most when the origin postpones a request with `Retry-After`, in milliseconds. */
const MAX_RETRY_AFTER_MILLIS = 10_000

/**
 * How often a request is repeated whose response is of another version. There may be several servers behind one name that name the same version
 * differently, or don't have the new one yet.
 */
const OTHER_VERSION_RETRIES = 2

const isOtherVersion = (error: OriginError): boolean =>
  error._tag === "RepresentationChanged" && (error.status === 200 || error.status === 206)

const modeOf = ({ download, sequential }: Fetch): RangeSupport =>
  sequential ? "none" : download.representation.ranges ?? "conditional"

/**
 * Makes the loop that a fetch runs: it requests the missing bytes, checks that the response has them, and passes them to
 * `assembleChunks` for as long as they are wanted. Transient failures are retried from the exact byte. Of a `Single` representation, the whole
 * is requested again, and its transfer continues if that begins with the bytes that have arrived: then all bytes are those of the new
 * response. The first response may be open already.
 */
export const makeFetchLoop = Effect.fnUntraced(function*(assembleChunks: AssembleChunks, awaitDemand: AwaitDemand) {
  const askOrigin = yield* makeAskOrigin
  const catalog = yield* Catalog
  const clock = yield* Clock.Clock
  const isCovered = yield* makeIsCovered

  const now = yield* monotonicMillis

  /** Requests the missing bytes. At the last try, a mirror may respond with another version, which ends the fetch. */
  const request = (fetch: Fetch, mode: RangeSupport, failures: number) => {
    fetch.isQueued = fetch.isAhead
    fetch.silentSince = undefined
    return ask(fetch, mode, {
      isFromAny: isLastTry(failures),
      background: fetch.isFill || fetch.isAhead,
      onAdmitted: ({ route, server }) => {
        fetch.download.learnPolicy(route)
        fetch.isQueued = false
        fetch.server = server
        fetch.silentSince = now()
      },
      avoid: fetch.failed.inOrder()
    })
  }

  const ask = (
    fetch: Fetch,
    mode: RangeSupport,
    { isFromAny = false, ...how }: Partial<Question> & { readonly isFromAny?: boolean }
  ) => {
    const { download: { representation }, end, position } = fetch
    const unchanged = ifUnchanged(representation)
    const expected = { representation, position, mode }
    const accepts = (head: OriginHead) => !("_tag" in checkResponse(head, expected, clock.currentTimeMillisUnsafe()))
    return askOrigin(fetch.chooseSource(), {
      method: "GET",
      headers: {
        ...acceptSame(representation),
        ...(mode !== "none" && { range: formatRange(position, end) }),
        ...(mode === "conditional" && unchanged)
      },
      validator: unchanged["if-range"],
      ...how,
      ...(!isFromAny && { accepts })
    })
  }

  const silentAfter = ({ failed, server }: Fetch) =>
    server === undefined ? failed.inOrder() : [...failed.inOrder(), server]

  const hedge = makeHedge({
    requestAgain: (fetch, mode) => ask(fetch, mode, { avoid: silentAfter(fetch), background: true, isHedge: true }),
    now,
    date: () => clock.currentTimeMillisUnsafe()
  })

  const learnRanges = ({ download }: Fetch, ranges: RangeSupport): void => {
    // Chunks that arrive from now on are kept with it, so that it is written to the manifest.
    download.representation = new Representation({ ...download.representation, ranges })
    catalog.learnRanges(download.representation, ranges)
  }

  /** Reads one response until the fetch has what it wants: `true`. `false` if another request is needed. */
  const readResponse = Effect.fnUntraced(function*(fetch: Fetch, response: OriginResponse, mode: RangeSupport) {
    const { download: { representation }, position } = fetch
    const usable = checkResponse(response, { representation, position, mode }, clock.currentTimeMillisUnsafe())
    if ("_tag" in usable) return yield* usable
    if (usable.ranges !== undefined) learnRanges(fetch, usable.ranges)
    if (usable.range === undefined) return false
    fetch.server = response.server
    catalog.learnVary(representation, response.headers)
    const { end, start } = usable.range
    fetch.isQueued = false
    fetch.receive()
    let offset = start
    if (offset < fetch.position && fetch.position > 0 && !fetch.sequential) {
      // The whole file came for a range, for which nobody waits.
      if (fetch.isAhead) return true
      // If no reader has bytes of it yet, it starts at its beginning, to be cached.
      fetch.makeSequential([...fetch.readers].every((reader) => reader.offset >= fetch.position))
    }
    if (response.slot !== undefined) {
      // Readers have a mebibyte in hand. A sequential fetch would have to read everything again.
      response.slot.grace = fetch.sequential ? GRACE_MILLIS : 0
      const { idleFor: ofBody } = response.slot
      const idleFor = () => fetch.isAhead ? Math.max(1, ofBody()) : ofBody()
      response.slot.idleFor = idleFor
      response.slot.release = Effect.sync(() => fetch.preempt())
    }
    const { received } = fetch
    const isRepeated = received === undefined || received.end === 0 ? undefined : comparison(received)
    const pull = yield* toPull(response.body)
    let isWanted = true
    while (isWanted && fetch.position < fetch.end && offset < end) {
      // Then the rest isn't even requested, where a body comes from several servers.
      if (isCovered(fetch)) return true
      fetch.silentSince = now()
      const pieces = yield* pull
      fetch.silentSince = undefined
      fetch.onReceived?.()
      fetch.isFromPeer = response.isFromPeer?.() ?? false
      for (const bytes of pieces) {
        // Bytes after the announced end belong nowhere.
        const announced = bytes.subarray(0, end - offset)
        // After a retry without range support, the bytes before the position have been read.
        const known = announced.subarray(0, Math.max(0, fetch.position - offset))
        const missing = announced.subarray(known.length)
        if (isRepeated !== undefined && known.length > 0 && !isRepeated(known)) {
          const url = loggable(representation.url)
          return yield* new RepresentationChanged({ url, status: response.status })
        }
        offset += announced.length
        received?.add(missing)
        isWanted = missing.length === 0 || assembleChunks(fetch, missing)
        if (!isWanted) break
      }
      if (isWanted && fetch.position < fetch.end && offset < end && !(yield* awaitDemand(fetch))) return true
    }
    // A body that isn't read to its end is destroyed, with an error that nobody handles.
    if (offset === end && Number(response.headers["content-length"]) === end - start) yield* Effect.exit(pull)
    // A server may send less than was requested (RFC 9110 §15.3.7).
    return !isWanted || fetch.position >= fetch.end
  })

  /** Sends one request, unless its response is open already, and reads the response. */
  const attempt = (
    fetch: Fetch,
    open: OpenResponse | undefined,
    failures: number
  ): Effect.Effect<boolean | OpenResponse, OriginError> => {
    const mode = modeOf(fetch)
    const read = open === undefined
      ? Effect.scoped(Effect.flatMap(request(fetch, mode, failures), (response) => readResponse(fetch, response, mode)))
      : Effect.onExit(
        Scope.provide(readResponse(fetch, open.response, open.mode), open.scope),
        (exit) => Scope.close(open.scope, exit)
      )
    return hedge(fetch, mode, Effect.catchIf(read, Cause.isDone, () => Effect.fail(endedEarly(fetch))))
  }

  return Effect.fnUntraced(function*(fetch: Fetch, first: OpenResponse | undefined) {
    let open = first
    let failures = 0
    let otherVersions = 0
    while (true) {
      const before = fetch.position
      const outcome = yield* Effect.result(attempt(fetch, open, failures))
      open = undefined
      const isOfOneResponse = isSingle(fetch.download.representation)
      if (outcome._tag === "Success") {
        if (typeof outcome.success === "object") {
          open = outcome.success
          continue
        }
        if (outcome.success || !fetch.isWanted) return
        if (!isOfOneResponse) {
          failures = 0
          otherVersions = 0
          fetch.failed.clear()
          continue
        }
      }
      const error = outcome._tag === "Failure" ? outcome.failure : endedEarly(fetch)
      if (fetch.position > before) otherVersions = 0
      fetch.failed.add(fetch.server)
      if (isOtherVersion(error) && !isOfOneResponse && otherVersions < OTHER_VERSION_RETRIES) {
        otherVersions += 1
        yield* Metric.update(retries, 1)
        continue
      }
      // Each retry of a `Single` representation costs the whole, so progress allows no more of them.
      failures = fetch.position > before && !isOfOneResponse ? 1 : failures + 1
      if (!mayRetry(error, failures)) return yield* error
      if (isOfOneResponse && fetch.position === 0) {
        // Without a byte, nothing shows that the next response is of the same version. Viewers may get the other one.
        return yield* new RepresentationChanged({ url: loggable(fetch.download.representation.url), status: 200 })
      }
      const retryAfter = error._tag === "OriginUnexpected" ? error.retryAfter : undefined
      if (retryAfter !== undefined || error._tag === "OriginTimeout") fetch.retry(error)
      yield* pauseAfter(error, failures, Math.min(retryAfter ?? 0, MAX_RETRY_AFTER_MILLIS))
      if (!fetch.isWanted) return
    }
  })
})
