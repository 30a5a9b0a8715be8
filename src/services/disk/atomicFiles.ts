import { Effect, FileSystem, Path, Random, Semaphore } from "effect"
import { type CacheError, TEMPORARY } from "../../domain/CacheError.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import type { FileCalls } from "./fileCalls.ts"
import * as GroupedWrites from "./groupedWrites.ts"
import { makeDirectories } from "./makeDirectories.ts"

/** How many temporary files that can't be removed are left in place. With more, writes fail. */
const MAX_LEFTOVERS = 16

/** Parts of a file up to this size are copied together, in bytes: a copy costs less than a second call to the disk. */
const MAX_JOINED_BYTES = 1280 * 1024

const joined = (parts: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> =>
  parts.length > 1 && parts.reduce((sum, { length }) => sum + length, 0) <= MAX_JOINED_BYTES
    ? [Buffer.concat(parts)]
    : parts

/** How many files are written at a time without `WriterThread`. The other calls to the disk are left to viewers. */
const MAX_WRITES = 10

/**
 * Files below `root` that are written whole or not at all. If something is in the way of a file, such as a directory of its name,
 * it is removed.
 */
export const make = Effect.fnUntraced(function*({ closing, io, open, readFile, remove }: FileCalls, root: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { pass } = yield* DiskLimiter
  const writeGrouped = yield* GroupedWrites.make
  const writes = yield* Semaphore.make(MAX_WRITES)
  // Differs from the names of other processes' temporary files, even if their process id is the same, as in containers.
  const session = Math.abs(yield* Random.nextInt).toString(36)
  let temporaries = 0
  /** Temporary files that couldn't be removed. Each write tries again first. */
  const leftovers = new Set<string>()

  const temporaryOf = (target: string): string => `${target}.${session}-${temporaries++}${TEMPORARY}`

  /** Removes a file that is of no use, now or before a later write. */
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

  /** Removes files that are in the way of the directories of `target`. */
  const freeDirectories = (target: string): Effect.Effect<void> => {
    const directory = path.dirname(target)
    if (!directory.startsWith(root + path.sep)) return Effect.void
    return Effect.andThen(
      freeDirectories(directory),
      Effect.ignore(io("unlink", directory, fs.remove(directory, { force: true })))
    )
  }

  const writeTo = Effect.fnUntraced(
    function*(temporary: string, parts: ReadonlyArray<Uint8Array>, isSynced: boolean) {
      const file = yield* open(temporary, "wx")
      for (const part of joined(parts)) yield* io("write", temporary, file.writeAll(part))
      if (isSynced) yield* io("sync", temporary, file.sync)
    },
    Effect.scoped,
    (written, temporary) => closing(temporary, written)
  )

  /**
   * Uninterruptible, because an interrupted call continues in the thread pool: nothing is closed or renamed under it. After a power
   * failure, a file that isn't synced may have its name and other bytes, such as zeros. So it needs a checksum.
   */
  const writeFile = Effect.fnUntraced(function*(target: string, parts: ReadonlyArray<Uint8Array>, isSynced = false) {
    yield* discardLeftovers
    const temporary = temporaryOf(target)
    const whole = Effect.andThen(
      writeTo(temporary, parts, isSynced),
      io("rename", target, fs.rename(temporary, target))
    )
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

  /**
   * The same together with other files, if there is a thread for that, and through `DiskLimiter`. Of what the thread can't write, the calls to
   * the disk say why.
   */
  const writeBehind = (target: string, parts: ReadonlyArray<Uint8Array>): Effect.Effect<void, CacheError> =>
    Effect.suspend(() => {
      const temporary = temporaryOf(target)
      const alone = writes.withPermit(pass(writeFile(target, parts)))
      // With leftovers, writes may have to fail.
      if (leftovers.size > 0) return alone
      return Effect.flatMap(writeGrouped({ temporary, target, parts }), (outcome) => {
        if (outcome === "Written") return Effect.void
        return outcome === "Failed" ? Effect.andThen(pass(discard(temporary)), alone) : alone
      })
    })

  /** Removes what an earlier process left in `directory`; `names` are the files in it. */
  const removeTemporaries = (directory: string, names: ReadonlyArray<string>) =>
    Effect.forEach(
      names.filter((name) => name.endsWith(TEMPORARY) && !name.includes(session)),
      (name) => discard(path.join(directory, name)),
      { discard: true }
    )

  /** Writes, syncs, reads and removes a file of `bytes` bytes. */
  const probe = Effect.fnUntraced(function*(bytes: number) {
    const at = path.join(root, `probe-${session}-${temporaries++}${TEMPORARY}`)
    yield* writeFile(at, [Buffer.alloc(bytes)], true)
    yield* Effect.onError(Effect.andThen(readFile(at, Buffer.allocUnsafeSlow(bytes)), remove(at)), () => discard(at))
  })

  return { probe, removeTemporaries, writeBehind, writeFile }
})
