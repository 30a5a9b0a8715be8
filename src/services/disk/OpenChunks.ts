import { Effect, Exit, Scope } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { ChunkMap } from "../../domain/ChunkMap.ts"
import { type Kept, Sieve } from "../../effects/Sieve.ts"
import type { Layout } from "./chunkFormat.ts"
import type { ReadableFile } from "./ReaderThread.ts"

/** The part of the process's open files that chunks may take, and the most of them. */
const SHARE = 1 / 4
const MAX_OPEN = 4096

/** A chunk with more checksums than this counts as several open files, so that they bound the memory of the checksums too. */
const CHECKSUMS_PER_FILE = 256

/** How long, in milliseconds, an open file may be unused. It is closed at the latest after twice that time. */
export const IDLE_MILLIS = 20_000

/** The open file of a chunk whose header was verified. */
export interface OpenChunk extends Layout {
  readonly at: string
  readonly file: ReadableFile
}

interface Entry extends OpenChunk {
  readonly key: ChunkKey
  readonly scope: Scope.Closeable
  readers: number
  isDropped: boolean
  isUsed: boolean
}

const weightOf = ({ checksums }: OpenChunk): number => Math.ceil(checksums.length / CHECKSUMS_PER_FILE)

/** How many files this process may have open. */
const openFilesLimit = (): number => {
  const { userLimits } = process.report.getReport() as unknown as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  return soft === "unlimited" ? Infinity : Number(soft ?? 1024)
}

/**
 * Chunk files that stay open for further reads, at most `capacity`. A file is closed when its last reader has ended and it was dropped,
 * evicted, or not used for a while: the disk can't reuse the space of a removed file that is open.
 */
export class OpenChunks {
  readonly #order: Sieve<Entry>
  readonly #chunks = new ChunkMap<Kept<Entry>>()
  #drops = 0

  constructor(capacity = Math.max(1, Math.min(MAX_OPEN, Math.floor(openFilesLimit() * SHARE)))) {
    this.#order = new Sieve(capacity)
  }

  get count(): number {
    return this.#order.count
  }

  /** The path of the file of `key`, if it is open. */
  pathOf(key: ChunkKey): string | undefined {
    return this.#chunks.get(key)?.value.at
  }

  /**
   * Runs `read` on the chunk of `key`, which `open` opens in the scope that it gets if it isn't open yet. The chunk stays open if `read`
   * succeeds.
   */
  use<A>(
    key: ChunkKey,
    open: (scope: Scope.Scope) => Effect.Effect<OpenChunk, CacheError>,
    read: (chunk: OpenChunk) => Effect.Effect<A, CacheError>
  ): Effect.Effect<A, CacheError> {
    return Effect.suspend(() => {
      const kept = this.#chunks.get(key)
      if (kept === undefined) return this.#useNew(key, open, read)
      const entry = kept.value
      kept.visited = true
      entry.isUsed = true
      entry.readers += 1
      return Effect.matchCauseEffect(read(entry), {
        onFailure: (cause) => {
          this.#drop(kept)
          return this.#leave(entry, Effect.failCause(cause))
        },
        onSuccess: (value) => this.#leave(entry, Effect.succeed(value))
      })
    })
  }

  /** Closes the file of a chunk that was replaced or removed. */
  drop(key: ChunkKey): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#drops += 1
      const kept = this.#chunks.get(key)
      return kept === undefined ? Effect.void : this.#dropAll([kept])
    })
  }

  /** Closes the files of a resource that was removed. */
  dropResource(resource: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#drops += 1
      return this.#dropAll([...this.#chunks.of(resource)])
    })
  }

  /** Closes all files, or those that were not used since the last call with `unused`. */
  dropAll(which: "all" | "unused"): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (which === "all") this.#drops += 1
      const all = this.#chunks.resources().flatMap((resource) => Array.from(this.#chunks.of(resource)))
      const chosen = all.filter(({ value }) => which === "all" || !value.isUsed)
      for (const { value } of all) value.isUsed = false
      return this.#dropAll(chosen)
    })
  }

  #useNew<A>(
    key: ChunkKey,
    open: (scope: Scope.Scope) => Effect.Effect<OpenChunk, CacheError>,
    read: (chunk: OpenChunk) => Effect.Effect<A, CacheError>
  ): Effect.Effect<A, CacheError> {
    const scope = Scope.makeUnsafe()
    const drops = this.#drops
    return Effect.matchCauseEffect(
      Effect.flatMap(open(scope), (chunk) => Effect.map(read(chunk), (bytes) => ({ bytes, chunk }))),
      {
        onFailure: (cause) => Effect.andThen(close(scope), Effect.failCause(cause)),
        onSuccess: ({ bytes, chunk }) => {
          // If a file was replaced or removed meanwhile, it may be this one.
          const isKept = drops === this.#drops && this.#chunks.get(key) === undefined
          return Effect.as(isKept ? this.#add(key, chunk, scope) : close(scope), bytes)
        }
      }
    )
  }

  #add(key: ChunkKey, chunk: OpenChunk, scope: Scope.Closeable): Effect.Effect<void> {
    const entry: Entry = { ...chunk, key, scope, readers: 0, isDropped: false, isUsed: true }
    const evicted: Array<Entry> = []
    const kept = this.#order.add(entry, weightOf(entry), (other) => evicted.push(other))
    for (const other of evicted) this.#forget(other)
    this.#chunks.set(key, kept)
    return this.#closeIdle(evicted)
  }

  /** A reader has ended with `outcome`. */
  #leave<A, E>(entry: Entry, outcome: Effect.Effect<A, E>): Effect.Effect<A, E> {
    entry.readers -= 1
    return entry.isDropped ? Effect.andThen(this.#closeIdle([entry]), outcome) : outcome
  }

  #drop(kept: Kept<Entry>): void {
    const entry = kept.value
    if (entry.isDropped) return
    this.#order.remove(kept)
    this.#forget(entry)
  }

  #dropAll(chosen: ReadonlyArray<Kept<Entry>>): Effect.Effect<void> {
    for (const kept of chosen) this.#drop(kept)
    return this.#closeIdle(chosen.map(({ value }) => value))
  }

  /** Closes those that nobody reads. The last reader closes each of the others. */
  #closeIdle(dropped: ReadonlyArray<Entry>): Effect.Effect<void> {
    const idle = dropped.filter(({ readers }) => readers === 0)
    return idle.length === 0 ? Effect.void : Effect.forEach(idle, ({ scope }) => close(scope), { discard: true })
  }

  #forget(entry: Entry): void {
    entry.isDropped = true
    this.#chunks.delete(entry.key)
  }
}

/** What closing a file that was only read fails with says nothing about its bytes, and nothing can be done about it. */
const close = (scope: Scope.Closeable): Effect.Effect<void> => Effect.asVoid(Effect.exit(Scope.close(scope, Exit.void)))
