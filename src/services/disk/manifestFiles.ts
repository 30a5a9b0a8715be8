import { Effect, FileSystem } from "effect"
import type { CacheError } from "../../domain/CacheError.ts"
import { inBlocks } from "./blocks.ts"
import type { StoredManifest } from "./ChunkStore.ts"
import { type FileCalls, isMissing } from "./fileCalls.ts"
import * as ManifestFormat from "./manifestFormat.ts"
import { MANIFEST, REVOKED } from "./storeLayout.ts"

/**
 * The manifests on disk. To revoke one renames it, which needs no room, even on a full disk. `fileOf` is the path of a file of a
 * resource, and `writeBehind` writes one atomically.
 */
export const make = Effect.fnUntraced(function*(
  { io, remove }: FileCalls,
  fileOf: (resource: string, name: string) => string,
  writeBehind: (target: string, parts: ReadonlyArray<Uint8Array>) => Effect.Effect<void, CacheError>
) {
  const fs = yield* FileSystem.FileSystem

  /** What there is, if `names` are the files of the resource. */
  const stored = Effect.fnUntraced(function*(
    resource: string,
    names: ReadonlyArray<string>
  ): Effect.fn.Return<StoredManifest, CacheError> {
    const name = [MANIFEST, REVOKED].find((name) => names.includes(name))
    if (name === undefined) return { bytes: 0, isRevoked: false }
    const at = fileOf(resource, name)
    const bytes = yield* io("stat", at, fs.stat(at)).pipe(
      Effect.map(({ size }) => inBlocks(Number(size))),
      Effect.catchIf(isMissing, () => Effect.succeed(0))
    )
    return { bytes, isRevoked: name === REVOKED }
  })

  /** The representation in the file at `at`, or none if it is missing or not understood. */
  const read = (resource: string, at: string) =>
    io("stat", at, fs.stat(at)).pipe(
      Effect.flatMap(({ size, type }) =>
        type === "File" && Number(size) <= ManifestFormat.MAX_MANIFEST_BYTES
          ? Effect.map(io("read", at, fs.readFileString(at)), (text) => ManifestFormat.decode(resource, text))
          : Effect.succeedNone
      ),
      Effect.catchIf(isMissing, () => Effect.succeedNone)
    )

  const write = (resource: string, file: Uint8Array) => writeBehind(fileOf(resource, MANIFEST), [file])

  /** Removes a revoked manifest. When another one was written, it is of no use any more, and does no harm. */
  const removeRevoked = (resource: string) => Effect.ignore(remove(fileOf(resource, REVOKED)))

  const revoke = (resource: string) => {
    const at = fileOf(resource, MANIFEST)
    return io("rename", at, fs.rename(at, fileOf(resource, REVOKED))).pipe(
      Effect.catchIf(isMissing, () => Effect.void),
      Effect.catch(() => remove(at))
    )
  }

  /** The text of the file at `at`, or none if it is missing. */
  const readText = (at: string) =>
    Effect.catchIf(Effect.asSome(io("read", at, fs.readFileString(at))), isMissing, () => Effect.succeedNone)

  return { read, readText, removeRevoked, revoke, stored, write }
})
