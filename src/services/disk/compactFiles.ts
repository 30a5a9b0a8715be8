import { Effect, FileSystem, Option } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { ChunkKey } from "../../domain/Chunk.ts"
import type { Representation } from "../../domain/Representation.ts"
import { inBlocks } from "./blocks.ts"
import { headerBytes, representationIn } from "./chunkFormat.ts"
import type { CompactResource } from "./ChunkStore.ts"
import * as CompactFormat from "./compactFormat.ts"
import { type FileCalls, isMissing } from "./fileCalls.ts"
import * as ManifestFormat from "./manifestFormat.ts"

/** What is read of a compact file to find out which representation it is of, in bytes: a header without checksums. */
const BEGIN_BYTES = headerBytes(0)

/** The largest compact file, in bytes. */
const MAX_BYTES = headerBytes(CompactFormat.COMPACT_BYTES) + CompactFormat.COMPACT_BYTES +
  2 * ManifestFormat.MAX_MANIFEST_BYTES

/**
 * The files of compact resources. `pathOf` is the path of one, which has another name when it was revoked, and `writeBehind` writes a file
 * atomically.
 */
export const make = Effect.fnUntraced(function*(
  { closing, io, open, readFile, remove }: FileCalls,
  pathOf: (resource: string, isRevoked: boolean) => string,
  writeBehind: (target: string, parts: ReadonlyArray<Uint8Array>) => Effect.Effect<void, CacheError>
) {
  const fs = yield* FileSystem.FileSystem

  /** Calls `use` with the path of a resource, and with that of a revoked one if it is missing. */
  const withFile = <A, R>(
    resource: string,
    use: (at: string, isRevoked: boolean) => Effect.Effect<A, CacheError, R>
  ): Effect.Effect<A, CacheError, R> =>
    Effect.catchIf(use(pathOf(resource, false), false), isMissing, () => use(pathOf(resource, true), true))

  /** Reads a whole file. */
  const load = (at: string): Effect.Effect<Buffer, CacheError> =>
    Effect.flatMap(io("stat", at, fs.stat(at)), ({ size, type }) =>
      type === "File" && Number(size) <= MAX_BYTES
        ? readFile(at, Buffer.allocUnsafeSlow(Number(size)))
        : Effect.fail(new IoError({ errno: "CORRUPT", operation: "stat", path: at })))

  /** What is in the file at a path. */
  const findAt = Effect.fnUntraced(
    function*(at: string, isRevoked: boolean, resource: string) {
      const file = yield* open(at, "r")
      const { mtime, size } = yield* io("stat", at, fs.stat(at))
      // Zeros if the file is shorter, as after a power failure.
      const begin = Buffer.alloc(BEGIN_BYTES)
      yield* io("read", at, file.read(begin, { position: 0n }))
      return {
        key: { resource, representation: representationIn(begin), index: 0 },
        bytes: inBlocks(Number(size)),
        used: Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() }),
        isRevoked
      }
    },
    Effect.scoped,
    (found, at) => closing(at, found)
  )

  const find = (resource: string): Effect.Effect<CompactResource | undefined, CacheError> =>
    Effect.catchIf(
      withFile(resource, (at, isRevoked) => findAt(at, isRevoked, resource)),
      isMissing,
      () => Effect.succeed(undefined)
    )

  const readManifest = (
    resource: string,
    isRevoked: boolean
  ): Effect.Effect<Option.Option<Representation>, CacheError> =>
    load(pathOf(resource, isRevoked)).pipe(
      Effect.map((file) => ManifestFormat.decode(resource, CompactFormat.split(file).manifest.toString())),
      Effect.catchIf((error) => isMissing(error) || error.errno === "CORRUPT", () => Effect.succeedNone)
    )

  const write = (key: ChunkKey, payload: Uint8Array, manifest: Uint8Array) =>
    writeBehind(pathOf(key.resource, false), [CompactFormat.encode(key, payload, manifest)])

  /** Revokes the file of a resource. Fails with `ENOENT` if it is missing. */
  const revoke = (resource: string): Effect.Effect<void, CacheError> => {
    const at = pathOf(resource, false)
    return Effect.catchIf(
      io("rename", at, fs.rename(at, pathOf(resource, true))),
      (error) => !isMissing(error),
      () => io("unlink", at, fs.remove(at))
    )
  }

  const removeFile = (resource: string): Effect.Effect<void, CacheError> =>
    withFile(resource, (at, isRevoked) => isRevoked ? remove(at) : io("unlink", at, fs.remove(at))).pipe(
      Effect.catchIf(({ errno }) => errno === "EISDIR", () => remove(pathOf(resource, false), true))
    )

  return { find, load, readManifest, remove: removeFile, revoke, withFile, write }
})
