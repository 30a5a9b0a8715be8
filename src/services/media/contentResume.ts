import { Clock, Effect, Stream } from "effect"
import { loggable, OriginBodyFailed, type OriginError, RepresentationChanged } from "../../domain/OriginError.ts"
import { acceptSame, looksLike, type OriginHead, type Representation, statusOf } from "../../domain/Representation.ts"
import type { RouteOrigin } from "../../domain/RoutePolicy.ts"
import { toPull } from "../../effects/pieces.ts"
import { makeAskOrigin, type Source } from "../origin/askOrigin.ts"
import { FailedOrigins } from "../origin/FailedOrigins.ts"
import { mayRetry, pauseAfter } from "../origin/retry.ts"
import { failureOfStatus } from "../transfer/checkResponse.ts"
import { ReceivedBytes } from "../transfer/ReceivedBytes.ts"

/**
 * Resumes the body of a `Single` representation for one viewer, up to `end`. That is `Infinity` if the size is unknown: the body goes on to
 * its own end.
 */
export type ResumeByContent = (
  representation: Representation,
  source: Source,
  received: ReceivedBytes,
  end: number
) => Stream.Stream<Uint8Array, OriginError>

/**
 * Makes `ResumeByContent`, for a body without a validator that could not be completed. Spillway requests the whole body again. If
 * that has the bytes that the viewer has received, the stream continues at the exact byte. If not, it fails with `RepresentationChanged`.
 * It also fails with that if the viewer has received nothing: then the request can be repeated as a whole.
 * Transient failures are retried. The bytes are for this viewer alone and are not cached.
 */
export const makeResumeByContent = Effect.map(makeAskOrigin, (askOrigin): ResumeByContent => {
  const attempt = (
    representation: Representation,
    source: Source,
    received: ReceivedBytes,
    end: number,
    failed: FailedOrigins
  ): Stream.Stream<Uint8Array, OriginError> => {
    let server: RouteOrigin | undefined
    return Stream.unwrap(Effect.gen(function*() {
      const url = loggable(representation.url)
      // Nothing shows that another response is of the same version. The viewer has no byte yet, so it may get the other one.
      if (received.end === received.start) return yield* new RepresentationChanged({ url, status: 200 })
      const isAlike = (head: OriginHead) => looksLike(representation, head, end !== Infinity)
      const response = yield* askOrigin(source, {
        method: "GET",
        headers: acceptSame(representation),
        accepts: isAlike,
        avoid: failed.inOrder(),
        onAdmitted: (request) => void (server = request.server)
      })
      server = response.server
      const { status } = response
      const changed = new RepresentationChanged({ url, status })
      const failure = status === statusOf(representation)
        ? undefined
        : failureOfStatus(response, url, yield* Clock.currentTimeMillis)
      if (failure !== undefined) return yield* failure
      if (!isAlike(response)) return yield* changed
      const pull = yield* toPull(response.body)
      const { end: resumeAt, start } = received
      const repeated = new ReceivedBytes(start)
      let offset = 0
      /** The bytes of a piece that the viewer needs, once the repeated ones have turned out to be the same. */
      const needed = (piece: Uint8Array): Effect.Effect<Uint8Array, RepresentationChanged> => {
        const at = offset
        offset += piece.length
        if (at < resumeAt) {
          repeated.add(piece.subarray(Math.max(0, start - at), Math.max(0, resumeAt - at)))
          if (offset >= resumeAt && !repeated.isSame(received)) return Effect.fail(changed)
        }
        return Effect.succeed(piece.subarray(Math.max(0, resumeAt - at), Math.max(0, end - at)))
      }
      const pieces = Stream.fromPull(Effect.succeed(pull))
      const rest = Stream.mapEffect(pieces, needed).pipe(
        Stream.filter((piece) => piece.length > 0),
        Stream.takeUntil(() => offset >= end)
      )
      // Without a length, the end is that of a shorter file. Otherwise it counts as a failure, so that the retries are bounded.
      const endedEarly = Effect.suspend(() => {
        if (offset >= (end === Infinity ? resumeAt : end)) return Effect.void
        const hasLength = response.headers["content-length"] !== undefined
        return Effect.fail(hasLength ? new OriginBodyFailed({ url, offset, cause: "end of body" }) : changed)
      })
      return Stream.concat(rest, Stream.fromEffectDrain(endedEarly))
    })).pipe(Stream.tapError(() => Effect.sync(() => failed.add(server))))
  }

  const resume =
    (failures: number, failed: FailedOrigins): ResumeByContent => (representation, source, received, end) => {
      const before = received.end
      return Stream.catch(attempt(representation, source, received, end, failed), (error) => {
        const count = received.end > before ? 1 : failures + 1
        if (!mayRetry(error, count)) return Stream.fail(error)
        const next = resume(count, failed)(representation, source, received, end)
        return Stream.unwrap(Effect.as(pauseAfter(error, count), next))
      })
    }
  return (...body) => resume(0, new FailedOrigins())(...body)
})
