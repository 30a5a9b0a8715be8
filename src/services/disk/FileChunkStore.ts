import { Effect, FileSystem, Option, Path, Scope, Stream } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import { familyOf } from "../../domain/Resource.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { CHUNK_SIZE } from "../config/settingTypes.ts"
import * as AtomicFiles from "./atomicFiles.ts"
import { inBlocks } from "./blocks.ts"
import {
  bytesToVerify,
  decodeHeader,
  encodeHeader,
  headerBytes,
  isIntact,
  PART_BYTES,
  partAt,
  payloadBytes
} from "./chunkFormat.ts"
import type { ChunkStore, Contents, StoredChunk } from "./ChunkStore.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import * as FileCalls from "./fileCalls.ts"
import * as ManifestFiles from "./manifestFiles.ts"
import { IDLE_MILLIS, OpenChunks } from "./OpenChunks.ts"
import * as StoreLayout from "./storeLayout.ts"

/** How long the end of the program waits for open files to be closed. */
const CLOSE_TIMEOUT = "1 second"

/** The files of chunks. `make` passes each call through `DiskLimiter`. */
const makeFiles = Effect.fnUntraced(
  function*(calls: FileCalls.FileCalls, { pathOf }: ReturnType<typeof StoreLayout.make>, opened: OpenChunks) {
    const fs = yield* FileSystem.FileSystem

    /** Opens a chunk of `length` bytes, and verifies its header. */
    const open = Effect.fnUntraced(function*(key: ChunkKey, length: number) {
      const at = pathOf(key)
      const file = yield* calls.open(at, "r")
      let bytes = Buffer.allocUnsafeSlow(headerBytes(length))
      yield* calls.fill(at, file, bytes, 0)
      const needed = bytesToVerify(length, bytes)
      if (needed !== bytes.length) yield* calls.fill(at, file, bytes = Buffer.allocUnsafeSlow(needed), 0)
      const layout = decodeHeader(key, length, bytes)
      return layout === undefined ? yield* damaged(at) : { file, ...layout }
    })

    const read = (key: ChunkKey, length: number, { end, start }: ByteRange, scratch?: Buffer) => {
      const at = pathOf(key)
      const first = partAt(start)
      const from = first * PART_BYTES
      const bytes = Math.min(length, (partAt(end - 1) + 1) * PART_BYTES) - from
      const buffer = scratch?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes)
      return opened.use(
        key,
        (scope) => Scope.provide(open(key, length), scope),
        ({ checksums, file, offset }) =>
          Effect.flatMap(
            calls.fill(at, file, buffer, offset + from),
            () =>
              isIntact(checksums, first, buffer)
                ? Effect.succeed(buffer.subarray(start - from, end - from))
                : damaged(at)
          )
      )
    }

    const verify = Effect.fnUntraced(function*(key: ChunkKey) {
      const at = pathOf(key)
      const { size, type } = yield* calls.io("stat", at, fs.stat(at))
      if (type !== "File" || Number(size) > headerBytes(CHUNK_SIZE.maximum) + CHUNK_SIZE.maximum) {
        return yield* new IoError({ errno: "CORRUPT", operation: "stat", path: at })
      }
      const file = yield* calls.readFile(at, Number(size))
      const length = payloadBytes(file.length, file)
      const layout = decodeHeader(key, length, file.subarray(0, bytesToVerify(length, file)))
      if (layout === undefined) return yield* damaged(at)
      return isIntact(layout.checksums, 0, file.subarray(layout.offset)) ? length : yield* damaged(at)
    })

    const stat = (key: ChunkKey) =>
      calls.io("stat", pathOf(key), fs.stat(pathOf(key))).pipe(
        Effect.map(({ mtime, size }) =>
          Option.some<StoredChunk>({
            key,
            bytes: inBlocks(Number(size)),
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

const damaged = (path: string) => Effect.fail(new IoError({ errno: "CORRUPT", operation: "read", path }))

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
  const opened = new OpenChunks()
  const files = yield* makeFiles(calls, layout, opened)
  const release = (key?: ChunkKey) => limiter.pass(key === undefined ? opened.dropAll("all") : opened.drop(key))
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(Effect.interruptible(release()), CLOSE_TIMEOUT)))
  yield* Effect.sleep(IDLE_MILLIS).pipe(
    Effect.andThen(limiter.pass(opened.dropAll("unused"))),
    keepRunning("OpenChunks")
  )

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
    yield* Effect.ensuring(remove(directoryOf(resource), true), opened.dropResource(resource))
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
    writeRevokedTrees: (file) => limiter.pass(writeFile(revokedTrees, [file], true)),
    read: (key, length, range, scratch) =>
      limiter.passWithin(readDeadline, pathOf(key), files.read(key, length, range, scratch)),
    verify: (key) => limiter.pass(files.verify(key)),
    write: (key, payload) =>
      limiter.pass(
        Effect.ensuring(writeFile(pathOf(key), [encodeHeader(key, payload), payload]), opened.drop(key))
      ),
    remove: (key) => limiter.pass(Effect.ensuring(remove(pathOf(key)), opened.drop(key))),
    release,
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
