import { Context, Effect, FileSystem, Layer, Option, Path, Schema, Stream } from "effect"
import { crc32 } from "node:zlib"
import { type CacheError, IoError } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { keyText, MAX_CHUNKS } from "../domain/Chunk.ts"
import { isSound, Representation } from "../domain/Representation.ts"
import { CacheConfig, CHUNK_SIZE } from "./CacheConfig.ts"
import { decode, encodeHeader, HEADER_BYTES } from "./chunkFile.ts"
import { DiskGate } from "./DiskGate.ts"
import * as WholeFiles from "./wholeFiles.ts"

/** A chunk as it lies in the store. */
export interface StoredChunk {
  readonly key: ChunkKey
  /** What it takes of the store, in bytes. */
  readonly bytes: number
  /** When it was last written or touched, in milliseconds since 1970. */
  readonly used: number
}

/** What the store has of a resource. */
export interface Contents {
  readonly keys: ReadonlyArray<ChunkKey>
  readonly pinned: boolean
}

/** Space is given out in blocks, and a cache of a limited size counts what it really takes. */
const BLOCK_BYTES = 4096

/** What a chunk with `payload` bytes takes of the disk, in bytes. */
export const bytesOnDisk = (payload: number): number => Math.ceil((payload + HEADER_BYTES) / BLOCK_BYTES) * BLOCK_BYTES

/** What a resource takes besides its chunks (two directories and its manifest), in bytes. */
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
   * for the file's header too, and is written to until the read has succeeded, or for ever where it has not. A read that
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
  /** Keeps what is known of a representation as that of its resource: the one before is replaced, whole or not at all. */
  readonly writeManifest: (representation: Representation) => Effect.Effect<void, CacheError>
  /** Drops all that is kept of a resource. */
  readonly removeResource: (resource: string) => Effect.Effect<void, CacheError>
  /** The chunks kept of one resource, in no order. */
  readonly list: (resource: string) => Effect.Effect<ReadonlyArray<ChunkKey>, CacheError>
  /** The same, and whether the resource is marked to stay. */
  readonly contents: (resource: string) => Effect.Effect<Contents, CacheError>
  /** Marks a resource to stay, or no more. The mark goes with `removeResource`. */
  readonly pin: (resource: string, pinned: boolean) => Effect.Effect<void, CacheError>
  /** What is known of a chunk without reading it, or none when it is gone. */
  readonly stat: (key: ChunkKey) => Effect.Effect<Option.Option<StoredChunk>, CacheError>
  /** Marks a chunk as used now, for the order of eviction after a restart. */
  readonly touch: (key: ChunkKey) => Effect.Effect<void, CacheError>
  /**
   * The resources of which anything is kept. Removes what an interrupted write left behind. `skip` decides about a directory that
   * cannot be read: the stream goes on without it, or fails.
   */
  readonly resources: (
    skip: (error: CacheError) => Effect.Effect<void, CacheError>
  ) => Stream.Stream<string, CacheError>
  /** Whether a `read` would fail at once with `DiskBusy`. */
  readonly isBusy: () => boolean
  /** Waits until calls have been under way for so many milliseconds without the disk doing anything. */
  readonly stalled: (millis: number) => Effect.Effect<void>
  /** Writes, reads and removes a file of so many bytes: succeeds when the store can be used. */
  readonly probe: (bytes: number) => Effect.Effect<void, CacheError>
}>()("spillway/services/ChunkStore") {
  /** Chunks in the directory of `CacheConfig`, through the `FileSystem` in context. */
  static readonly layer: Layer.Layer<
    ChunkStore,
    never,
    CacheConfig | DiskGate | FileSystem.FileSystem | Path.Path
  > = Layer.effect(ChunkStore, Effect.suspend(() => makeOnDisk))

  /** Chunks in memory, without a limit: for tests, and to see a stream work without a disk. */
  static readonly layerMemory: Layer.Layer<ChunkStore> = Layer.sync(ChunkStore, () => makeInMemory())
}

/** How large a manifest may be, in bytes: ten times the largest header that is taken from an origin. */
const MAX_MANIFEST_BYTES = 256 * 1024

const MANIFEST = "manifest.json"
const PINNED = "pinned"

