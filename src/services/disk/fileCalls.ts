import { Effect, FileSystem, type Scope } from "effect"
import { type CacheError, fromPlatformError, IoError } from "../../domain/CacheError.ts"
import { type ReadableFile, ReaderThread } from "./ReaderThread.ts"

/** Files and directories are for this process only. */
const FILE_MODE = 0o600

/** Whether nothing is there: the name is free, or a directory above it is missing or isn't one. */
export const isMissing = ({ errno }: CacheError): boolean => errno === "ENOENT" || errno === "ENOTDIR"

/** The calls to the file system, with typed errors. */
export interface FileCalls {
  /** Gives the errors of `effect` the operation and path they belong to. */
  readonly io: <A, R>(
    operation: string,
    at: string,
    effect: Effect.Effect<A, Parameters<ReturnType<typeof fromPlatformError>>[0], R>
  ) => Effect.Effect<A, CacheError, R>
  /** Opens a file to read it, or a new one to write it. Close it inside of `closing`. */
  readonly open: (at: string, flag: "r" | "wx") => Effect.Effect<FileSystem.File, CacheError, Scope.Scope>
  /** Opens a file that stays open for many short reads, which `ReaderThread` does if there is one. */
  readonly openToRead: (at: string) => Effect.Effect<ReadableFile, CacheError, Scope.Scope>
  /** Fails with `IoError` if a file that `effect` has opened at `at` can't be closed. */
  readonly closing: <A, R>(at: string, effect: Effect.Effect<A, CacheError, R>) => Effect.Effect<A, CacheError, R>
  /** Fills `buffer` with the bytes of the open file at `at` from `position` on. Fails with `SHORT_READ` if there are fewer. */
  readonly fill: (
    at: string,
    file: ReadableFile,
    buffer: Buffer,
    position: number
  ) => Effect.Effect<void, CacheError>
  /** Fills `buffer` with the first bytes of a file, and returns it. Fails with `SHORT_READ` if the file has fewer. */
  readonly readFile: (at: string, buffer: Buffer) => Effect.Effect<Buffer, CacheError>
  /** The names in a directory; none if it is missing. */
  readonly readDirectory: (at: string) => Effect.Effect<Array<string>, CacheError>
  /** Removes a file, or a directory in its place. A missing file does not fail. */
  readonly remove: (at: string, recursive?: boolean) => Effect.Effect<void, CacheError>
}

/** Calls through the `FileSystem` in context. Each calls `progressed` when it has ended. */
export const make = Effect.fnUntraced(function*(progressed: () => void): Effect.fn.Return<
  FileCalls,
  never,
  FileSystem.FileSystem
> {
  const fs = yield* FileSystem.FileSystem
  const reader = yield* ReaderThread
  const step = Effect.sync(progressed)

  const io: FileCalls["io"] = (operation, at, effect) =>
    Effect.ensuring(Effect.mapError(effect, fromPlatformError(operation, at)), step)

  const open: FileCalls["open"] = (at, flag) => io("open", at, fs.open(at, { flag, mode: FILE_MODE }))

  const openToRead: FileCalls["openToRead"] = (at) =>
    reader === undefined ? open(at, "r") : io("open", at, reader.open(at))

  // If `close` fails, the scope ends in a defect, which would hide the typed error from `catchTag`.
  const closing: FileCalls["closing"] = (at, effect) =>
    Effect.catchDefect(effect, () => Effect.fail(new IoError({ errno: "EIO", operation: "close", path: at })))

  // In one step, without `io`: each short range takes it.
  const fill: FileCalls["fill"] = (at, file, buffer, position) =>
    Effect.matchEffect(file.read(buffer, { position: BigInt(position) }), {
      onFailure: (error) => {
        progressed()
        return Effect.fail(fromPlatformError("read", at)(error))
      },
      onSuccess: (count) => {
        progressed()
        if (count === buffer.length) return Effect.void
        if (count > 0) return fill(at, file, buffer.subarray(count), position + count)
        return Effect.fail(new IoError({ errno: "SHORT_READ", operation: "read", path: at }))
      }
    })

  const readFile = Effect.fnUntraced(function*(at: string, buffer: Buffer) {
    const file = yield* open(at, "r")
    yield* fill(at, file, buffer, 0)
    return buffer
  }, Effect.scoped)

  const remove: FileCalls["remove"] = (at, recursive = false) =>
    io("unlink", at, fs.remove(at, { force: true, recursive })).pipe(
      Effect.catchIf(({ errno }) => errno === "EISDIR" && !recursive, () => remove(at, true)),
      Effect.catchIf(({ errno }) => errno === "ENOTDIR", () => Effect.void)
    )

  return {
    io,
    open,
    openToRead,
    closing,
    fill,
    readFile: (at, buffer) => closing(at, readFile(at, buffer)),
    readDirectory: (at) =>
      io("readdir", at, fs.readDirectory(at)).pipe(
        Effect.catchIf(isMissing, () => Effect.succeed<Array<string>>([]))
      ),
    remove
  }
})
