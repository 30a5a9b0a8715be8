import { Effect, Result } from "effect"
import { dashNames } from "../../domain/dashNames.ts"
import { isPlaylist } from "../../domain/Guess.ts"
import { hlsNames, isHls } from "../../domain/hlsNames.ts"
import { InvalidManifest, isDash } from "../../domain/mpdElements.ts"
import { makeAddressing } from "./addressing.ts"
import { makePlaylistText } from "./playlistText.ts"
import { absolute, type Failure, type PresentationProgress } from "./PresentationProgress.ts"
import { makeWarmFile, NotCacheable, NotWarmed, WarmProgress } from "./warmFile.ts"

/**
 * A presentation is what a player plays: a file, or an HLS playlist or a DASH manifest with all files that it names, directly or by other
 * playlists. Players choose among these files; here all of them are fetched.
 */

/** How many files of a presentation are fetched at a time. */
const FILES_AT_ONCE = 4

/** How deep playlists may be nested. Deeper ones are files like others. */
const MAX_DEPTH = 3

/** How many names are read before other fibers get their turn. */
const NAMES_PER_TURN = 1000

const failureOf = <A>(result: Result.Result<A, Failure>): Failure | undefined =>
  Result.isFailure(result) ? result.failure : undefined

const none: Iterable<never> = []

/** The names in the playlist `text`, which is at `playlist`. A text that is not a playlist has none. */
const namesOf = (text: string, playlist: string): Iterable<string | undefined> =>
  isHls(text) ? hlsNames(text) : isDash(text) ? dashNames(text, absolute(playlist)) : none

/**
 * Makes the function that fetches a presentation, and keeps count in its argument. One file that fails doesn't keep the others from being
 * fetched, but fails the presentation at the end.
 */
export const makeWarmPresentation = Effect.gen(function*() {
  const addressing = yield* makeAddressing
  const warmFile = yield* makeWarmFile
  const playlistText = yield* makePlaylistText

  /** A file that a playlist names. Fails if viewers can't request it. */
  const fileAt = (text: string): Effect.Effect<WarmProgress, NotWarmed> => {
    const resource = addressing.resourceOf(text)
    if ("status" in resource) return Effect.fail(new NotWarmed({ message: resource.reason }))
    return addressing.isServed(resource)
      ? Effect.succeed(new WarmProgress(resource, addressing.sourceOf(text, resource, true)))
      : Effect.fail(new NotWarmed({ message: "no origin is configured for it" }))
  }

  /** Adds the files that a playlist names, and that were not named before, to `found`. */
  const follow = Effect.fnUntraced(function*(
    progress: PresentationProgress,
    playlist: string,
    { resource, source }: WarmProgress,
    found: Array<string>
  ) {
    const names = namesOf(yield* playlistText(resource, source), playlist)[Symbol.iterator]()
    /** Returns whether there may be more. */
    const readSome = (): boolean => {
      for (let count = 0; count < NAMES_PER_TURN; count++) {
        const { done, value } = names.next()
        if (done === true) return false
        if (value === undefined) return true
        const text = progress.add(value, playlist)
        if (text !== undefined) found.push(text)
      }
      return true
    }
    const reading = Effect.try({
      try: readSome,
      catch: (error) => {
        if (error instanceof NotWarmed) return error
        if (error instanceof InvalidManifest) {
          return new NotWarmed({ message: `the manifest can't be followed: ${error.message}` })
        }
        throw error
      }
    })
    while (yield* reading) yield* Effect.yieldNow
  })

  /** Fetches a file. Returns the files that it names, if it is a playlist. */
  const visit = Effect.fnUntraced(
    function*(progress: PresentationProgress, file: WarmProgress, text: string, depth: number) {
      progress.begin(file)
      const found: Array<string> = []
      const warmed = yield* Effect.result(warmFile(file))
      const headers = Result.isSuccess(warmed) ? warmed.success.headers : {}
      const isReadable = Result.isSuccess(warmed) || warmed.failure instanceof NotCacheable
      const followed = isReadable && depth < MAX_DEPTH && isPlaylist(file.resource.url, headers)
        ? yield* Effect.result(follow(progress, text, file, found))
        : Result.void
      progress.end(file, failureOf(warmed) ?? failureOf(followed))
      return found
    }
  )

  return Effect.fnUntraced(function*(progress: PresentationProgress): Effect.fn.Return<void, Failure> {
    let texts: ReadonlyArray<string> = yield* visit(progress, progress.first, progress.text, 0)
    for (let depth = 1; texts.length > 0; depth++) {
      const named = yield* Effect.forEach(
        texts,
        (text) =>
          Effect.matchEffect(fileAt(text), {
            onSuccess: (file) => visit(progress, file, text, depth),
            onFailure: (error) => Effect.sync((): Array<string> => (progress.count(text, error), []))
          }),
        { concurrency: FILES_AT_ONCE }
      )
      texts = named.flat()
    }
    const { failure } = progress
    if (failure !== undefined) return yield* failure
  })
})
