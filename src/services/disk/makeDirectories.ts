import { Effect, type FileSystem, type Path } from "effect"
import { type CacheError, fromPlatformError } from "../../domain/CacheError.ts"

/** Directories are for this process only: cached responses may have needed credentials. */
const DIRECTORY_MODE = 0o700

/**
 * Makes a directory and its missing parents. An existing one does not fail. This goes step by step, because Node's recursive call fails
 * with `ENOENT` on a read-only file system.
 */
export const makeDirectories = (
  fs: FileSystem.FileSystem,
  path: Path.Path,
  directory: string
): Effect.Effect<void, CacheError> => {
  const make = Effect.mapError(
    fs.makeDirectory(directory, { mode: DIRECTORY_MODE }),
    fromPlatformError("mkdir", directory)
  ).pipe(
    Effect.catchIf(({ errno }) => errno === "EEXIST", () => Effect.void)
  )
  const parent = path.dirname(directory)
  return Effect.catchIf(
    make,
    ({ errno }) => errno === "ENOENT" && parent !== directory,
    () => Effect.andThen(makeDirectories(fs, path, parent), make)
  )
}
