import { Effect, FileSystem, Option, Path, Scope } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { ByteRange } from "../../domain/rfc/ByteRange.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { ReusedBuffers } from "../../effects/ReusedBuffers.ts"
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
import type { ChunkStore, StoredChunk } from "./ChunkStore.ts"
import * as CompactFiles from "./compactFiles.ts"
import * as CompactFormat from "./compactFormat.ts"
import { COMPACT_BYTES } from "./compactFormat.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import * as FileCalls from "./fileCalls.ts"
import * as LentMemory from "./LentMemory.ts"
import * as ManifestFiles from "./manifestFiles.ts"
import { IDLE_MILLIS, OpenChunks } from "./OpenChunks.ts"
import * as StoreLayout from "./storeLayout.ts"
import * as StoreListing from "./storeListing.ts"

/** How long the end of the program waits for open files to be closed. */
const CLOSE_TIMEOUT = "1 second"

/** The files of chunks. `make` passes each call through `DiskLimiter`. */
const makeFiles = Effect.fnUntraced(
  function*(
    calls: FileCalls.FileCalls,
    { pathOf }: ReturnType<typeof StoreLayout.make>,
    compact: Effect.Success<ReturnType<typeof CompactFiles.make>>,
    opened: OpenChunks
  ) {
    const fs = yield* FileSystem.FileSystem
    /** The memory of chunks that are verified. */
    const verified = new ReusedBuffers(0)

    /** Calls `use` with the path of a chunk's own file. If it is missing, `orCompact` is called for a chunk that may be a whole body. */
    const withFile = <A, R>(
      key: ChunkKey,
      use: (at: string) => Effect.Effect<A, CacheError, R>,
      orCompact: () => Effect.Effect<A, CacheError, R>
    ): Effect.Effect<A, CacheError, R> =>
      key.index === 0 ? Effect.catchIf(use(pathOf(key)), FileCalls.isMissing, orCompact) : use(pathOf(key))

    const openAt = (at: string) => Effect.map(calls.openToRead(at), (file) => ({ at, file }))

    const findFile = (key: ChunkKey, length: number) =>
      key.index === 0 && length <= COMPACT_BYTES
        ? Effect.catchIf(
          compact.withFile(key.resource, openAt),
          FileCalls.isMissing,
          () => openAt(pathOf(key))
        )
        : openAt(pathOf(key))

    /** Opens a chunk of `length` bytes, and verifies its header. */
    const open = Effect.fnUntraced(function*(key: ChunkKey, length: number) {
      const { at, file } = yield* findFile(key, length)
      let bytes = Buffer.allocUnsafeSlow(headerBytes(length))
      yield* calls.fill(at, file, bytes, 0)
      const needed = bytesToVerify(length, bytes)
      if (needed !== bytes.length) yield* calls.fill(at, file, bytes = Buffer.allocUnsafeSlow(needed), 0)
      const layout = decodeHeader(key, length, bytes)
      return layout === undefined ? yield* damaged(at) : { at, file, ...layout }
    })

    /** The parts that a range touches: the bytes of a chunk from `from` on, so many of them. */
    const partsOf = (length: number, { end, start }: ByteRange) => {
      const first = partAt(start)
      const from = first * PART_BYTES
      return { first, from, bytes: Math.min(length, (partAt(end - 1) + 1) * PART_BYTES) - from }
    }

    const read = (key: ChunkKey, length: number, range: ByteRange, scratch?: Buffer) => {
      const { end, start } = range
      const { bytes, first, from } = partsOf(length, range)
      const buffer = scratch?.subarray(0, bytes) ?? Buffer.allocUnsafeSlow(bytes)
      return opened.use(
        key,
        (scope) => Scope.provide(open(key, length), scope),
        (chunk) =>
          Effect.flatMap(
            calls.fill(chunk.at, chunk.file, buffer, chunk.offset + from),
            () =>
              isIntact(chunk, first, buffer)
                ? Effect.succeed(buffer.subarray(start - from, end - from))
                : damaged(chunk.at)
          )
      )
    }

    /** Reads into memory that is lent. If nobody awaits the bytes when they are there, it is given back. */
    const readShort = (
      key: ChunkKey,
      length: number,
      range: ByteRange,
      memory: LentMemory.LentMemory,
      isAwaited: () => boolean
    ): Effect.Effect<LentMemory.LentBytes, CacheError> =>
      Effect.suspend(() => {
        if (partsOf(length, range).bytes > memory.maxBytes) {
          return Effect.map(read(key, length, range), (bytes) => ({ bytes, release: LentMemory.nothing }))
        }
        const buffer = memory.take()
        const release = () => memory.give(buffer)
        return Effect.matchCauseEffect(read(key, length, range, buffer), {
          onFailure: (cause) => {
            release()
            return Effect.failCause(cause)
          },
          onSuccess: (bytes) => {
            if (!isAwaited()) release()
            return Effect.succeed({ bytes, release })
          }
        })
      })

    /** The length of the chunk that is in `file`, which was read from `at`, if it is intact. */
    const verifyFile = (key: ChunkKey, at: string, file: Buffer): Effect.Effect<number, CacheError> => {
      const length = payloadBytes(file.length, file)
      const layout = decodeHeader(key, length, file.subarray(0, bytesToVerify(length, file)))
      const isGood = layout !== undefined && isIntact(layout, 0, file.subarray(layout.offset))
      return isGood ? Effect.succeed(length) : damaged(at)
    }

    const verifyOwn = (key: ChunkKey) =>
      Effect.fnUntraced(function*(at: string) {
        const { size, type } = yield* calls.io("stat", at, fs.stat(at))
        if (type !== "File" || Number(size) > headerBytes(CHUNK_SIZE.maximum) + CHUNK_SIZE.maximum) {
          return yield* new IoError({ errno: "CORRUPT", operation: "stat", path: at })
        }
        const memory = verified.take(Number(size))
        const file = yield* Effect.onError(
          calls.readFile(at, memory),
          () => Effect.sync(() => verified.forget(memory))
        )
        const outcome = verifyFile(key, at, file)
        verified.release(memory)
        return yield* outcome
      })

    const verifyCompact = (key: ChunkKey) => (at: string) =>
      Effect.flatMap(compact.load(at), (file) => verifyFile(key, at, CompactFormat.split(file).chunk))

    const verify = (key: ChunkKey) =>
      withFile(key, verifyOwn(key), () => compact.withFile(key.resource, verifyCompact(key)))

    const statAt = (key: ChunkKey) => (at: string) =>
      Effect.map(calls.io("stat", at, fs.stat(at)), ({ mtime, size }): StoredChunk => ({
        key,
        bytes: inBlocks(Number(size)),
        used: Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() })
      }))

    const stat = (key: ChunkKey): Effect.Effect<Option.Option<StoredChunk>, CacheError> =>
      Effect.asSome(withFile(key, statAt(key), () => compact.withFile(key.resource, statAt(key)))).pipe(
        Effect.catchIf(FileCalls.isMissing, () => Effect.succeedNone)
      )

    const touch = (key: ChunkKey) =>
      Effect.clockWith((clock) => {
        const now = clock.currentTimeMillisUnsafe() / 1000
        const touchAt = (at: string) => calls.io("stat", at, fs.utimes(at, now, now))
        return withFile(key, touchAt, () => compact.withFile(key.resource, touchAt))
      })

    const remove = (key: ChunkKey, removeCompact: Effect.Effect<void, CacheError>) => {
      const removeOwn = key.index === 0
        ? withFile(key, (at) => calls.io("unlink", at, fs.remove(at)), () => removeCompact)
        : calls.remove(pathOf(key))
      const orDirectory = Effect.catchIf(
        removeOwn,
        ({ errno }) => errno === "EISDIR",
        () => calls.remove(pathOf(key), true)
      )
      return Effect.ensuring(orDirectory, opened.drop(key))
    }

    return { read, readShort, remove, stat, touch, verify }
  }
)

