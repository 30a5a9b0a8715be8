import { Effect, type Scope } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { main, type Program } from "./Program.ts"

/** A directory of its own, which is removed with the scope. */
export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "spillway-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** A small disk of a program's own. It is there while that program runs, and only its processes see it by its name. */
export interface Disk {
  /** Its place, as the program sees it. */
  readonly mountPoint: string
  /** What goes before the program's command line. */
  readonly prefix: ReadonlyArray<string>
}

const mountAndRun = "mount -t tmpfs -o \"$0\" tmpfs \"$1\" && shift && exec \"$@\""

const prefixFor = (options: string, mountPoint: string) =>
  ["unshare", "-Urm", "sh", "-c", mountAndRun, options, mountPoint] as const

/** A tmpfs of `bytes`, with so many file nodes when `nodes` says so, mounted in a namespace that needs no privileges. */
export const makeDisk = (bytes: number, nodes?: number): Effect.Effect<Disk, never, Scope.Scope> =>
  Effect.map(temporaryDirectory, (mountPoint) => {
    const options = nodes === undefined ? `size=${bytes}` : `size=${bytes},nr_inodes=${nodes}`
    return { mountPoint, prefix: prefixFor(options, mountPoint) }
  })

/** Where others see what the program sees at `path`. */
export const insideOf = (program: Program, path: string): string => `/proc/${program.process.pid}/root${path}`

/** Bytes that are taken on the file system that holds `path`. */
export const usedBytes = (path: string): number => {
  const { bfree, blocks, bsize } = Fs.statfsSync(path)
  return (blocks - bfree) * bsize
}

// With the source named, `mount` does not repeat the options in force, of which `uid` is refused inside a namespace.
const remountCommand = (mountPoint: string, mode: "ro" | "rw") =>
  ["mount", "-t", "tmpfs", "-o", `remount,${mode}`, "tmpfs", mountPoint] as const

/** Makes a program's disk read-only or not. `false`: not now, since a file is open for writing. */
export const remount = (program: Program, { mountPoint }: Disk, mode: "ro" | "rw"): Effect.Effect<boolean> =>
  Effect.sync(() => {
    const enter = ["--user", "--mount", "--preserve-credentials", "--target", String(program.process.pid)]
    return spawnSync("nsenter", [...enter, ...remountCommand(mountPoint, mode)]).status === 0
  })

/**
 * Somebody else, who takes every byte of the file system that holds `path` until the scope ends, and then gives it back. The writes
 * are apart from the event loop, which has viewers and an origin to serve: on a full ext4 each one takes long to fail.
 */
export const takeAllRoom = (path: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const file = join(path, "somebody-else")
    const handle = yield* Effect.acquireRelease(
      Effect.promise(() => Fs.promises.open(file, "w")),
      (handle) => Effect.promise(() => handle.close().then(() => Fs.promises.rm(file)))
    )
    const block = Buffer.alloc(1024 ** 2)
    const fill: Effect.Effect<void> = Effect.promise(async () => {
      try {
        while ((await handle.write(block)).bytesWritten > 0);
      } catch {
        // It is full.
      }
    })
    yield* fill
    // The cache makes room by evicting its own chunks, which is taken as well.
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("1 millis"), Effect.uninterruptible(fill))))
  })

/** Whether this system lets an ordinary user mount a disk in a namespace, and remount it; else why not. */
const probeNamespaces = (): string | undefined => {
  const path = Fs.mkdtempSync(join(tmpdir(), "spillway-probe-"))
  try {
    const [command, ...args] = [...prefixFor(`size=${1024 ** 2}`, path), ...remountCommand(path, "ro")]
    const { error, status, stderr } = spawnSync(command, args, { encoding: "utf8" })
    if (status !== 0) return `no disk can be mounted in a namespace: ${error?.message ?? stderr.trim()}`
    return spawnSync("nsenter", ["--version"]).error === undefined ? undefined : "there is no nsenter"
  } finally {
    Fs.rmdirSync(path)
  }
}

/** Why tests that need a disk of their own cannot run here, or `undefined`. */
export const noDisks = probeNamespaces()

/** A user whom permissions bind. */
export interface OrdinaryUser {
  readonly prefix: ReadonlyArray<string>
  /** Gives a file or directory to the user. */
  readonly own: (path: string) => void
}

const NOBODY = 65_534

/** Who the program runs as where permissions are to bind it, or why nobody can be found. */
export const ordinaryUser: OrdinaryUser | string = (() => {
  if (process.getuid?.() !== 0) return { prefix: [], own: () => {} }
  const prefix = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"]
  const { error, status, stderr } = spawnSync(prefix[0]!, [...prefix.slice(1), process.execPath, main, "--version"], {
    encoding: "utf8"
  })
  return status === 0
    ? { prefix, own: (path) => Fs.chownSync(path, NOBODY, NOBODY) }
    : `the program cannot be run as an ordinary user: ${error?.message ?? stderr.trim()}`
})()

/** What is in a directory. It may be gone since it was listed: the program may remove files and directories at any time. */
const entriesIfThere = (directory: string): ReadonlyArray<Fs.Dirent> => {
  try {
    return Fs.readdirSync(directory, { withFileTypes: true })
  } catch {
    return []
  }
}

/** Files and directories below `root`, and `root` itself, the outermost first. */
export const tree = (root: string): Array<string> => [
  root,
  ...entriesIfThere(root).flatMap((entry) => {
    const path = join(root, entry.name)
    return entry.isDirectory() ? tree(path) : [path]
  })
]

/** Whether `root` and all below it may be written to. */
export const setWritable = (root: string, writable: boolean): void => {
  for (const path of tree(root)) {
    // What was a temporary file may be gone.
    try {
      const { mode } = Fs.statSync(path)
      Fs.chmodSync(path, writable ? mode | 0o200 : mode & ~0o222)
    } catch {
      continue
    }
  }
}

/** The files of chunks below a cache's directory, by index, of however many resources; a compact one has chunk 0. */
export const chunkFiles = (directory: string): Array<{ readonly index: number; readonly path: string }> =>
  tree(directory)
    .flatMap((path) => {
      const match = /\/[0-9a-f]{32}(?:\/[0-9a-f]{32}\.(\d+)|\.compact)$/.exec(path)
      return match === null ? [] : [{ index: Number(match[1] ?? 0), path }]
    })
    .toSorted((a, b) => a.index - b.index)

/** What is in a file, if it is still there. */
export const readIfThere = (path: string): ReadonlyArray<Buffer> => {
  try {
    return [Fs.readFileSync(path)]
  } catch {
    return []
  }
}

/** The size of a file in bytes, or 0 if it isn't there any more. */
export const sizeIfThere = (path: string): number => {
  const info = Fs.statSync(path, { throwIfNoEntry: false })
  return info?.isFile() ? info.size : 0
}

/** The sizes of all files below a directory, added up. */
export const totalSize = (directory: string): number =>
  tree(directory).reduce((sum, path) => sum + sizeIfThere(path), 0)

/** All that is in the files below a directory, and their paths, as text. */
export const totalText = (directory: string): string => {
  const paths = tree(directory)
  return [...paths, ...paths.flatMap(readIfThere).map((bytes) => bytes.toString("latin1"))].join("\n")
}
