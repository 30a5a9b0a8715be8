import { Cause, Clock, Effect, Scope } from "effect"
import { type ByteRange, formatRange } from "../domain/ByteRange.ts"
import {
  loggable,
  OriginBodyFailed,
  type OriginError,
  OriginUnexpected,
  RepresentationChanged,
  retryAfterMillis
} from "../domain/OriginError.ts"
import { carriedRange, ifUnchanged, isSame, type OriginHead } from "../domain/Representation.ts"
import { askOrigin } from "./askOrigin.ts"
import type { Origin, OriginResponse } from "./Origin.ts"
import { toPull } from "./pieces.ts"
import { mayRetry, pause } from "./retry.ts"
import { awaitDemand, demand, type Run } from "./Run.ts"

/** An answer of the origin whose body is about to be read, with the scope that holds its connection. */
export interface OpenTransfer {
  readonly response: OriginResponse
  readonly scope: Scope.Closeable
}

/** How long a stream that is running waits for an origin that asks to come again later, in milliseconds, at most. */
const MAX_RETRY_AFTER_MILLIS = 10_000

/**
 * The transfer of a run: asks the origin, checks that the answer is of the very bytes that are missing, and gives them to
 * `accept` for as long as they are wanted, which says `false` when the run has met bytes that are there. What fails and may pass
 * is tried again from the exact byte.
 */
export const makeTransfer = (origin: Origin["Service"], accept: (run: Run, bytes: Uint8Array) => boolean) => {
  /** Checks that an answer is of the wanted bytes: those that it carries. */
  const carriedBy = (run: Run, head: OriginHead, now: number): Effect.Effect<ByteRange, OriginError> => {
    const { representation } = run.download
    const url = loggable(representation.url)
    const unexpected = (detail: string) => new OriginUnexpected({ url, status: head.status, detail })
    if (head.status === 404 || head.status === 410 || head.status === 412 || head.status === 416) {
      return Effect.fail(new RepresentationChanged({ url }))
    }
    if (head.status !== 200 && head.status !== 206) {
      const retryAfter = retryAfterMillis(head.headers, now)
      return Effect.fail(
        new OriginUnexpected({
          url,
          status: head.status,
          detail: "no body of the file",
          ...(retryAfter !== undefined && { retryAfter })
        })
      )
    }
    if (!isSame(representation, head)) return Effect.fail(new RepresentationChanged({ url }))
    if (head.status === 200) return Effect.succeed({ start: 0, end: representation.size })
    const range = carriedRange(head)?.range
    return range?.start === run.position
      ? Effect.succeed(range)
      : Effect.fail(unexpected("another range than was asked for"))
  }

  const request = (run: Run) => {
    const { representation } = run.download
    const { position } = run
    return askOrigin(origin, run.source, {
      method: "GET",
      headers: run.sequential ? {} : { range: formatRange(position, run.end), ...ifUnchanged(representation) },
      background: run.isFill
    })
  }

  /** One request, read until the run has what it wants. */
  const transfer = Effect.fnUntraced(function*(run: Run, response: OriginResponse) {
    const { end, start } = yield* carriedBy(run, response, yield* Clock.currentTimeMillis)
    let place = start
    if (place < run.position && run.position > 0 && !run.sequential) {
      // The whole file came for a range. What nobody has seen yet may as well start at its beginning, to be kept.
      run.sequential = true
      if (run.viewers.size === 0 || [...run.viewers].every(({ offset }) => offset >= run.position)) run.position = 0
    }
    const pull = yield* toPull(response.body)
    let wanted = true
    while (wanted && run.position < run.end) {
      for (const bytes of yield* pull) {
        // What comes after the announced end belongs nowhere.
        const announced = bytes.subarray(0, end - place)
        // After a retry without range support, the bytes up to the position have been seen.
        const fresh = place < run.position ? announced.subarray(run.position - place) : announced
        place += announced.length
        wanted = fresh.length === 0 || accept(run, fresh)
        if (!wanted) break
      }
      if (!wanted || run.position >= run.end) break
      if (place === end) return yield* Cause.done()
      if ((yield* awaitDemand(run)) === "end") return
    }
    // A body that is left before its end has been seen is destroyed, with an error that is made for nobody.
    if (place === end && Number(response.headers["content-length"]) === end - start) yield* Effect.exit(pull)
  })

  return Effect.fnUntraced(function*(run: Run, first: OpenTransfer | undefined) {
    const endedEarly = (cause: unknown) =>
      new OriginBodyFailed({ url: loggable(run.download.representation.url), offset: run.position, cause })
    const attempt = (opened: OpenTransfer | undefined) =>
      (opened === undefined
        ? Effect.scoped(Effect.flatMap(request(run), (response) => transfer(run, response)))
        : Effect.onExit(
          Scope.provide(transfer(run, opened.response), opened.scope),
          (exit) => Scope.close(opened.scope, exit)
        )).pipe(Effect.catchIf(Cause.isDone, () => Effect.fail(endedEarly("end of body"))))
    let opened = first
    let failures = 0
    while (true) {
      const before = run.position
      const outcome = yield* Effect.result(attempt(opened))
      opened = undefined
      if (outcome._tag === "Success") return
      const error = outcome.failure
      failures = run.position > before ? 1 : failures + 1
      if (!mayRetry(error, failures)) return yield* error
      const wait = error._tag === "OriginUnexpected" ? error.retryAfter : undefined
      yield* pause(failures, Math.min(wait ?? 0, MAX_RETRY_AFTER_MILLIS))
      if (demand(run) === "end") return
    }
  })
}
