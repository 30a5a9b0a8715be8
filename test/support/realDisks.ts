import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { temporaryDirectory } from "./disks.ts"
import type { Conduct } from "./fuseDisk.ts"
import { eventually } from "./Program.ts"

/**
 * A file system that the kernel mounts, in a mount namespace of its own: nobody else sees it, and it is gone with the
 * processes that are in there, however they end. It takes root.
 */
export interface RealDisk {
  readonly mountPoint: string
  /** Where others see what the program sees at `path`. */
  readonly insideOf: (path: string) => string
  /** What goes before the program's command line; as an ordinary user with that user's prefix. */
  readonly prefix: (user?: ReadonlyArray<string>) => ReadonlyArray<string>
  /** Runs a command where the disk is mounted; whether it succeeded. */
  readonly run: (...command: ReadonlyArray<string>) => Effect.Effect<boolean>
}

const unshare = ["unshare", "--mount", "--propagation", "private"] as const

const exited = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve()
    else child.once("exit", () => resolve())
  })

/** The process that mounts a disk, says that it is ready, and keeps it until `end` is called. */
const hold = (
  command: ReadonlyArray<string>,
  stdio: Array<"pipe" | "ipc">,
  end: (holder: ChildProcess) => void
): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.gen(function*() {
    let printed = ""
    const holder = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(unshare[0], [...unshare.slice(1), ...command], { stdio })),
      (holder) =>
        Effect.promise(() => {
          end(holder)
          return exited(holder)
        })
    )
    for (const stream of [holder.stdout!, holder.stderr!]) stream.on("data", (data: Buffer) => printed += String(data))
    yield* eventually(
      "a disk to be mounted",
      Effect.suspend(() =>
        holder.exitCode === null ? Effect.succeed(printed.includes("ready\n")) : Effect.die(`no disk: ${printed}`)
      )
    )
    return holder
  })

const diskOf = ({ pid }: ChildProcess, mountPoint: string): RealDisk => {
  const enter = ["nsenter", `--mount=/proc/${pid}/ns/mnt`] as const
  return {
    mountPoint,
    insideOf: (path) => `/proc/${pid}/root${path}`,
    // A program that outlived the test run would keep the disk.
    prefix: (user = []) => [...enter, ...user, "setpriv", "--pdeathsig", "KILL"],
    run: (...command) =>
      Effect.callback((resume) => {
        spawn(enter[0], [...enter.slice(1), ...command], { stdio: "ignore" })
          .once("error", () => resume(Effect.succeed(false)))
          .once("exit", (code) => resume(Effect.succeed(code === 0)))
      })
  }
}

const makeMountPoint = Effect.map(temporaryDirectory, (directory) => {
  // For ordinary users.
  Fs.chmodSync(directory, 0o755)
  const mountPoint = join(directory, "mounted")
  Fs.mkdirSync(mountPoint)
  return { directory, mountPoint }
})

// It ends with its input, that is, with the test run at the latest; a disk that is still frozen then could not be unmounted.
const mountAndHold = `
trap "" INT TERM
mount -o loop "$0" "$1" || exit 1
echo ready
cat > /dev/null
fsfreeze --unfreeze "$1"
umount --lazy "$1"
`

const makeLoopDisk = Effect.fnUntraced(function*(bytes: number, mkfs: ReadonlyArray<string>) {
  const { directory, mountPoint } = yield* makeMountPoint
  const image = join(directory, "image")
  Fs.closeSync(Fs.openSync(image, "w"))
  Fs.truncateSync(image, bytes)
  const { status, stderr } = spawnSync(mkfs[0]!, [...mkfs.slice(1), image], { encoding: "utf8" })
  if (status !== 0) return yield* Effect.die(`no file system: ${stderr}`)
  const holder = yield* hold(["sh", "-c", mountAndHold, image, mountPoint], ["pipe", "pipe", "pipe"], ({ stdin }) => {
    stdin!.end()
  })
  return diskOf(holder, mountPoint)
})

/** An ext4 of `bytes`, all of which an ordinary user may take. */
export const makeExt4 = (bytes: number) => makeLoopDisk(bytes, ["mkfs.ext4", "-q", "-m", "0"])

/**
 * A part of a btrfs of 256 MiB that can be given a quota. Other than with those of ext4, each kernel that has it has them, and
 * they bind root.
 */
