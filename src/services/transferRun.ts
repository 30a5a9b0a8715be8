import { Cause, Duration, Effect, Random, Scope, Stream } from "effect"
import { formatRange, parseContentRange } from "../domain/ByteRange.ts"
import {
  isTransient,
  OriginBodyFailed,
  type OriginError,
  OriginUnexpected,
  RepresentationChanged
} from "../domain/OriginError.ts"
import { isSame, type OriginHead } from "../domain/Representation.ts"
import type { Origin, OriginResponse } from "./Origin.ts"
import { awaitDemand, demand, type Run } from "./Run.ts"

/** An answer of the origin whose body is about to be read, with the scope that holds its connection. */
export interface OpenTransfer {
  readonly response: OriginResponse
  readonly scope: Scope.Closeable
}

/** How often a transfer is tried again without a byte having arrived in between. */
const RETRIES = 3

/** The pause before the first of these, doubled before each further one, give or take a half. */
const RETRY_PAUSE = Duration.millis(100)

/**
 * The transfer of a run: asks the origin, checks that the answer is of the very bytes that are missing, and gives them to
 * `accept` for as long as they are wanted, which says `false` when the run has met bytes that are there. What fails and may pass
 * is tried again from the exact byte.
 */
export const makeTransfer = (origin: Origin["Service"], accept: (run: Run, bytes: Uint8Array) => boolean) => {
  /** Checks that an answer is of the wanted bytes: where its first byte belongs. */
  const placeOf = (run: Run, head: OriginHead): Effect.Effect<number, OriginError> => {
    const { representation } = run.download
    const { url } = representation
    const unexpected = (detail: string) => new OriginUnexpected({ url, status: head.status, detail })
    if (head.status === 404 || head.status === 410 || head.status === 412 || head.status === 416) {
      return Effect.fail(new RepresentationChanged({ url }))
    }
    if (head.status !== 200 && head.status !== 206) return Effect.fail(unexpected("no body of the file"))
    if (!isSame(representation, head)) return Effect.fail(new RepresentationChanged({ url }))
    if (head.status === 200) return Effect.succeed(0)
    const place = parseContentRange(head.headers["content-range"])?.range.start
    return place === run.position ? Effect.succeed(place) : Effect.fail(unexpected("another range than was asked for"))
  }

  const request = (run: Run) => {
    const { representation } = run.download
    const { position } = run
    return origin.request({
      method: "GET",
      url: representation.url,
      headers: run.sequential ? {} : { range: formatRange(position, run.end) }
    })
  }

  /** One request, read until the run has what it wants. */
  const transfer = Effect.fnUntraced(function*(run: Run, response: OriginResponse) {
    let place = yield* placeOf(run, response)
    if (place < run.position && run.position > 0 && !run.sequential) {
      // The whole file came for a range. What nobody has seen yet may as well start at its beginning, to be kept.
      run.sequential = true
      if (run.viewers.size === 0 || [...run.viewers].every(({ offset }) => offset >= run.position)) run.position = 0
    }
    const pull = yield* Stream.toPull(response.body)
    while (run.position < run.end) {
      for (const bytes of yield* pull) {
        // After a retry without range support, the bytes up to the position have been seen.
        const fresh = place < run.position ? bytes.subarray(run.position - place) : bytes
        place += bytes.length
        if (fresh.length > 0 && !accept(run, fresh)) return
      }
      if (run.position < run.end && (yield* awaitDemand(run)) === "end") return
    }
  })

  return Effect.fnUntraced(function*(run: Run, first: OpenTransfer | undefined) {
    const endedEarly = (cause: unknown) =>
      new OriginBodyFailed({ url: run.download.representation.url, offset: run.position, cause })
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
      if (!isTransient(error) || failures > RETRIES) return yield* error
      const jitter = 0.5 + (yield* Random.next)
      yield* Effect.sleep(Duration.times(RETRY_PAUSE, 2 ** (failures - 1) * jitter))
      if (demand(run) === "end") return
    }
  })
}
