import { Context, type Effect, type Exit, type FileSystem, Layer, type Option, type Path, type Stream } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import type { CacheConfig } from "../config/CacheConfig.ts"
import { BLOCK_BYTES } from "./blocks.ts"
import type { DiskLimiter } from "./DiskLimiter.ts"
import * as FileChunkStore from "./FileChunkStore.ts"
import type { LentBytes } from "./LentMemory.ts"
import { makeInMemory } from "./memoryStore.ts"

/**
 * A chunk in the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredChunk {
  readonly key: ChunkKey
  /** Its size in the store, in bytes. */
  readonly bytes: number
  /** When it was last written or touched, in milliseconds since 1970. */
  readonly used: number
}

/**
 * The file of a manifest.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredManifest {
  /** Its size in the store, in bytes; 0 if there is none. */
  readonly bytes: number
  readonly isRevoked: boolean
}

/**
 * A resource whose manifest and only chunk share a file.
 *
 * @since 0.1.0
 * @category models
 */
export interface CompactResource extends StoredChunk {
  readonly isRevoked: boolean
}

/**
 * The manifest and the chunks of a resource in the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Contents {
  /** Chunks that have files of their own. */
  readonly keys: ReadonlyArray<ChunkKey>
  readonly compact: CompactResource | undefined
  readonly manifest: StoredManifest
  readonly pinned: boolean
}

/**
 * The chunks of one representation that have files of their own. Only the first and the last have been examined.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExaminedChunks {
  readonly representation: string
  /** In order; not empty. */
  readonly indices: ReadonlyArray<number>
  /** The size in the store of each but the last, and that of the last, in bytes. */
  readonly bytes: number
  readonly lastBytes: number
  /** When either of the two was last used, in milliseconds since 1970. */
  readonly used: number
}

/**
 * The contents of a resource, with the facts about its chunks that a scan needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Examined extends Omit<Contents, "keys"> {
  readonly chunks: ReadonlyArray<ExaminedChunks>
  /** Whether there is no file of a chunk, not even one that can't be examined. */
  readonly isHollow: boolean
}

/**
 * A resource that the store has, by its name.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredResource {
  readonly resource: string
  /**
   * Finds out what there is of it. Removes what interrupted writes left behind. `skip` decides about a chunk that can't be examined: it is
   * left out, or this fails.
   */
  readonly examine: (
    skip: (error: CacheError) => Effect.Effect<void, CacheError>
  ) => Effect.Effect<Examined, CacheError>
}

/** All chunks in `contents`, in no order. */
export const chunksIn = ({ compact, keys }: Contents): ReadonlyArray<ChunkKey> =>
  compact === undefined ? keys : [...keys, compact.key]

export { bytesOnDisk, PART_BYTES, partAt } from "./chunkFormat.ts"
export { compactBytesOnDisk, isShort } from "./compactFormat.ts"
export { type LentBytes, readShortBy } from "./LentMemory.ts"
export { SHORT_RANGE_BYTES } from "./ReaderThread.ts"

/** The size of a new resource besides its chunks, in bytes: a manifest of at most one block, and two directories. */
export const MANIFEST_BYTES = 3 * BLOCK_BYTES

/**
 * Chunks on disk, and for each resource a manifest with its representation. A chunk is stored whole or not at all, and `read`
 * returns exactly the bytes that `write` got. The store doesn't fetch, decide or retry. Every failure is a `CacheError` that names
 * path, operation and errno.
 *
 * @since 0.1.0
 * @category services
 */