export const makeBtrfs: Effect.Effect<RealDisk, never, Scope.Scope> = Effect.gen(function*() {
  const disk = yield* makeLoopDisk(256 * 1024 ** 2, ["mkfs.btrfs", "-q"])
  const mountPoint = `${disk.mountPoint}/part`
  yield* disk.run("btrfs", "quota", "enable", disk.mountPoint)
  yield* disk.run("btrfs", "subvolume", "create", mountPoint)
  return { ...disk, mountPoint }
})

/** The quota group of the first subvolume that is made. */
const PART = "0/256"

/** How much it may hold from now on, such as `16M`, or `none` for no limit. */
export const setQuota = ({ mountPoint, run }: RealDisk, limit: string): Effect.Effect<void> =>
  // By way of the parent, since a part whose quota is exceeded cannot even be given another one.
  eventually("a quota", run("btrfs", "qgroup", "limit", limit, PART, dirname(mountPoint)))

/** Makes a disk read-only, and writable again when the scope closes. */
export const makeReadOnly = ({ mountPoint, run }: RealDisk): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    // Not as long as a file is open for writing.
    eventually("a disk to be read-only", run("mount", "-o", "remount,ro", mountPoint)),
    () => eventually("a disk to be writable", run("mount", "-o", "remount,rw", mountPoint))
  )

/** Holds everybody who writes to a disk, until the scope closes. */
export const freeze = ({ mountPoint, run }: RealDisk): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    eventually("a disk to be frozen", run("fsfreeze", "--freeze", mountPoint)),
    () => eventually("a disk to be thawed", run("fsfreeze", "--unfreeze", mountPoint))
  )

/** A disk whose conduct can be changed. */
export interface FuseDisk extends RealDisk {
  readonly behave: (conduct: Conduct) => Effect.Effect<void>
  /** How many calls it held when it hung and was called last. */
  readonly held: () => number
}

const fuseDisk = fileURLToPath(new URL("fuseDisk.ts", import.meta.url))

/** A file system in memory, in user space. */
export const makeFuse: Effect.Effect<FuseDisk, never, Scope.Scope> = Effect.gen(function*() {
  const { mountPoint } = yield* makeMountPoint
  const holder = yield* hold(
    [process.execPath, fuseDisk, mountPoint],
    ["pipe", "pipe", "pipe", "ipc"],
    // The kernel then fails whatever is under way.
    (holder) => void holder.kill("SIGKILL")
  )
  let held = 0
  holder.on("message", (count: number) => held = count)
  return {
    ...diskOf(holder, mountPoint),
    held: () => held,
    behave: (conduct) =>
      Effect.callback((resume) => {
        holder.send(conduct, () => resume(Effect.void))
      })
  }
})

/** Conducts itself so until the scope closes. */
export const misbehave = ({ behave }: FuseDisk, conduct: Conduct): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(behave(conduct), () => behave("good"))

/** Why a script does not run in a mount namespace here, or `undefined`. */
const probe = (script: string): string | undefined => {
  if (process.getuid?.() !== 0) return "it takes root"
  const directory = Fs.mkdtempSync(join(tmpdir(), "spillway-probe-"))
  try {
    const { error, status, stderr } = spawnSync(unshare[0], [...unshare.slice(1), "sh", "-c", script], {
      cwd: directory,
      encoding: "utf8"
    })
    return status === 0 ? undefined : error?.message ?? stderr.trim().split("\n").at(-1)!
  } finally {
    Fs.rmSync(directory, { recursive: true, force: true })
  }
}

const tools = "nsenter --version > /dev/null && setpriv --version > /dev/null"

/** Why there are no such disks here, or `undefined`. */
export const noExt4 = probe(
  `set -e; ${tools}; truncate -s 16M image; mkdir mounted; mkfs.ext4 -q image
  mount -o loop image mounted; fsfreeze -f mounted; fsfreeze -u mounted; umount mounted`
)
export const noBtrfs = probe(
  `set -e; ${tools}; truncate -s 256M image; mkdir mounted; mkfs.btrfs -q image
  mount -o loop image mounted; btrfs quota enable mounted; btrfs qgroup limit 16M mounted; umount mounted`
)
export const noFuse = probe(`set -e; ${tools}; exec 3<>/dev/fuse`)