const manifestJson = Schema.fromJsonString(Representation)
const encodeManifest = Schema.encodeEffect(manifestJson)
const decodeManifest = Schema.decodeUnknownOption(manifestJson)

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
  const gate = yield* DiskGate
  const root = path.join(config.directory, "v1")
  const directoryOf = (resource: string) => path.join(root, resource.slice(0, 2), resource)
  const pathOf = (key: ChunkKey) => path.join(directoryOf(key.resource), fileName(key))
  const { io, isMissing, probe, readDirectory, readFile, remove, removeTemporaries, writeFile } = yield* WholeFiles
    .make(
      fs,
      path,
      root,
      gate.progressed
    )

  const contents = (resource: string) =>
    Effect.map(readDirectory(directoryOf(resource)), (names): Contents => ({
      keys: names.flatMap((name) => parseFileName(resource, name) ?? []),
      pinned: names.includes(PINNED)
    }))

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
    gate.pass(Effect.tap(readDirectory(directory), (names) => removeTemporaries(directory, names)))

  const resources = (skip: (error: CacheError) => Effect.Effect<void, CacheError>) =>
    Stream.fromIterableEffect(listed(root)).pipe(
      Stream.filter((name) => /^[0-9a-f]{2}$/.test(name)),
      Stream.mapEffect((prefix) =>
        Effect.catch(gate.pass(readDirectory(path.join(root, prefix))), (error) => Effect.as(skip(error), []))
      ),
      Stream.flattenIterable,
      Stream.filter((name) => /^[0-9a-f]{32}$/.test(name)),
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

  const readManifest = (resource: string) => {
    const at = path.join(directoryOf(resource), MANIFEST)
    const understood = (text: string) => {
      const [json = "", checksum] = text.split("\n")
      return checksum === String(crc32(json)) ? decodeManifest(json) : Option.none()
    }
    const isSane = (found: Representation) => isSound(found, resource) && found.chunkSize <= CHUNK_SIZE.maximum
    return io("stat", at, fs.stat(at)).pipe(
      Effect.flatMap(({ size, type }) =>
        type === "File" && Number(size) <= MAX_MANIFEST_BYTES
          ? Effect.map(io("read", at, fs.readFileString(at)), (text) => Option.filter(understood(text), isSane))
          : Effect.succeedNone
      ),
      Effect.catchIf(isMissing, () => Effect.succeedNone)
    )
  }

  const writeManifest = (representation: Representation) =>
    Effect.flatMap(
      Effect.orDie(encodeManifest(representation)),
      (json) =>
        writeFile(path.join(directoryOf(representation.resource), MANIFEST), [Buffer.from(`${json}\n${crc32(json)}`)])
    )

  return ChunkStore.of({
    read: (key, length, scratch) => gate.passWithin(config.readDeadline, pathOf(key), read(key, length, scratch)),
    verify: (key) => gate.pass(verify(key)),
    write: (key, payload) => gate.pass(writeFile(pathOf(key), [encodeHeader(key, payload), payload])),
    remove: (key) => gate.pass(remove(pathOf(key))),
    readManifest: (resource, forViewer = false) =>
      forViewer
        ? gate.passWithin(config.readDeadline, path.join(directoryOf(resource), MANIFEST), readManifest(resource))
        : gate.pass(readManifest(resource)),
    writeManifest: (representation) => gate.pass(writeManifest(representation)),
    removeResource: (resource) => gate.pass(remove(directoryOf(resource), true)),
    list: (resource) => gate.pass(Effect.map(contents(resource), ({ keys }) => keys)),
    contents: (resource) => gate.pass(contents(resource)),
    pin: (resource, pinned) => gate.pass(pin(resource, pinned)),
    stat: (key) => gate.pass(stat(key)),
    touch: (key) => gate.pass(touch(key)),
    resources,
    isBusy: () => gate.isBusy(config.readDeadline),
    stalled: gate.stalled,
    probe: (bytes) => gate.pass(probe(bytes))
  })
})

const makeInMemory = () => {
  const chunks = new Map<string, { readonly key: ChunkKey; readonly payload: Uint8Array; readonly used: number }>()
  const manifests = new Map<string, Representation>()
  const pins = new Set<string>()
  const of = (resource: string) => [...chunks.values()].filter(({ key }) => key.resource === resource)
  return ChunkStore.of({
    read: (key, length) =>
      Effect.suspend(() => {
        const found = chunks.get(keyText(key))
        const path = keyText(key)
        if (found === undefined) return Effect.fail(new IoError({ errno: "ENOENT", operation: "open", path }))
        return found.payload.length === length
          ? Effect.succeed(found.payload)
          : Effect.fail(new IoError({ errno: "SHORT_READ", operation: "read", path }))
      }),
    verify: (key) =>
      Effect.suspend(() => {
        const found = chunks.get(keyText(key))
        return found === undefined
          ? Effect.fail(new IoError({ errno: "ENOENT", operation: "stat", path: keyText(key) }))
          : Effect.succeed(found.payload.length)
      }),
    write: (key, payload) =>
      Effect.clockWith((clock) =>
        Effect.sync(() =>
          void chunks.set(keyText(key), { key, payload: payload.slice(), used: clock.currentTimeMillisUnsafe() })
        )
      ),
    remove: (key) => Effect.sync(() => void chunks.delete(keyText(key))),
    readManifest: (resource) => Effect.sync(() => Option.fromNullishOr(manifests.get(resource))),
    writeManifest: (representation) => Effect.sync(() => void manifests.set(representation.resource, representation)),
    removeResource: (resource) =>
      Effect.sync(() => {
        for (const { key } of of(resource)) chunks.delete(keyText(key))
        manifests.delete(resource)
        pins.delete(resource)
      }),
    list: (resource) => Effect.sync(() => of(resource).map(({ key }) => key)),
    contents: (resource) =>
      Effect.sync(() => ({ keys: of(resource).map(({ key }) => key), pinned: pins.has(resource) })),
    pin: (resource, pinned) => Effect.sync(() => void (pinned ? pins.add(resource) : pins.delete(resource))),
    stat: (key) =>
      Effect.sync(() =>
        Option.map(
          Option.fromNullishOr(chunks.get(keyText(key))),
          ({ payload, used }) => ({ key, bytes: bytesOnDisk(payload.length), used })
        )
      ),
    touch: () => Effect.void,
    resources: () =>
      Stream.suspend(() =>
        Stream.fromIterable(new Set([...manifests.keys(), ...[...chunks.values()].map(({ key }) => key.resource)]))
      ),
    isBusy: () => false,
    stalled: () => Effect.never,
    probe: () => Effect.void
  })
}
