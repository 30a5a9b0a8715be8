import { Effect, type FileSystem, type Path, Random } from "effect"
import { type CacheError, fromPlatformError, IoError, TEMPORARY } from "../../domain/CacheError.ts"
import { makeDirectories } from "./makeDirectories.ts"

/** What is kept is for the process alone, as with directories. */
const FILE_MODE = 0o600

/** How many temporary files that cannot be removed are left in place; when there are more, nothing is written. */
const MAX_LEFTOVERS = 16

/** Whether nothing is there: the name is free, or a directory above it is missing or isn't a directory. */
const isMissing = ({ errno }: CacheError): boolean => errno === "ENOENT" || errno === "ENOTDIR"

/**
 * Files below `root` that are written whole or not at all. What stands in the way of one, such as a directory of its name, is
 * removed. `progressed` is called after each step.
 */
export const make = Effect.fnUntraced(function*(
  fs: FileSystem.FileSystem,
  path: Path.Path,
  root: string,
  progressed: () => void
) {
  const step = Effect.sync(progressed)
  // Names no other process's temporary files, even where each has the same process id, as in containers.
  const session = Math.abs(yield* Random.nextInt).toString(36)
  let temporaries = 0
  /** Temporary files whose removal has failed. It is tried again before each write. */
  const leftovers = new Set<string>()

  const io = <A, R>(
    operation: string,
    at: string,
    effect: Effect.Effect<A, Parameters<ReturnType<typeof fromPlatformError>>[0], R>
  ): Effect.Effect<A, CacheError, R> => Effect.ensuring(Effect.mapError(effect, fromPlatformError(operation, at)), step)

  const open = (at: string, flag: "r" | "wx") => io("open", at, fs.open(at, { flag, mode: FILE_MODE }))

  // A descriptor whose `close` fails ends in a defect, which would hide the typed error from `catchTag`.
  const closing = <A, R>(at: string, effect: Effect.Effect<A, CacheError, R>): Effect.Effect<A, CacheError, R> =>
    Effect.catchDefect(effect, () => Effect.fail(new IoError({ errno: "EIO", operation: "close", path: at })))

  /** Removes a file, or a directory in its place; one that is not there is no error. */
  const remove = (at: string, recursive = false): Effect.Effect<void, CacheError> =>
    io("unlink", at, fs.remove(at, { force: true, recursive })).pipe(
      Effect.catchIf(({ errno }) => errno === "EISDIR" && !recursive, () => remove(at, true)),
      Effect.catchIf(({ errno }) => errno === "ENOTDIR", () => Effect.void)
    )

  /** Removes a file of no use, or remembers to. */
  const discard = (at: string) =>
    Effect.match(remove(at), {
      onSuccess: () => void leftovers.delete(at),
      onFailure: () => void leftovers.add(at)
    })

  const discardLeftovers = Effect.suspend(() =>
    Effect.forEach(leftovers, (at) =>
      Effect.matchEffect(remove(at), {
        onSuccess: () => Effect.sync(() => void leftovers.delete(at)),
        onFailure: (error) => leftovers.size < MAX_LEFTOVERS ? Effect.void : Effect.fail(error)
      }), { discard: true })
  )

  /** Removes files that stand where the directories of `target` should be. */
  const freeDirectories = (target: string): Effect.Effect<void> => {
    const directory = path.dirname(target)
    if (!directory.startsWith(root + path.sep)) return Effect.void
    return Effect.andThen(
      freeDirectories(directory),
      Effect.ignore(io("unlink", directory, fs.remove(directory, { force: true })))
    )
  }

  /** An interrupted call continues in the thread pool: nothing is closed or renamed under it, hence `uninterruptible`. */
  const writeFile = Effect.fnUntraced(function*(target: string, parts: ReadonlyArray<Uint8Array>) {
    yield* discardLeftovers
    const temporary = `${target}.${session}-${temporaries++}${TEMPORARY}`
    const write = Effect.scoped(Effect.gen(function*() {
      const file = yield* open(temporary, "wx")
      for (const part of parts) yield* io("write", temporary, file.writeAll(part))
      yield* io("sync", temporary, file.sync)
    }))
    const whole = Effect.andThen(closing(temporary, write), io("rename", target, fs.rename(temporary, target)))
    yield* whole.pipe(
      Effect.catchIf(
        ({ errno }) => errno === "EISDIR" || errno === "ENOTDIR",
        ({ errno }) => {
          const free = errno === "EISDIR" ? remove(target, true) : freeDirectories(target)
          return Effect.andThen(discard(temporary), Effect.andThen(free, whole))
        }
      ),
      Effect.catchIf(
        ({ errno }) => errno === "ENOENT",
        () => Effect.andThen(makeDirectories(fs, path, path.dirname(target)), whole)
      ),
      Effect.onError(() => discard(temporary))
    )
  }, Effect.uninterruptible)

  const readFile = Effect.fnUntraced(function*(at: string, size: number, scratch?: Buffer) {
    const file = yield* open(at, "r")
    const buffer = scratch?.subarray(0, size) ?? Buffer.allocUnsafeSlow(size)
    let filled = 0
    while (filled < size) {
      const count = yield* io("read", at, file.read(buffer.subarray(filled), { position: BigInt(filled) }))
      if (count === 0) return yield* new IoError({ errno: "SHORT_READ", operation: "read", path: at })
      filled += count
    }
    return buffer
  }, Effect.scoped)

  const readDirectory = (at: string) =>
    io("readdir", at, fs.readDirectory(at)).pipe(
      Effect.catchIf(isMissing, () => Effect.succeed<Array<string>>([]))
    )

  /** Removes what writes of an earlier process have left in `directory`, of which `names` are the files. */
  const removeTemporaries = (directory: string, names: ReadonlyArray<string>) =>
    Effect.forEach(
      names.filter((name) => name.endsWith(TEMPORARY) && !name.includes(session)),
      (name) => discard(path.join(directory, name)),
      { discard: true }
    )

  /** Writes, reads and removes a file of so many bytes. */
  const probe = Effect.fnUntraced(function*(bytes: number) {
    const at = path.join(root, `probe-${session}-${temporaries++}${TEMPORARY}`)
    yield* writeFile(at, [Buffer.alloc(bytes)])
    yield* Effect.onError(Effect.andThen(closing(at, readFile(at, bytes)), remove(at)), () => discard(at))
  })

  return {
    io,
    isMissing,
    probe,
    /** The first `size` bytes of a file. */
    readFile: (at: string, size: number, scratch?: Buffer) => closing(at, readFile(at, size, scratch)),
    /** The names in a directory; none when it is missing. */
    readDirectory,
    remove,
    removeTemporaries,
    writeFile
  }
})
