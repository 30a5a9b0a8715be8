import { loggable, type OriginError } from "../../domain/OriginError.ts"
import { type NotCacheable, NotWarmed, type WarmProgress } from "./warmFile.ts"

/** The largest number of names in all playlists of a presentation, and of characters in them. A name that is repeated counts again. */
const MAX_NAMES = 100_000
const MAX_NAMES_LENGTH = 16 * 1024 ** 2

/** Why a file was not fetched. */
export type Failure = NotCacheable | NotWarmed | OriginError

/** The numbers of files of a presentation. */
export interface FileCounts {
  readonly total: number
  readonly done: number
  readonly failed: number
}

/** The scheme and host of paths at this server, while names are resolved against them. */
const HERE = "http://spillway.invalid"

/** What relative names in the playlist that `text` names are relative to. */
export const absolute = (text: string): string => text.startsWith("/") ? HERE + text : text

/** What the name `name` in the playlist `playlist` refers to, as a URL or a path. `undefined` if that can't be fetched. */
const resolveName = (name: string, playlist: string): string | undefined => {
  const url = URL.parse(name, absolute(playlist))
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined
  return url.origin === HERE ? url.pathname + url.search : url.href.replace(/#.*$/, "")
}

/** How far the files of a presentation are, which begins with one file. Sizes are in bytes. */
export class PresentationProgress {
  /** What the job is for: a URL at the origin, or a path at this server. */
  readonly text: string
  readonly first: WarmProgress
  readonly #running = new Set<WarmProgress>()
  readonly #seen: Set<string>
  readonly #ended = { done: 0, failed: 0, bytes: 0, cached: 0, fetched: 0 }
  #names = 0
  #length = 0
  #isPlaylist = false
  #failure: { readonly url: string; readonly error: Failure } | undefined

  constructor(text: string, first: WarmProgress) {
    this.text = text
    this.first = first
    this.#seen = new Set([text])
    this.#running.add(first)
  }

  /** The numbers of files; `undefined` if the first one is not, or not yet, known to be a playlist. */
  get files(): FileCounts | undefined {
    const { done, failed } = this.#ended
    return this.#isPlaylist ? { total: this.#seen.size, done, failed } : undefined
  }

  /** `undefined` while it is unknown. All files of a playlist have a size only when they have been fetched. */
  get size(): number | undefined {
    return this.#isPlaylist ? undefined : this.first.size
  }

  #sum(key: "bytes" | "cached" | "fetched"): number {
    return [...this.#running].reduce((sum, file) => sum + file[key], this.#ended[key])
  }

  get bytes(): number {
    return this.#sum("bytes")
  }

  get cached(): number {
    return this.#sum("cached")
  }

  get fetched(): number {
    return this.#sum("fetched")
  }

  /** Why the presentation isn't all fetched. */
  get failure(): Failure | undefined {
    const { files } = this
    if (this.#failure === undefined) return undefined
    const { error, url } = this.#failure
    if (files === undefined) return error
    const named = error.message.startsWith(url) ? error.message : `${url}: ${error.message}`
    return new NotWarmed({
      message: `${files.failed} of ${files.total} files could not be fetched, the first of them ${named}`
    })
  }

  begin(file: WarmProgress): void {
    this.#running.add(file)
  }

  end(file: WarmProgress, error: Failure | undefined): void {
    for (const key of ["bytes", "cached", "fetched"] as const) this.#ended[key] += file[key]
    this.#running.delete(file)
    this.count(file.resource.url, error)
  }

  /** Counts a file that has ended. */
  count(url: string, error: Failure | undefined): void {
    this.#ended[error === undefined ? "done" : "failed"] += 1
    if (error !== undefined) this.#failure ??= { url: loggable(url), error }
  }

  /** Counts a name in a playlist. Returns the text of its file, unless that has been named before or can't be fetched. Throws `NotWarmed`. */
  add(name: string, playlist: string): string | undefined {
    this.#isPlaylist = true
    this.#names += 1
    this.#length += name.length
    if (this.#names > MAX_NAMES) throw new NotWarmed({ message: `it names more than ${MAX_NAMES} files` })
    if (this.#length > MAX_NAMES_LENGTH) {
      throw new NotWarmed({ message: `the names in it have more than ${MAX_NAMES_LENGTH} characters` })
    }
    const text = resolveName(name, playlist)
    if (text === undefined || this.#seen.has(text)) return undefined
    this.#seen.add(text)
    return text
  }
}
