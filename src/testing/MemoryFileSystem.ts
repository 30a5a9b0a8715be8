import { ByteSize, Context, Effect, FileSystem, Layer, Option, PlatformError } from "effect"
import { dirname } from "node:path"
import type { DiskUsage } from "../domain/DiskStatus.ts"

/**
 * A disk in memory. Tests can set its size, change what is on it, and make it lose power.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { MemoryFileSystem } from "spillway/testing"
 *
 * // Another program takes all the space.
 * const fill = Effect.map(MemoryFileSystem.MemoryDisk, (disk) => {
 *   disk.foreign = disk.capacity
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class MemoryDisk extends Context.Service<MemoryDisk, {
  /** The size of the disk, in bytes. Writes beyond it fail with `ENOSPC`. */
  capacity: number
  /** How many bytes of the disk others use. */
  foreign: number
  /** Free and total bytes and nodes, for `DiskMonitor`. */
  readonly usage: () => DiskUsage
  /** The current files by path. */
  readonly files: () => ReadonlyMap<string, Uint8Array>
  /** Replaces the bytes of a file, as damage would. */
  readonly overwrite: (path: string, bytes: Uint8Array) => void
  /** Removes everything at or below `path`. */
  readonly erase: (path: string) => void
  /** Power fails. Of each file that was not synced, only a part remains: `keep` returns which (0 to 1). The rest is zeros or gone. */
  readonly crash: (keep: () => number) => void
  /** Closes all files, as the end of a process does. */
  readonly closeAll: () => void
  /** How many files are open. */
  readonly handles: () => number
  /** The size of all files in bytes: whole blocks, without directories and `foreign`. */
  readonly occupied: () => number
  /** How often something on the disk was changed. */
  readonly changes: () => number
  /** How long each call takes, in milliseconds. Without it, calls take no time. */
  latency: (() => number) | undefined
}>()("spillway/testing/MemoryFileSystem/MemoryDisk") {}

interface Node {
  bytes: Uint8Array
  length: number
  synced: boolean
  modified: number
}

const BLOCK_BYTES = 4096

const failure = (errno: string, method: string, path: string) => {
  const cause = Object.assign(new Error(`${errno}: ${method} '${path}'`), { code: errno, path })
  return PlatformError.systemError({
    _tag: errno === "ENOENT" ? "NotFound" : errno === "EEXIST" ? "AlreadyExists" : "Unknown",
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    cause
  })
}

const blocks = (length: number): number => Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES

const isBelow = (path: string, other: string): boolean => other === path || other.startsWith(`${path}/`)

/** What is on the disk. */
class Disk {
  capacity = Infinity
  foreign = 0
  latency: (() => number) | undefined = undefined
  readonly directories = new Set<string>(["/"])
  readonly nodes = new Map<string, Node>()
  /** Counts the times at which all files were closed. A file that was opened before is no longer open. */
  generation = 0
  #handles = 0
  #changes = 0

  readonly usage = (): DiskUsage => {
    const total = Math.min(this.capacity, 2 ** 50)
    return { free: Math.max(0, total - this.used()), total, freeNodes: 0, totalNodes: 0 }
  }
  readonly files = () => new Map([...this.nodes].map(([path, { bytes, length }]) => [path, bytes.subarray(0, length)]))
  readonly overwrite = (path: string, bytes: Uint8Array): void => {
    const node = this.nodes.get(path)
    if (node !== undefined) Object.assign(node, { bytes: new Uint8Array(bytes), length: bytes.length })
    this.changed()
  }
  readonly erase = (path: string): void => {
    this.changed()
    for (const other of this.nodes.keys()) if (isBelow(path, other)) this.nodes.delete(other)
    for (const other of this.directories) if (isBelow(path, other)) this.directories.delete(other)
  }
  readonly crash = (keep: () => number): void => {
    for (const node of this.nodes.values()) {
      if (node.synced) continue
      const kept = Math.floor(node.length * keep())
      if (keep() < 0.5) node.length = kept
      else node.bytes.fill(0, kept, node.length)
    }
    this.changed()
    this.closeAll()
  }
  readonly closeAll = (): void => {
    this.generation += 1
    this.#handles = 0
  }
  readonly handles = (): number => this.#handles
  readonly changes = (): number => this.#changes
  readonly occupied = (): number => {
    let sum = 0
    for (const { length } of this.nodes.values()) sum += blocks(length)
    return sum
  }

  used(): number {
    return this.foreign + this.directories.size * BLOCK_BYTES + this.occupied()
  }

  changed(): void {
    this.#changes += 1
  }

  opened(path: string, node: Node): number {
    this.nodes.set(path, node)
    this.#handles += 1
    return this.generation
  }

  closed(generation: number): void {
    if (generation === this.generation) this.#handles -= 1
  }

  /** A disk takes its time: each call waits for a turn. */
  call<A>(run: (now: number) => Effect.Effect<A, PlatformError.PlatformError>) {
    return Effect.andThen(
      Effect.suspend(() => this.latency === undefined ? Effect.yieldNow : Effect.sleep(this.latency())),
      Effect.clockWith((clock) => run(clock.currentTimeMillisUnsafe()))
    )
  }

  /** A call on a file that has to be there. */
  callOn<A>(method: string, path: string, run: (node: Node) => A) {
    return this.call(() => {
      const node = this.nodes.get(path)
      return node === undefined ? Effect.fail(failure("ENOENT", method, path)) : Effect.succeed(run(node))
    })
  }
}

