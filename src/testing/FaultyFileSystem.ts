import { Context, Effect, FileSystem, Layer, PlatformError } from "effect"

/**
 * An operation of the cache on its disk. Errors use the same names.
 *
 * @since 0.1.0
 * @category testing
 */
export type Operation = "mkdir" | "open" | "write" | "sync" | "rename" | "read" | "stat" | "readdir" | "unlink"

/**
 * All operations that a rule can name.
 *
 * @since 0.1.0
 * @category testing
 */
export const operations: ReadonlyArray<Operation> = [
  "mkdir",
  "open",
  "write",
  "sync",
  "rename",
  "read",
  "stat",
  "readdir",
  "unlink"
]

/**
 * What happens instead of an operation: an errno such as `ENOSPC`; `"hang"`, which ends only when the rule is lifted; `"short"`, a write that stops
 * halfway with `ENOSPC`, or a read that finds the end of the file halfway.
 *
 * @since 0.1.0
 * @category testing
 */
export type Fault = string

/**
 * When a fault happens: to an operation on a path, after the first `after` calls, `times` times (without limit if absent).
 *
 * @since 0.1.0
 * @category testing
 */
export interface Rule {
  readonly operation: Operation
  readonly fault: Fault
  /** The paths that it applies to; all if absent. */
  readonly path?: (path: string) => boolean
  readonly after?: number
  readonly times?: number
}

/**
 * The planned faults of a `FileSystem` from this module.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { FaultyFileSystem } from "spillway/testing"
 *
 * // The third write, and each one after it, finds the disk full.
 * const fillDisk = Effect.flatMap(FaultyFileSystem.Faults, ({ add }) => add({ operation: "write", fault: "ENOSPC", after: 2 }))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Faults extends Context.Service<Faults, {
  /** Adds a rule. If several apply, the first strikes. */
  readonly add: (rule: Rule) => Effect.Effect<void>
  /** Removes a rule, and releases the calls that hang because of it. */
  readonly lift: (rule: Rule) => Effect.Effect<void>
  /** The same for all of them. */
  readonly clear: Effect.Effect<void>
  /** How often each rule struck, in the order in which they were added. */
  readonly strikes: () => ReadonlyArray<number>
}>()("spillway/testing/FaultyFileSystem/Faults") {}

interface Active {
  readonly rule: Rule
  seen: number
  strikes: number
  readonly hanging: Set<() => void>
}

const failure = (errno: string, method: string, path: string) => {
  const cause = Object.assign(new Error(`${errno}: injected, ${method} '${path}'`), { code: errno, path })
  return PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method, pathOrDescriptor: path, cause })
}

const make = (fs: FileSystem.FileSystem) => {
  const rules = new Set<Active>()
  const added: Array<Active> = []

  const strike = (operation: Operation, path: string): Active | undefined => {
    for (const active of rules) {
      const { rule } = active
      if (rule.operation !== operation || rule.path?.(path) === false) continue
      active.seen += 1
      if (active.seen <= (rule.after ?? 0) || active.strikes >= (rule.times ?? Infinity)) continue
      active.strikes += 1
      return active
    }
    return undefined
  }

  /** Uninterruptible, like a call in the thread pool. */
  const hang = (active: Active): Effect.Effect<void> =>
    Effect.uninterruptible(Effect.callback((resume) => void active.hanging.add(() => resume(Effect.void))))

  const guard = <A, E, R>(
    operation: Operation,
    method: string,
    path: string,
    effect: Effect.Effect<A, E, R>,
    short?: Effect.Effect<A, E | PlatformError.PlatformError, R>
  ): Effect.Effect<A, E | PlatformError.PlatformError, R> =>
    Effect.suspend(() => {
      const active = strike(operation, path)
      if (active === undefined) return effect
      if (active.rule.fault === "hang") return Effect.andThen(hang(active), effect)
      if (active.rule.fault === "short" && short !== undefined) return short
      return Effect.fail(failure(active.rule.fault === "short" ? "EIO" : active.rule.fault, method, path))
    })

  const guardFile = (path: string) => (file: FileSystem.File): FileSystem.File => ({
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: guard("stat", "stat", path, file.stat),
    seek: (offset, from) => file.seek(offset, from),
    sync: guard("sync", "sync", path, file.sync),
    read: (buffer, options) =>
      guard(
        "read",
        "read",
        path,
        file.read(buffer, options),
        Effect.suspend(() => {
          const half = buffer.subarray(0, Math.floor(buffer.length / 2))
          return half.length === 0 ? Effect.succeed(0) : file.read(half, options)
        })
      ),
    readAlloc: (size, options) => guard("read", "readAlloc", path, file.readAlloc(size, options)),
    truncate: (length) => guard("write", "truncate", path, file.truncate(length)),
    write: (buffer) => guard("write", "write", path, file.write(buffer)),
    writeAll: (buffer) =>
      guard(
        "write",
        "writeAll",
        path,
        file.writeAll(buffer),
        Effect.andThen(
          file.writeAll(buffer.subarray(0, Math.floor(buffer.length / 2))),
          Effect.fail(failure("ENOSPC", "writeAll", path))
        )
      )
  })

  const faulty = FileSystem.make({
    ...fs,
    makeDirectory: (path, options) => guard("mkdir", "makeDirectory", path, fs.makeDirectory(path, options)),
    open: (path, options) => Effect.map(guard("open", "open", path, fs.open(path, options)), guardFile(path)),
    readDirectory: (path, options) => guard("readdir", "readDirectory", path, fs.readDirectory(path, options)),
    readDirectoryEntries: (path) => guard("readdir", "readDirectoryEntries", path, fs.readDirectoryEntries(path)),
    readFile: (path) => guard("read", "readFile", path, fs.readFile(path)),
    remove: (path, options) => guard("unlink", "remove", path, fs.remove(path, options)),
    rename: (from, to) => guard("rename", "rename", from, fs.rename(from, to)),
    stat: (path) => guard("stat", "stat", path, fs.stat(path)),
    writeFile: (path, data, options) => guard("write", "writeFile", path, fs.writeFile(path, data, options))
  })

  const lift = (active: Active): void => {
    rules.delete(active)
    for (const release of active.hanging) release()
    active.hanging.clear()
  }

  const faults = Faults.of({
    add: (rule) =>
      Effect.sync(() => {
        const active: Active = { rule, seen: 0, strikes: 0, hanging: new Set() }
        rules.add(active)
        added.push(active)
      }),
    lift: (rule) =>
      Effect.sync(() => {
        for (const active of rules) if (active.rule === rule) lift(active)
      }),
    clear: Effect.sync(() => {
      for (const active of rules) lift(active)
    }),
    strikes: () => added.map(({ strikes }) => strikes)
  })
  return { faulty, faults }
}

/**
 * The `FileSystem` in context, with the faults that a test adds to `Faults`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<FileSystem.FileSystem | Faults, never, FileSystem.FileSystem> = Layer.effectContext(
  Effect.map(FileSystem.FileSystem, (fs) => {
    const { faults, faulty } = make(fs)
    return Context.make(Faults, faults).pipe(Context.add(FileSystem.FileSystem, faulty))
  })
)
