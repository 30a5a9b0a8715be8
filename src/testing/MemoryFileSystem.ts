import { ByteSize, Context, Effect, FileSystem, Layer, Option, PlatformError } from "effect"
import { dirname } from "node:path"
import type { DiskUsage } from "../domain/DiskStatus.ts"

/** A disk in memory: its size and what is on it are knobs, and it can lose power. */
export class MemoryDisk extends Context.Service<MemoryDisk, {
  /** The size of the disk, in bytes; what is written beyond it fails with `ENOSPC`. */
  capacity: number
  /** What others have written to the disk, in bytes. */
  foreign: number
  /** Free and total bytes and nodes, as `DiskMonitor` wants them. */
  readonly usage: () => DiskUsage
  /** Files by path, as they are seen now. */
  readonly files: () => ReadonlyMap<string, Uint8Array>
  /** Changes the bytes of a file behind everybody's back. */
  readonly overwrite: (path: string, bytes: Uint8Array) => void
  /** Removes everything at or below `path`. */
  readonly erase: (path: string) => void
  /** Power fails: of a file that was not synced, only a part is there afterwards, as `keep` (0 to 1) says for each. */
  readonly crash: (keep: () => number) => void
  /** Files that are open are so no longer, as at the end of a process. */
  readonly closeAll: () => void
  /** How many files are open. */
  readonly handles: () => number
  /** What files take, in bytes: whole blocks, without directories and what others have written. */
  readonly occupied: () => number
  /** How often something on the disk has changed. */
  readonly changes: () => number
  /** How long each call takes, in milliseconds; no time at all without it. */
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

const make = () => {
  const directories = new Set<string>(["/"])
  const nodes = new Map<string, Node>()
  let handles = 0
  let changes = 0
  /** A file that was opened in an earlier one is open no longer. */
  let generation = 0

  const blocks = (length: number): number => Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES
  const occupied = (): number => {
    let sum = 0
    for (const { length } of nodes.values()) sum += blocks(length)
    return sum
  }
  const used = (): number => disk.foreign + directories.size * BLOCK_BYTES + occupied()
  const below = (path: string, other: string): boolean => other === path || other.startsWith(`${path}/`)

  const disk: MemoryDisk["Service"] = {
    capacity: Infinity,
    foreign: 0,
    usage: () => {
      const total = Math.min(disk.capacity, 2 ** 50)
      return { free: Math.max(0, total - used()), total, freeNodes: 0, totalNodes: 0 }
    },
    files: () => new Map([...nodes].map(([path, { bytes, length }]) => [path, bytes.subarray(0, length)])),
    overwrite: (path, bytes) => {
      const node = nodes.get(path)
      if (node !== undefined) Object.assign(node, { bytes: bytes.slice(), length: bytes.length })
      changes += 1
    },
    erase: (path) => {
      changes += 1
      for (const other of nodes.keys()) if (below(path, other)) nodes.delete(other)
      for (const other of directories) if (below(path, other)) directories.delete(other)
    },
    crash: (keep) => {
      for (const node of nodes.values()) if (!node.synced) node.length = Math.floor(node.length * keep())
      changes += 1
      disk.closeAll()
    },
    closeAll: () => {
      generation += 1
      handles = 0
    },
    handles: () => handles,
    occupied,
    changes: () => changes,
    latency: undefined
  }

  /** A disk takes its time: every call waits for a turn. */
  const call = <A>(run: (now: number) => Effect.Effect<A, PlatformError.PlatformError>) =>
    Effect.andThen(
      Effect.suspend(() => disk.latency === undefined ? Effect.yieldNow : Effect.sleep(disk.latency())),
      Effect.clockWith((clock) => run(clock.currentTimeMillisUnsafe()))
    )

  const grow = (node: Node, length: number): void => {
    if (node.bytes.length >= length) return
    const bytes = new Uint8Array(Math.max(length, node.bytes.length * 2))
    bytes.set(node.bytes)
    node.bytes = bytes
  }

  const fileOf = (path: string, node: Node): FileSystem.File => {
    let position = 0
    const writeAll = (buffer: Uint8Array) =>
      call<void>((now) => {
        const room = disk.capacity - (used() - blocks(node.length)) - position
        const fits = buffer.subarray(0, Math.max(0, Math.min(buffer.length, room)))
        grow(node, position + fits.length)
        node.bytes.set(fits, position)
        position += fits.length
        node.length = Math.max(node.length, position)
        node.synced = false
        node.modified = now
        changes += 1
        return fits.length < buffer.length ? Effect.fail(failure("ENOSPC", "writeAll", path)) : Effect.void
      })
    const read = (buffer: Uint8Array, options?: FileSystem.File.ReadOptions) =>
      call(() => {
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
      sync: call<void>(() => Effect.sync(() => void (node.synced = true))),
      read,
      readAlloc: () => unused,
      truncate: () => unused,
      write: () => unused,
      writeAll
    }
  }

  const fs = FileSystem.makeNoop({
    makeDirectory: (path, options) =>
      call(() => {
        if (options?.recursive !== true) {
          if (directories.has(path)) return Effect.fail(failure("EEXIST", "makeDirectory", path))
          if (!directories.has(dirname(path))) return Effect.fail(failure("ENOENT", "makeDirectory", path))
        }
        if (disk.capacity - used() < BLOCK_BYTES) return Effect.fail(failure("ENOSPC", "makeDirectory", path))
        for (let at = path; !directories.has(at); at = dirname(at)) directories.add(at)
        return Effect.void
      }),
    open: (path, options) =>
      Effect.acquireRelease(
        call((now) => {
          const writing = options?.flag === "wx"
          const known = nodes.get(path)
          if (writing && known !== undefined) return Effect.fail(failure("EEXIST", "open", path))
          if (writing ? !directories.has(dirname(path)) : known === undefined) {
            return Effect.fail(failure("ENOENT", "open", path))
          }
          const node = known ?? { bytes: new Uint8Array(), length: 0, synced: false, modified: now }
          nodes.set(path, node)
          handles += 1
          return Effect.succeed({ file: fileOf(path, node), since: generation })
        }),
        ({ since }) =>
          Effect.sync(() => {
            if (since === generation) handles -= 1
          })
      ).pipe(Effect.map(({ file }) => file)),
    rename: (from, to) =>
      call(() => {
        const node = nodes.get(from)
        if (node === undefined) return Effect.fail(failure("ENOENT", "rename", from))
        nodes.delete(from)
        nodes.set(to, node)
        changes += 1
        return Effect.void
      }),
    remove: (path, options) =>
      call(() => {
        if (options?.recursive === true) disk.erase(path)
        else if (nodes.delete(path)) changes += 1
        return Effect.void
      }),
    readDirectory: (path) =>
      call(() => {
        if (!directories.has(path)) return Effect.fail(failure("ENOENT", "readDirectory", path))
        const inside = [...nodes.keys(), ...directories].filter((other) => other !== path && dirname(other) === path)
        return Effect.succeed(inside.map((other) => other.slice(path === "/" ? 1 : path.length + 1)))
      }),
    readFile: (path) =>
      call(() => {
        const node = nodes.get(path)
        return node === undefined
          ? Effect.fail(failure("ENOENT", "readFile", path))
          : Effect.succeed(node.bytes.slice(0, node.length))
      }),
    stat: (path) =>
      call(() => {
        const node = nodes.get(path)
        if (node === undefined) return Effect.fail(failure("ENOENT", "stat", path))
        const size = ByteSize.bytes(node.length)
        return Effect.succeed({ ...info, size, mtime: Option.some(new Date(node.modified)) })
      }),
    utimes: (path, _accessed, modified) =>
      call(() => {
        const node = nodes.get(path)
        if (node === undefined) return Effect.fail(failure("ENOENT", "utimes", path))
        node.modified = Number(modified) * 1000
        return Effect.void
      })
  })
  return { disk, fs: FileSystem.make(fs) }
}

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

/** A `FileSystem` with what Spillway needs of one, and the disk below it. */
export const layer: Layer.Layer<FileSystem.FileSystem | MemoryDisk> = Layer.effectContext(Effect.sync(() => {
  const { disk, fs } = make()
  return Context.make(MemoryDisk, disk).pipe(Context.add(FileSystem.FileSystem, fs))
}))