const grow = (node: Node, length: number): void => {
  if (node.bytes.length >= length) return
  const bytes = new Uint8Array(Math.max(length, node.bytes.length * 2))
  bytes.set(node.bytes)
  node.bytes = bytes
}

/** An open file. */
const fileOf = (disk: Disk, path: string, node: Node): FileSystem.File => {
  let position = 0
  const writeAll = (buffer: Uint8Array) =>
    disk.call<void>((now) => {
      const room = disk.capacity - (disk.used() - blocks(node.length)) - position
      const fits = buffer.subarray(0, Math.max(0, Math.min(buffer.length, room)))
      grow(node, position + fits.length)
      node.bytes.set(fits, position)
      position += fits.length
      node.length = Math.max(node.length, position)
      node.synced = false
      node.modified = now
      disk.changed()
      return fits.length < buffer.length ? Effect.fail(failure("ENOSPC", "writeAll", path)) : Effect.void
    })
  const read = (buffer: Uint8Array, options?: FileSystem.File.ReadOptions) =>
    disk.call(() => {
      const from = Number(options?.position ?? 0)
      const bytes = node.bytes.subarray(from, Math.min(node.length, from + buffer.length))
      buffer.set(bytes)
      return Effect.succeed(bytes.length)
    })
  const unused = Effect.die("not needed by Spillway")
  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: unused,
    seek: () => unused,
    sync: disk.call<void>(() => Effect.sync(() => void (node.synced = true))),
    read,
    readAlloc: () => unused,
    truncate: () => unused,
    write: () => unused,
    writeAll
  }
}

type Calls = Partial<FileSystem.FileSystem>

/** The calls that make, open and remove names. */
const namesOn = (disk: Disk): Calls => ({
  makeDirectory: (path, options) =>
    disk.call(() => {
      const { directories } = disk
      if (options?.recursive !== true) {
        if (directories.has(path)) return Effect.fail(failure("EEXIST", "makeDirectory", path))
        if (!directories.has(dirname(path))) return Effect.fail(failure("ENOENT", "makeDirectory", path))
      }
      if (disk.capacity - disk.used() < BLOCK_BYTES) return Effect.fail(failure("ENOSPC", "makeDirectory", path))
      for (let at = path; !directories.has(at); at = dirname(at)) directories.add(at)
      return Effect.void
    }),
  open: (path, options) =>
    Effect.acquireRelease(
      disk.call((now) => {
        const writing = options?.flag === "wx"
        const known = disk.nodes.get(path)
        if (writing && known !== undefined) return Effect.fail(failure("EEXIST", "open", path))
        if (writing ? !disk.directories.has(dirname(path)) : known === undefined) {
          return Effect.fail(failure("ENOENT", "open", path))
        }
        const node = known ?? { bytes: new Uint8Array(), length: 0, synced: false, modified: now }
        const since = disk.opened(path, node)
        return Effect.succeed({ file: fileOf(disk, path, node), since })
      }),
      ({ since }) => Effect.sync(() => disk.closed(since))
    ).pipe(Effect.map(({ file }) => file)),
  rename: (from, to) =>
    disk.callOn("rename", from, (node) => {
      disk.nodes.delete(from)
      disk.nodes.set(to, node)
      disk.changed()
    }),
  remove: (path, options) =>
    disk.call(() => {
      if (options?.recursive === true) disk.erase(path)
      else if (disk.nodes.delete(path)) disk.changed()
      else if (options?.force !== true) return Effect.fail(failure("ENOENT", "remove", path))
      return Effect.void
    })
})

/** The calls that read and mark what is there. */
const contentsOn = (disk: Disk): Calls => ({
  readDirectory: (path) =>
    disk.call(() => {
      const { directories, nodes } = disk
      if (!directories.has(path)) return Effect.fail(failure("ENOENT", "readDirectory", path))
      const inside = [...nodes.keys(), ...directories].filter((other) => other !== path && dirname(other) === path)
      return Effect.succeed(inside.map((other) => other.slice(path === "/" ? 1 : path.length + 1)))
    }),
  readFile: (path) => disk.callOn("readFile", path, ({ bytes, length }) => bytes.slice(0, length)),
  stat: (path) =>
    disk.callOn("stat", path, ({ length, modified }) => ({
      ...info,
      size: ByteSize.bytes(length),
      mtime: Option.some(new Date(modified))
    })),
  utimes: (path, _accessed, modified) =>
    disk.callOn("utimes", path, (node) => {
      node.modified = Number(modified) * 1000
    })
})

const info = {
  type: "File" as const,
  atime: Option.none(),
  birthtime: Option.none(),
  dev: BigInt(0),
  ino: Option.none(),
  mode: 0o600,
  nlink: Option.none(),
  uid: Option.none(),
  gid: Option.none(),
  rdev: Option.none(),
  blksize: Option.none(),
  blocks: Option.none()
}

/**
 * A `FileSystem` with the calls that Spillway needs, and its disk.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<FileSystem.FileSystem | MemoryDisk> = Layer.effectContext(Effect.sync(() => {
  const disk = new Disk()
  const fs = FileSystem.make(FileSystem.makeNoop({ ...namesOn(disk), ...contentsOn(disk) }))
  return Context.make(MemoryDisk, disk).pipe(Context.add(FileSystem.FileSystem, fs))
}))
