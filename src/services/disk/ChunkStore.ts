import { Context, Effect, FileSystem, Layer, Option, Path, Stream } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { MAX_CHUNKS } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { familyOf } from "../../domain/Resource.ts"
import { CacheConfig, CHUNK_SIZE } from "../config/CacheConfig.ts"
import * as AtomicFiles from "./atomicFiles.ts"
import { BLOCK_BYTES, inBlocks } from "./blocks.ts"
import { bytesOnDisk, decode, encodeHeader, HEADER_BYTES } from "./chunkFormat.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import * as ManifestFormat from "./manifestFormat.ts"
import { makeInMemory } from "./memoryStore.ts"

/** A chunk as it lies in the store. */
export interface StoredChunk {
  readonly key: ChunkKey
  /** What it takes of the store, in bytes. */
  readonly bytes: number
  /** When it was last written or touched, in milliseconds since 1970. */
  readonly used: number
}

/** The file of a manifest. */
export interface StoredManifest {
  /** What it takes of the store, in bytes; 0 where there is none. */
  readonly bytes: number
  readonly isRevoked: boolean
}

/** What the store has of a resource. */
export interface Contents {
  readonly keys: ReadonlyArray<ChunkKey>
  readonly manifest: StoredManifest
  readonly pinned: boolean
}

export { bytesOnDisk } from "./chunkFormat.ts"

/** What a new resource takes besides its chunks, in bytes, when its manifest is no longer than a block: that and two directories. */
export const MANIFEST_BYTES = 3 * BLOCK_BYTES

/**
 * Chunks on disk, and beside them the manifest that tells which representation a resource has. A chunk is there whole or
 * not at all, and what `read` returns is, byte for byte, what `write` was given. The store neither fetches, decides nor
 * retries; every failure is a `CacheError` that names path, operation and errno.
 */
export class ChunkStore extends Context.Service<ChunkStore, {
  /**
   * The `length` bytes of a chunk, its checksum verified. A file that is gone, too short or not what was written fails with
   * `IoError` and the errno `ENOENT`, `SHORT_READ` or `CORRUPT`. They are in `scratch` where that is given, which has room
   * for the file's header too, and is written to until the read has succeeded, or permanently if it has not. A read that
   * is not done within `readDeadline` fails with `DiskBusy`, at once when that is foreseeable, or with the errno `TIMEOUT` when the
   * disk does nothing at all.
   */
  readonly read: (key: ChunkKey, length: number, scratch?: Buffer) => Effect.Effect<Uint8Array, CacheError>
  /** Reads a chunk of any length to see whether it is what was written: its length in bytes, or the errors of `read`. */
  readonly verify: (key: ChunkKey) => Effect.Effect<number, CacheError>
  /** Keeps a chunk. A write that fails leaves nothing behind. */
  readonly write: (key: ChunkKey, payload: Uint8Array) => Effect.Effect<void, CacheError>
  /** Drops a chunk; one that is not there is no error. */
  readonly remove: (key: ChunkKey) => Effect.Effect<void, CacheError>
  /**
   * The current representation of a resource, or none when it was never kept or cannot be understood. For a viewer it is read
   * within `readDeadline`, as `read` does.
   */
  readonly readManifest: (
    resource: string,
    forViewer?: boolean
  ) => Effect.Effect<Option.Option<Representation>, CacheError>
  /** Keeps `file`, of `manifestFile`, as the manifest of a resource: the one before is replaced, whole or not at all. */
  readonly writeManifest: (resource: string, file: Uint8Array) => Effect.Effect<void, CacheError>
  /** Has `readManifest` find none any more, but `readRevoked` what it would have found; nothing where there is none. */
  readonly revokeManifest: (resource: string) => Effect.Effect<void, CacheError>
  /** The representation whose manifest was revoked, and not written again since; otherwise as `readManifest`. */
  readonly readRevoked: (
    resource: string,
    forViewer?: boolean
  ) => Effect.Effect<Option.Option<Representation>, CacheError>
  /** Drops all that is kept of a resource; the directory of its prefix too when `isAlone` says that it has nothing else. */
  readonly removeResource: (resource: string, isAlone: boolean) => Effect.Effect<void, CacheError>
  /** A resource and its variants, as far as anything is kept of them. */
  readonly family: (resource: string) => Effect.Effect<ReadonlyArray<string>, CacheError>
  /** The chunks kept of one resource, in no order. */
  readonly list: (resource: string) => Effect.Effect<ReadonlyArray<ChunkKey>, CacheError>
  /** The same, and everything else there. */
  readonly contents: (resource: string) => Effect.Effect<Contents, CacheError>
  /** Marks a resource to stay, or no more. The mark goes with `removeResource`. */
  readonly pin: (resource: string, pinned: boolean) => Effect.Effect<void, CacheError>
  /** What is known of a chunk without reading it, or none when it is gone. */
  readonly stat: (key: ChunkKey) => Effect.Effect<Option.Option<StoredChunk>, CacheError>
  /** Marks a chunk as used now, for the order of eviction after a restart. */
  readonly touch: (key: ChunkKey) => Effect.Effect<void, CacheError>
  /**
   * The resources of which anything is kept. Removes what an interrupted write left behind. `skip` decides about a directory that
   * cannot be read: the stream continues without it, or fails.
   */
  readonly resources: (
    skip: (error: CacheError) => Effect.Effect<void, CacheError>
  ) => Stream.Stream<string, CacheError>
  /** Whether a `read` would fail at once with `DiskBusy`. */
  readonly isBusy: () => boolean
  /** Waits until calls have been under way for so many milliseconds without the disk doing anything. */
  readonly stalled: (millis: number) => Effect.Effect<void>
  /** The list that `writeRevokedTrees` has written last, or none. */
  readonly readRevokedTrees: Effect.Effect<Option.Option<string>, CacheError>
  /** Keeps the list of `RevokedTrees`, whole or not at all. */
  readonly writeRevokedTrees: (file: Uint8Array) => Effect.Effect<void, CacheError>
  /** Writes, reads and removes a file of so many bytes: succeeds when the store can be used. */
  readonly probe: (bytes: number) => Effect.Effect<void, CacheError>
}>()("spillway/services/disk/ChunkStore") {
  /** Chunks in the directory of `CacheConfig`, through the `FileSystem` in context. */
  static readonly layer: Layer.Layer<
    ChunkStore,
    never,
    CacheConfig | DiskLimiter | FileSystem.FileSystem | Path.Path
  > = Layer.effect(ChunkStore, Effect.suspend(() => makeOnDisk))

  /** Chunks in memory, without a limit: for tests, and to see a stream work without a disk. */
  static readonly layerMemory: Layer.Layer<ChunkStore> = Layer.sync(ChunkStore, () => ChunkStore.of(makeInMemory()))
}