export class ChunkStore extends Context.Service<ChunkStore, {
  /**
   * The bytes of `range`, which isn't empty, of a chunk of `length` bytes, with verified checksums. If the file is missing, too short or
   * not what was written, this fails with `IoError` and the errno `ENOENT`, `SHORT_READ` or `CORRUPT`. If `scratch` is
   * given, the bytes may be in it. It needs room for all parts that the range touches. The read may write to it until it has succeeded;
   * after a failure, don't use `scratch` again. A read that takes longer than `readDeadline` fails with `DiskBusy`, at once if that is
   * foreseeable, or with the errno `TIMEOUT` if the disk makes no progress at all.
   */
  readonly read: (
    key: ChunkKey,
    length: number,
    range: ByteRange,
    scratch?: Buffer
  ) => Effect.Effect<Uint8Array, CacheError>
  /**
   * The same without a fiber that waits, and into memory of the store's, which is used again after `release`: calls `onEnd` with what `read`
   * ends with, perhaps before this returns. For ranges so short that a fiber or new memory costs as much as the read.
   */
  readonly readShort: (
    key: ChunkKey,
    length: number,
    range: ByteRange,
    onEnd: (exit: Exit.Exit<LentBytes, CacheError>) => void
  ) => void
  /**
   * Closes the files that are kept open for further reads, or that of one chunk. `remove` and `write` do that too: only what others do to
   * the files needs it.
   */
  readonly release: (key?: ChunkKey) => Effect.Effect<void>
  /** Reads a chunk of any length and verifies it. Returns its length in bytes, or fails as `read` does. */
  readonly verify: (key: ChunkKey) => Effect.Effect<number, CacheError>
  /** Writes a chunk. A write that fails leaves nothing behind. Copy what you keep of `payload`: it may be overwritten after a success. */
  readonly write: (key: ChunkKey, payload: Uint8Array) => Effect.Effect<void, CacheError>
  /**
   * Writes a chunk that is a whole body of at most `COMPACT_BYTES`, and the manifest, as one file. Remove another compact file of the
   * resource first, and don't call this for a resource that has chunks or a manifest in files of their own. `undefined` in a store that
   * gains nothing by it: it then gets `writeManifest` and `write`.
   */
  readonly writeCompact?:
    | ((key: ChunkKey, payload: Uint8Array, manifest: Uint8Array) => Effect.Effect<void, CacheError>)
    | undefined
  /** Removes a chunk, with the manifest of a compact resource. A missing chunk does not fail. `isAlone` as for `removeResource`. */
  readonly remove: (key: ChunkKey, isAlone?: boolean) => Effect.Effect<void, CacheError>
  /**
   * The current representation of a resource, or none if there is no manifest or it can't be understood. For a viewer this takes at
   * most `readDeadline`, as `read` does.
   */
  readonly readManifest: (
    resource: string,
    forViewer?: boolean
  ) => Effect.Effect<Option.Option<Representation>, CacheError>
  /**
   * Writes `file`, which `manifestFormat` has encoded, as the manifest of a resource. Replaces the old one, whole or not at all. Removes a
   * compact file first. With `isFirst`, the store has nothing of the resource, so there is nothing to look for.
   */
  readonly writeManifest: (resource: string, file: Uint8Array, isFirst?: boolean) => Effect.Effect<void, CacheError>
  /** Revokes a manifest: from then on `readRevoked` finds it, and `readManifest` doesn't. Does nothing if there is none. */
  readonly revokeManifest: (resource: string) => Effect.Effect<void, CacheError>
  /** The representation of a manifest that was revoked and not written again. Otherwise as `readManifest`. */
  readonly readRevoked: (
    resource: string,
    forViewer?: boolean
  ) => Effect.Effect<Option.Option<Representation>, CacheError>
  /** Removes everything of a resource. `isAlone` says that the directory of its prefix has nothing else and can go too. */
  readonly removeResource: (resource: string, isAlone: boolean) => Effect.Effect<void, CacheError>
  /** The resources of which anything is stored and whose identifiers begin with `digits`, as those of a resource and its variants do. */
  readonly withPrefix: (digits: string) => Effect.Effect<ReadonlyArray<string>, CacheError>
  /** What the store has of a resource: its chunks, in no order, its manifest, and whether it is pinned. */
  readonly contents: (resource: string) => Effect.Effect<Contents, CacheError>
  /** Pins or unpins a resource. `removeResource` removes the pin too. */
  readonly pin: (resource: string, pinned: boolean) => Effect.Effect<void, CacheError>
  /** Size and last use of a chunk, or none if it is missing. */
  readonly stat: (key: ChunkKey) => Effect.Effect<Option.Option<StoredChunk>, CacheError>
  /** Marks a chunk as used now, for the order of eviction after a restart. */
  readonly touch: (key: ChunkKey) => Effect.Effect<void, CacheError>
  /**
   * All resources in the store, by their names alone. `skip` decides about a part of the names that can't be read: the stream continues
   * without it, or fails.
   */
  readonly resources: (
    skip: (error: CacheError) => Effect.Effect<void, CacheError>
  ) => Stream.Stream<StoredResource, CacheError>
  /** Whether a `read` would fail at once with `DiskBusy`. */
  readonly isBusy: () => boolean
  /** Waits until calls have been under way for `millis` milliseconds without progress of the disk. */
  readonly stalled: (millis: number) => Effect.Effect<void>
  /** The list that `writeBans` wrote last, or none. */
  readonly readBans: Effect.Effect<Option.Option<string>, CacheError>
  /** Writes the list of `Bans`, whole or not at all. It survives a loss of power. */
  readonly writeBans: (file: Uint8Array) => Effect.Effect<void, CacheError>
  /** Writes, reads and removes a file of so many bytes. Succeeds if the store can be used. */
  readonly probe: (bytes: number) => Effect.Effect<void, CacheError>
}>()("spillway/services/disk/ChunkStore") {
  /**
   * Chunks in the directory of `CacheConfig`, through the `FileSystem` in context.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<
    ChunkStore,
    never,
    CacheConfig | DiskLimiter | FileSystem.FileSystem | Path.Path
  > = Layer.effect(ChunkStore, FileChunkStore.make)

  /**
   * Chunks in memory, without a limit, for tests and trials without a disk.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerMemory: Layer.Layer<ChunkStore> = Layer.sync(ChunkStore, () => ChunkStore.of(makeInMemory()))
}
