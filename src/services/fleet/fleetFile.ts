import { Effect, Fiber, FileSystem, Option, Path, Schema } from "effect"
import { FleetMember } from "../../domain/FleetMember.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { makeDirectories } from "../disk/makeDirectories.ts"
import { rootOf } from "../disk/storeLayout.ts"

/** What a node remembers of its fleet over a restart. */
const Memory = Schema.Struct({
  members: Schema.Array(FleetMember),
  /** How far the log of purges has been read. */
  place: Schema.optionalKey(Schema.String)
})

type Memory = typeof Memory.Type

const json = Schema.fromJsonString(Memory)

/** How long the disk may take, in milliseconds. The file is a convenience, so nothing waits longer for it. */
const FILE_MILLIS = 1000

const NOTHING: Memory = { members: [] }

/**
 * The file in the cache directory that has the list of nodes, so that a node that starts while the engine is down knows the fleet. A file that
 * can't be read or written is ignored.
 */
export const makeFleetFile = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { directory } = yield* CacheConfig
  const root = rootOf(path, directory)
  const file = path.join(root, "fleet.json")
  let written = ""
  let isBusy = false

  const save = Effect.fnUntraced(function*(text: string) {
    yield* makeDirectories(fs, path, root)
    const temporary = `${file}.tmp`
    yield* fs.remove(temporary, { force: true })
    const open = fs.open(temporary, { flag: "wx" })
    yield* Effect.scoped(Effect.flatMap(open, (opened) => opened.writeAll(Buffer.from(text))))
    yield* fs.rename(temporary, file)
    written = text
  })

  return {
    read: fs.readFileString(file).pipe(
      Effect.map((text) => Option.getOrElse(Schema.decodeOption(json)(text), () => NOTHING)),
      Effect.timeoutOrElse({ duration: FILE_MILLIS, orElse: () => Effect.succeed(NOTHING) }),
      Effect.orElseSucceed(() => NOTHING)
    ),
    /** Writes what has changed, unless the last write is still under way: a disk that hangs holds one write, and not one each time. */
    write: (memory: Memory): Effect.Effect<void> =>
      Effect.suspend(() => {
        const text = Schema.encodeSync(json)(memory)
        if (text === written || isBusy) return Effect.void
        isBusy = true
        return Effect.ignoreCause(save(text)).pipe(
          Effect.ensuring(Effect.sync(() => void (isBusy = false))),
          Effect.forkDetach({ startImmediately: true }),
          Effect.flatMap((fiber) => Effect.timeoutOption(Fiber.await(fiber), FILE_MILLIS)),
          Effect.asVoid
        )
      })
  }
})