const MANIFEST = "manifest.json"
const REVOKED = "revoked.json"
const REVOKED_TREES = "revoked-trees.json"
const PINNED = "pinned"
const RESOURCE = /^[0-9a-f]{32}$/

const fileName = (key: ChunkKey): string => `${key.representation}.${key.index}`

const parseFileName = (resource: string, name: string): ChunkKey | undefined => {
  const match = /^([0-9a-f]{32})\.(\d{1,10})$/.exec(name)
  const index = Number(match?.[2])
  return match !== null && index < MAX_CHUNKS ? { resource, representation: match[1]!, index } : undefined
}

const makeOnDisk = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const config = yield* CacheConfig
  const limiter = yield* DiskLimiter
  const root = path.join(config.directory, "v1")
  const directoryOf = (resource: string) => path.join(root, resource.slice(0, 2), resource)
  const pathOf = (key: ChunkKey) => path.join(directoryOf(key.resource), fileName(key))
  const { io, isMissing, probe, readDirectory, readFile, remove, removeTemporaries, writeFile } = yield* AtomicFiles
    .make(
      fs,
      path,
      root,
      limiter.progressed
    )

  const storedManifest = Effect.fnUntraced(function*(resource: string, names: ReadonlyArray<string>) {
    const name = [MANIFEST, REVOKED].find((name) => names.includes(name))
    if (name === undefined) return { bytes: 0, isRevoked: false }
    const at = path.join(directoryOf(resource), name)
    const bytes = yield* io("stat", at, fs.stat(at)).pipe(
      Effect.map(({ size }) => inBlocks(Number(size))),
      Effect.catchIf(isMissing, () => Effect.succeed(0))
    )
    return { bytes, isRevoked: name === REVOKED }
  })

  const contents = Effect.fnUntraced(function*(resource: string): Effect.fn.Return<Contents, CacheError> {
    const names = yield* readDirectory(directoryOf(resource))
    return {
      keys: names.flatMap((name) => parseFileName(resource, name) ?? []),
      manifest: yield* storedManifest(resource, names),
      pinned: names.includes(PINNED)
    }
  })

  /** The names in the directory of a prefix, which is removed when it has none. */
  const tidied = (directory: string) =>
    Effect.tap(
      readDirectory(directory),
      (names) => names.length === 0 ? Effect.ignore(remove(directory, true)) : Effect.void
    )

  const removeResource = Effect.fnUntraced(function*(resource: string, isAlone: boolean) {
    const directory = directoryOf(resource)
    yield* remove(directory, true)
    if (!isAlone) return
    // An empty directory does no harm.
    yield* Effect.ignore(tidied(path.dirname(directory)))
  })

  const family = (resource: string) =>
    Effect.map(
      readDirectory(path.dirname(directoryOf(resource))),
      (names) => names.filter((name) => RESOURCE.test(name) && familyOf(name) === familyOf(resource))
    )

  const pin = (resource: string, pinned: boolean) => {
    const at = path.join(directoryOf(resource), PINNED)
    return pinned ? writeFile(at, []) : remove(at)
  }

  const stat = (key: ChunkKey) =>
    io("stat", pathOf(key), fs.stat(pathOf(key))).pipe(
      Effect.map(({ mtime, size }) =>
        Option.some<StoredChunk>({
          key,
          bytes: bytesOnDisk(Number(size) - HEADER_BYTES),
          used: Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() })
        })
      ),
      Effect.catchIf(isMissing, () => Effect.succeedNone)
    )

  const touch = (key: ChunkKey) =>
    Effect.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe() / 1000
      return io("stat", pathOf(key), fs.utimes(pathOf(key), now, now))
    })

  const listed = (directory: string) =>
    limiter.pass(Effect.tap(readDirectory(directory), (names) => removeTemporaries(directory, names)))

  const resources = (skip: (error: CacheError) => Effect.Effect<void, CacheError>) =>
    Stream.fromIterableEffect(listed(root)).pipe(
      Stream.filter((name) => /^[0-9a-f]{2}$/.test(name)),
      Stream.mapEffect((prefix) =>
        Effect.catch(limiter.pass(tidied(path.join(root, prefix))), (error) => Effect.as(skip(error), []))
      ),
      Stream.flattenIterable,
      Stream.filter((name) => RESOURCE.test(name)),
      Stream.filterEffect((resource) =>
        Effect.matchEffect(listed(directoryOf(resource)), {
          onSuccess: () => Effect.succeed(true),
          onFailure: (error) => Effect.as(skip(error), false)
        })
      )
    )

  const read = Effect.fnUntraced(function*(key: ChunkKey, length: number, scratch?: Buffer) {
    const at = pathOf(key)
    const payload = decode(key, yield* readFile(at, length + HEADER_BYTES, scratch))
    return payload ?? (yield* new IoError({ errno: "CORRUPT", operation: "read", path: at }))
  })

  const verify = Effect.fnUntraced(function*(key: ChunkKey) {
    const at = pathOf(key)
    const { size, type } = yield* io("stat", at, fs.stat(at))
    if (type !== "File" || Number(size) > CHUNK_SIZE.maximum + HEADER_BYTES) {
      return yield* new IoError({ errno: "CORRUPT", operation: "stat", path: at })
    }
    const payload = yield* read(key, Math.max(0, Number(size) - HEADER_BYTES))
    return payload.length
  })

  const readManifest = (name: string) => (resource: string, forViewer = false) => {
    const at = path.join(directoryOf(resource), name)
    const manifest = io("stat", at, fs.stat(at)).pipe(
      Effect.flatMap(({ size, type }) =>
        type === "File" && Number(size) <= ManifestFormat.MAX_MANIFEST_BYTES
          ? Effect.map(io("read", at, fs.readFileString(at)), (text) => ManifestFormat.decode(resource, text))
          : Effect.succeedNone
      ),
      Effect.catchIf(isMissing, () => Effect.succeedNone)
    )
    return forViewer ? limiter.passWithin(config.readDeadline, at, manifest) : limiter.pass(manifest)
  }

  const writeManifest = (resource: string, file: Uint8Array) =>
    Effect.andThen(
      writeFile(path.join(directoryOf(resource), MANIFEST), [file]),
      // From now on it is of no use, and does no harm.
      Effect.ignore(remove(path.join(directoryOf(resource), REVOKED)))
    )

  // That needs no room, also on a disk that is full.
  const revokeManifest = (resource: string) => {
    const at = path.join(directoryOf(resource), MANIFEST)
    return io("rename", at, fs.rename(at, path.join(directoryOf(resource), REVOKED))).pipe(
      Effect.catchIf(isMissing, () => Effect.void),
      Effect.catch(() => remove(at))
    )
  }

  const revokedTreesAt = path.join(root, REVOKED_TREES)

  const readRevokedTrees = io("read", revokedTreesAt, fs.readFileString(revokedTreesAt)).pipe(
    Effect.map(Option.some),
    Effect.catchIf(isMissing, () => Effect.succeedNone)
  )

  return ChunkStore.of({
    readRevokedTrees: limiter.passWithin(config.readDeadline, revokedTreesAt, readRevokedTrees),
    writeRevokedTrees: (file) => limiter.pass(writeFile(revokedTreesAt, [file])),
    read: (key, length, scratch) => limiter.passWithin(config.readDeadline, pathOf(key), read(key, length, scratch)),
    verify: (key) => limiter.pass(verify(key)),
    write: (key, payload) => limiter.pass(writeFile(pathOf(key), [encodeHeader(key, payload), payload])),
    remove: (key) => limiter.pass(remove(pathOf(key))),
    readManifest: readManifest(MANIFEST),
    readRevoked: readManifest(REVOKED),
    writeManifest: (resource, file) => limiter.pass(writeManifest(resource, file)),
    revokeManifest: (resource) => limiter.pass(revokeManifest(resource)),
    removeResource: (resource, isAlone) => limiter.pass(removeResource(resource, isAlone)),
    family: (resource) => limiter.pass(family(resource)),
    list: (resource) => limiter.pass(Effect.map(contents(resource), ({ keys }) => keys)),
    contents: (resource) => limiter.pass(contents(resource)),
    pin: (resource, pinned) => limiter.pass(pin(resource, pinned)),
    stat: (key) => limiter.pass(stat(key)),
    touch: (key) => limiter.pass(touch(key)),
    resources,
    isBusy: () => limiter.isBusy(config.readDeadline),
    stalled: limiter.stalled,
    probe: (bytes) => limiter.pass(probe(bytes))
  })
})
