import { Effect, FileSystem, Option, Path, Stream } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { familyOf } from "../../domain/Resource.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { CHUNK_SIZE } from "../config/settingTypes.ts"
import * as AtomicFiles from "./atomicFiles.ts"
import { bytesOnDisk, decode, encodeHeader, HEADER_BYTES } from "./chunkFormat.ts"
import type { ChunkStore, Contents, StoredChunk } from "./ChunkStore.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import * as FileCalls from "./fileCalls.ts"
import * as ManifestFiles from "./manifestFiles.ts"
import * as StoreLayout from "./storeLayout.ts"

/** The files of chunks. `make` passes each call through `DiskLimiter`. */
const makeFiles = Effect.fnUntraced(
  function*(calls: FileCalls.FileCalls, { pathOf }: ReturnType<typeof StoreLayout.make>) {
    const fs = yield* FileSystem.FileSystem

    const read = Effect.fnUntraced(function*(key: ChunkKey, length: number, scratch?: Buffer) {
      const at = pathOf(key)
      const payload = decode(key, yield* calls.readFile(at, length + HEADER_BYTES, scratch))
      return payload ?? (yield* new IoError({ errno: "CORRUPT", operation: "read", path: at }))
    })

    const verify = Effect.fnUntraced(function*(key: ChunkKey) {
      const at = pathOf(key)
      const { size, type } = yield* calls.io("stat", at, fs.stat(at))
      if (type !== "File" || Number(size) > CHUNK_SIZE.maximum + HEADER_BYTES) {
        return yield* new IoError({ errno: "CORRUPT", operation: "stat", path: at })
      }
      const payload = yield* read(key, Math.max(0, Number(size) - HEADER_BYTES))
      return payload.length
    })

    const stat = (key: ChunkKey) =>
      calls.io("stat", pathOf(key), fs.stat(pathOf(key))).pipe(
        Effect.map(({ mtime, size }) =>
          Option.some<StoredChunk>({
            key,
            bytes: bytesOnDisk(Number(size) - HEADER_BYTES),
            used: Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() })
          })
        ),
        Effect.catchIf(FileCalls.isMissing, () => Effect.succeedNone)
      )

    const touch = (key: ChunkKey) =>
      Effect.clockWith((clock) => {
        const now = clock.currentTimeMillisUnsafe() / 1000
        return calls.io("stat", pathOf(key), fs.utimes(pathOf(key), now, now))
      })

    return { read, stat, touch, verify }
  }
)

/** The store on disk. All calls pass `DiskLimiter`, and viewers wait at most `readDeadline`. */
export const make = Effect.gen(function*() {
  const path = yield* Path.Path
  const { directory, readDeadline } = yield* CacheConfig
  const limiter = yield* DiskLimiter
  const layout = StoreLayout.make(path, directory)
  const { directoryOf, fileOf, pathOf, prefixAt, prefixOf, revokedTrees, root } = layout
  const calls = yield* FileCalls.make(limiter.progressed)
  const { readDirectory, remove } = calls
  const { probe, removeTemporaries, writeFile } = yield* AtomicFiles.make(calls, root)
  const manifests = yield* ManifestFiles.make(calls, fileOf, writeFile)
  const files = yield* makeFiles(calls, layout)

  const contents = Effect.fnUntraced(function*(resource: string): Effect.fn.Return<Contents, CacheError> {
    const names = yield* readDirectory(directoryOf(resource))
    return {
      keys: names.flatMap((name) => StoreLayout.parseFileName(resource, name) ?? []),
      manifest: yield* manifests.stored(resource, names),
      pinned: names.includes(StoreLayout.PINNED)
    }
  })

  /** The names in the directory of a prefix, which is removed if it has none. */
  const tidied = (directory: string) =>
    Effect.tap(
      readDirectory(directory),
      (names) => names.length === 0 ? Effect.ignore(remove(directory, true)) : Effect.void
    )

  const removeResource = Effect.fnUntraced(function*(resource: string, isAlone: boolean) {
    yield* remove(directoryOf(resource), true)
    // An empty directory does no harm.
    if (isAlone) yield* Effect.ignore(tidied(prefixOf(resource)))
  })

  const family = (resource: string) =>
    Effect.map(
      readDirectory(prefixOf(resource)),
      (names) => names.filter((name) => StoreLayout.isResource(name) && familyOf(name) === familyOf(resource))
    )

  const pin = (resource: string, pinned: boolean) => {
    const at = fileOf(resource, StoreLayout.PINNED)
    return pinned ? writeFile(at, []) : remove(at)
  }

  const listed = (directory: string) =>
    limiter.pass(Effect.tap(readDirectory(directory), (names) => removeTemporaries(directory, names)))

  const resources = (skip: (error: CacheError) => Effect.Effect<void, CacheError>) =>
    Stream.fromIterableEffect(listed(root)).pipe(
      Stream.filter(StoreLayout.isPrefix),
      Stream.mapEffect((prefix) =>
        Effect.catch(limiter.pass(tidied(prefixAt(prefix))), (error) => Effect.as(skip(error), []))
      ),
      Stream.flattenIterable,
      Stream.filter(StoreLayout.isResource),
      Stream.filterEffect((resource) =>
        Effect.matchEffect(listed(directoryOf(resource)), {
          onSuccess: () => Effect.succeed(true),
          onFailure: (error) => Effect.as(skip(error), false)
        })
      )
    )

  const readManifest = (name: string) => (resource: string, forViewer = false) => {
    const at = fileOf(resource, name)
    const manifest = manifests.read(resource, at)
    return forViewer ? limiter.passWithin(readDeadline, at, manifest) : limiter.pass(manifest)
  }

  const store: ChunkStore["Service"] = {
    readRevokedTrees: limiter.passWithin(readDeadline, revokedTrees, manifests.readText(revokedTrees)),
    writeRevokedTrees: (file) => limiter.pass(writeFile(revokedTrees, [file])),
    read: (key, length, scratch) => limiter.passWithin(readDeadline, pathOf(key), files.read(key, length, scratch)),
    verify: (key) => limiter.pass(files.verify(key)),
    write: (key, payload) => limiter.pass(writeFile(pathOf(key), [encodeHeader(key, payload), payload])),
    remove: (key) => limiter.pass(remove(pathOf(key))),
    readManifest: readManifest(StoreLayout.MANIFEST),
    readRevoked: readManifest(StoreLayout.REVOKED),
    writeManifest: (resource, file) => limiter.pass(manifests.write(resource, file)),
    revokeManifest: (resource) => limiter.pass(manifests.revoke(resource)),
    removeResource: (resource, isAlone) => limiter.pass(removeResource(resource, isAlone)),
    family: (resource) => limiter.pass(family(resource)),
    list: (resource) => limiter.pass(Effect.map(contents(resource), ({ keys }) => keys)),
    contents: (resource) => limiter.pass(contents(resource)),
    pin: (resource, pinned) => limiter.pass(pin(resource, pinned)),
    stat: (key) => limiter.pass(files.stat(key)),
    touch: (key) => limiter.pass(files.touch(key)),
    resources,
    isBusy: () => limiter.isBusy(readDeadline),
    stalled: limiter.stalled,
    probe: (bytes) => limiter.pass(probe(bytes))
  }
  return store
})
