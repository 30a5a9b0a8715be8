import { Effect, Stream } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { watchPieces } from "../../effects/pieces.ts"
import { ActiveStreams } from "../observe/ActiveStreams.ts"
import type { ByteSource } from "../observe/Counters.ts"
import type { Source } from "../origin/askOrigin.ts"
import { ReceivedBytes } from "../transfer/ReceivedBytes.ts"
import type { UnmeasuredBody } from "../transfer/UnmeasuredBody.ts"
import { makeResumeByContent } from "./contentResume.ts"
import type { Receiver, ViewerStream } from "./viewerStream.ts"

/**
 * Makes the stream of a body without a length to one viewer. When the body can't deliver the next byte, the rest comes from the cache if
 * the body is stored by then, or else by content.
 */
export const makeUnmeasuredStream = Effect.fnUntraced(function*(viewerStream: ViewerStream) {
  const activeStreams = yield* ActiveStreams
  const resumeByContent = yield* makeResumeByContent

  /** Begins a stream, which ends with the scope. */
  const open = Effect.fnUntraced(function*(
    body: UnmeasuredBody,
    representation: Representation,
    source: Source,
    receiver: Receiver
  ) {
    const { resource, url } = representation
    const { viewer } = receiver
    const progress = yield* activeStreams.begin({ url, resource, start: 0, end: 0, size: 0, viewer })
    const received = new ReceivedBytes(0)
    const watched = (stream: Stream.Stream<Uint8Array, OriginError>, from: ByteSource) =>
      watchPieces(stream, (bytes) => {
        received.add(bytes)
        progress.advance(bytes.length, from)
      })
    return Stream.catch(watched(body.stream, body.isFromPeer ? "peer" : "origin"), () => {
      const { stored } = body
      return stored === undefined
        ? watched(resumeByContent(representation, source, received, Infinity), "origin")
        : viewerStream(stored, { start: received.end, end: stored.size }, source, { ...receiver, received })
    })
  })

  return (...args: Parameters<typeof open>): Stream.Stream<Uint8Array, OriginError> => Stream.unwrap(open(...args))
})
