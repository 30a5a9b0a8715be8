import { Effect, Stream } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import { MediaStream } from "../media/MediaStream.ts"
import { makeAskOrigin, type Source } from "../origin/askOrigin.ts"
import { NotWarmed } from "./warmFile.ts"

/** The largest playlist that is read, in bytes. */
const MAX_PLAYLIST_BYTES = 8 * 1024 ** 2

/**
 * Makes the function that reads a playlist as a viewer gets it: from the cache, or from the origin if it is uncacheable. Fails with
 * `NotWarmed` for a status other than 200, and for more than `MAX_PLAYLIST_BYTES`.
 */
export const makePlaylistText = Effect.gen(function*() {
  const media = yield* MediaStream
  const askOrigin = yield* makeAskOrigin

  const open = Effect.fnUntraced(function*(resource: Resource, source: Source) {
    const opened = yield* media.open({ resource, source })
    if (opened._tag === "NotCached") return yield* new NotWarmed({ message: "the playlist is not cached (--offline)" })
    if (opened._tag === "Media") {
      const bytes = yield* opened.parts[0]?.bytes ?? Effect.succeed(new Uint8Array())
      const { status = 200 } = opened.entry.representation
      return { status, body: bytes instanceof Uint8Array ? Stream.succeed(bytes) : bytes }
    }
    const spare = opened.answer === undefined ? undefined : yield* opened.answer.take
    return spare ?? (yield* askOrigin(source, { method: "GET", headers: {} }))
  })

  return Effect.fnUntraced(function*(
    resource: Resource,
    source: Source
  ): Effect.fn.Return<string, NotWarmed | OriginError> {
    const decoder = new TextDecoder()
    let text = ""
    let length = 0
    yield* Effect.scoped(Effect.gen(function*() {
      const { body, status } = yield* open(resource, source)
      if (status !== 200) return yield* new NotWarmed({ message: `the origin responded with status ${status}` })
      yield* Stream.runForEach(body, (piece): Effect.Effect<void, NotWarmed> => {
        length += piece.length
        if (length > MAX_PLAYLIST_BYTES) {
          return Effect.fail(new NotWarmed({ message: `the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes` }))
        }
        text += decoder.decode(piece, { stream: true })
        return Effect.void
      })
    }))
    return text + decoder.decode()
  })
})