const damaged = (path: string) => Effect.fail(new IoError({ errno: "CORRUPT", operation: "read", path }))

/** The store on disk. All calls pass `DiskLimiter`, and viewers wait at most `readDeadline`. */
export const make = Effect.gen(function*() {
  const path = yield* Path.Path
  const { directory, readDeadline } = yield* CacheConfig
  const limiter = yield* DiskLimiter
  const layout = StoreLayout.make(path, directory)
  const { bans, compactOf, directoryOf, fileOf, pathOf, prefixOf, revokedTrees, root } = layout
  const calls = yield* FileCalls.make(limiter.progressed)
  const { readDirectory, remove } = calls
  const { probe, removeTemporaries, writeBehind, writeFile } = yield* AtomicFiles.make(calls, root)
  const manifests = yield* ManifestFiles.make(calls, fileOf, writeBehind)
  const compact = yield* CompactFiles.make(calls, compactOf, writeBehind)
  const opened = new OpenChunks()
  const memory = yield* LentMemory.make
  const files = yield* makeFiles(calls, layout, compact, opened)
  const release = (key?: ChunkKey) => limiter.pass(key === undefined ? opened.dropAll("all") : opened.drop(key))
  // Most chunks are new, and nothing is closed for them.
  const replaced = (key: ChunkKey) =>
    Effect.suspend(() => opened.pathOf(key) !== undefined ? release(key) : opened.drop(key))
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(Effect.interruptible(release()), CLOSE_TIMEOUT)))
  yield* Effect.sleep(IDLE_MILLIS).pipe(
    Effect.andThen(limiter.pass(opened.dropAll("unused"))),
    keepRunning("OpenChunks")
  )

  /** The names in the directory of a prefix, which is removed if it has none. */
  const tidied = (directory: string) =>
    Effect.tap(
      readDirectory(directory),
      (names) => names.length === 0 ? Effect.ignore(remove(directory, true)) : Effect.void
    )

  // An empty directory does no harm.
  const tidyPrefix = (resource: string, isAlone: boolean) =>
    isAlone ? Effect.ignore(tidied(prefixOf(resource))) : Effect.void

  const removeCompact = (resource: string, isAlone: boolean) =>
    Effect.andThen(compact.remove(resource), tidyPrefix(resource, isAlone))

  const removeResource = Effect.fnUntraced(function*(resource: string, isAlone: boolean) {
    const both = Effect.andThen(compact.remove(resource), remove(directoryOf(resource), true))
    yield* Effect.ensuring(both, opened.dropResource(resource))
    yield* tidyPrefix(resource, isAlone)
  })

  const withPrefix = (digits: string) =>
    Effect.map(
      readDirectory(prefixOf(digits)),
      (names) =>
        StoreLayout.parseResources(names).flatMap(({ resource }) => resource.startsWith(digits) ? [resource] : [])
    )

  const pin = (resource: string, pinned: boolean) => {
    const at = fileOf(resource, StoreLayout.PINNED)
    return pinned ? writeFile(at, []) : Effect.andThen(remove(at), Effect.ignore(tidied(directoryOf(resource))))
  }

  /** The path of a chunk, from memory if its file is open. */
  const knownPathOf = (key: ChunkKey) => opened.pathOf(key) ?? pathOf(key)

  const listing = StoreListing.make(layout, {
    findCompact: compact.find,
    readDirectory,
    remove,
    removeTemporaries,
    stat: files.stat,
    storedManifest: manifests.stored
  }, limiter)

  const readManifest = (name: string, isRevoked: boolean) => (resource: string, forViewer = false) => {
    const at = fileOf(resource, name)
    const manifest = Effect.flatMap(
      compact.readManifest(resource, isRevoked),
      (found) => Option.isSome(found) ? Effect.succeed(found) : manifests.read(resource, at)
    )
    return forViewer ? limiter.passWithin(readDeadline, at, manifest) : limiter.pass(manifest)
  }

  const readBans = Effect.flatMap(
    manifests.readText(bans),
    (found) => Option.isSome(found) ? Effect.succeed(found) : manifests.readText(revokedTrees)
  )

  const store: ChunkStore["Service"] = {
    readBans: limiter.passWithin(readDeadline, bans, readBans),
    writeBans: (file) => limiter.pass(writeFile(bans, [file], true)),
    read: (key, length, range, scratch) =>
      Effect.suspend(() => limiter.passWithin(readDeadline, knownPathOf(key), files.read(key, length, range, scratch))),
    readShort: (key, length, range, onEnd) => {
      let isAwaited = true
      const call = files.readShort(key, length, range, memory, () => isAwaited)
      limiter.startWithin(readDeadline, knownPathOf(key), call, (exit) => {
        isAwaited = false
        onEnd(exit)
      })
    },
    verify: (key) => limiter.pass(files.verify(key)),
    write: (key, payload) =>
      Effect.ensuring(writeBehind(pathOf(key), [encodeHeader(key, payload), payload]), replaced(key)),
    writeCompact: (key, payload, manifest) => Effect.ensuring(compact.write(key, payload, manifest), replaced(key)),
    remove: (key, isAlone = false) => limiter.pass(files.remove(key, removeCompact(key.resource, isAlone))),
    release,
    readManifest: readManifest(StoreLayout.MANIFEST, false),
    readRevoked: readManifest(StoreLayout.REVOKED, true),
    writeManifest: (resource, file, isFirst = false) =>
      isFirst ? manifests.write(resource, file) : limiter.pass(compact.remove(resource)).pipe(
        Effect.andThen(manifests.write(resource, file)),
        Effect.andThen(limiter.pass(manifests.removeRevoked(resource)))
      ),
    revokeManifest: (resource) =>
      limiter.pass(
        Effect.catchIf(compact.revoke(resource), FileCalls.isMissing, () => manifests.revoke(resource))
      ),
    removeResource: (resource, isAlone) => limiter.pass(removeResource(resource, isAlone)),
    withPrefix: (digits) => limiter.pass(withPrefix(digits)),
    ...listing,
    pin: (resource, pinned) => limiter.pass(pin(resource, pinned)),
    stat: (key) => limiter.pass(files.stat(key)),
    touch: (key) => limiter.pass(files.touch(key)),
    isBusy: () => limiter.isBusy(readDeadline),
    stalled: limiter.stalled,
    probe: (bytes) => limiter.pass(probe(bytes))
  }
  return store
})
