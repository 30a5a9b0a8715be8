import { Effect, Option, Stream } from "effect"
import { type CacheError, isOfOneFile } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type {
  ChunkStore,
  CompactResource,
  Contents,
  Examined,
  ExaminedChunks,
  StoredChunk,
  StoredManifest
} from "./ChunkStore.ts"
import type { DiskLimiter } from "./DiskLimiter.ts"
import type { FileCalls } from "./fileCalls.ts"
import * as StoreLayout from "./storeLayout.ts"

/** What is called to list the store. */
interface Calls extends Pick<FileCalls, "readDirectory" | "remove"> {
  readonly removeTemporaries: (directory: string, names: ReadonlyArray<string>) => Effect.Effect<void>
  readonly findCompact: (resource: string) => Effect.Effect<CompactResource | undefined, CacheError>
  readonly storedManifest: (
    resource: string,
    names: ReadonlyArray<string>
  ) => Effect.Effect<StoredManifest, CacheError>
  readonly stat: (key: ChunkKey) => Effect.Effect<Option.Option<StoredChunk>, CacheError>
}

type Skip = (error: CacheError) => Effect.Effect<void, CacheError>

/**
 * The sizes of the chunks with these indices. All chunks of a representation but the last have one size, so the first and the last of those
 * that are there tell the sizes of all. One that can't be examined is left out, unless `skip` fails.
 */
const measured = Effect.fnUntraced(function*(
  resource: string,
  representation: string,
  indices: ReadonlyArray<number>,
  stat: Calls["stat"],
  skip: Skip
): Effect.fn.Return<ReadonlyArray<ExaminedChunks>, CacheError> {
  const find = (index: number) =>
    Effect.map(
      Effect.catchIf(
        stat({ resource, representation, index }),
        isOfOneFile,
        (error) => Effect.as(skip(error), Option.none<StoredChunk>())
      ),
      Option.getOrUndefined
    )
  const ordered = indices.toSorted((a, b) => a - b)
  let [start, end] = [0, ordered.length]
  let first: StoredChunk | undefined
  for (; first === undefined && start < end; start++) first = yield* find(ordered[start]!)
  if (first === undefined) return []
  let last: StoredChunk | undefined
  for (; last === undefined && start < end; end--) last = yield* find(ordered[end - 1]!)
  last ??= first
  const used = Math.max(first.used, last.used)
  const found = ordered.slice(start - 1, end + 1)
  return [{ representation, indices: found, bytes: first.bytes, lastBytes: last.bytes, used }]
})

/** Lists what the store has, by the names of files and directories as far as they tell. */
export const make = (
  { directoryOf, prefixAt, root }: ReturnType<typeof StoreLayout.make>,
  { findCompact, readDirectory, remove, removeTemporaries, stat, storedManifest }: Calls,
  { pass }: Pick<DiskLimiter["Service"], "pass">
) => {
  const contents = Effect.fnUntraced(function*(resource: string): Effect.fn.Return<Contents, CacheError> {
    const names = yield* readDirectory(directoryOf(resource))
    return {
      keys: Array.from(
        StoreLayout.parseIndices(names),
        ([representation, indices]) => indices.map((index) => ({ resource, representation, index }))
      ).flat(),
      compact: yield* findCompact(resource),
      manifest: yield* storedManifest(resource, names),
      pinned: names.includes(StoreLayout.PINNED)
    }
  })

  /** The names in a directory. Removes what an earlier process left there. */
  const listed = (directory: string) =>
    Effect.tap(readDirectory(directory), (names) => removeTemporaries(directory, names))

  const examine = Effect.fnUntraced(function*(
    { hasDirectory, isCompact, resource }: StoreLayout.NamedResource,
    skip: Skip
  ): Effect.fn.Return<Examined, CacheError> {
    const names = hasDirectory ? yield* listed(directoryOf(resource)) : []
    const representations = StoreLayout.parseIndices(names)
    const chunks = yield* Effect.forEach(
      representations,
      ([representation, indices]) => measured(resource, representation, indices, stat, skip)
    )
    const compact = isCompact ? yield* findCompact(resource) : undefined
    return {
      chunks: chunks.flat(),
      compact,
      isHollow: representations.size === 0 && compact === undefined,
      manifest: yield* storedManifest(resource, names),
      pinned: names.includes(StoreLayout.PINNED)
    }
  })

  const resources: ChunkStore["Service"]["resources"] = (skip) => {
    const inPrefix = (prefix: string) =>
      pass(Effect.tap(
        listed(prefixAt(prefix)),
        // An empty directory does no harm.
        (names) => names.length === 0 ? Effect.ignore(remove(prefixAt(prefix), true)) : Effect.void
      )).pipe(
        Effect.map(StoreLayout.parseResources),
        Effect.catch((error) => Effect.as(skip(error), []))
      )
    return Stream.fromIterableEffect(pass(listed(root))).pipe(
      Stream.filter(StoreLayout.isPrefix),
      Stream.mapEffect(inPrefix),
      Stream.flattenIterable,
      Stream.map((named) => ({ resource: named.resource, examine: (skip) => pass(examine(named, skip)) }))
    )
  }

  return { contents: (resource: string) => pass(contents(resource)), resources }
}
