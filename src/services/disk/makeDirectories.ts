import { Effect, type FileSystem, type Path } from "effect"
import { type CacheError, fromPlatformError } from "../../domain/CacheError.ts"

/** What is kept is for the process alone: it may have been had with credentials. */
const DIRECTORY_MODE = 0o700

/**
 * Makes a directory and those above it that are missing; one that is there is no error. Step by step, since Node's own way says
 * `ENOENT` on a file system that is read-only.
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
