import { Context, Effect, Layer } from "effect"
import { dirname } from "node:path"
import { Worker } from "node:worker_threads"
import * as LazyThread from "./lazyThread.ts"

/** A file that is to be written under `temporary` and then renamed to `target`. */
export interface NewFile {
  readonly temporary: string
  readonly target: string
  readonly parts: ReadonlyArray<Uint8Array>
}

/** Who wants to know how a group gets on. */
export interface GroupWatcher {
  /** The file at `index` of the group was written, or could not be. */
  readonly onEnd: (index: number, isWritten: boolean) => void
  /** The disk has done a step. */
  readonly onProgress: () => void
}

/** Writes groups of files in few turns of the event loop. */
export interface GroupWriter {
  /** The files of one group together, in bytes. */
  readonly maxBytes: number
  /** How many groups may be handed over at a time: the next one waits for the end of the one before it, and not for this process. */
  readonly maxGroups: number
  /**
   * Writes the files of a group one after the other, with missing directories, and ends when all have ended. A file that could not be written
   * may have left something under its temporary name.
   */
  readonly write: (files: ReadonlyArray<NewFile>, watcher: GroupWatcher) => Effect.Effect<void>
}

/**
 * How files are written in groups, or `undefined` if each is written by calls to the `FileSystem`, as by default. `layer` has a thread for
 * it, which writes to the real file system and not through the `FileSystem` in context.
 */
export class WriterThread extends Context.Reference<GroupWriter | undefined>("spillway/services/disk/WriterThread", {
  defaultValue: () => undefined
}) {
  /** The thread starts with the first group. If it can't start, or ends, no file is written by it from then on. */
  static readonly layer: Layer.Layer<never> = Layer.effect(WriterThread, Effect.suspend(() => make))
}

/** How many groups are handed over at a time. */
const GROUPS = 2

/** The files of a group, in bytes. This process and the thread share the memory for `GROUPS` of them. */
const GROUP_BYTES = 4 * 1024 ** 2 + 256 * 1024

/** The heap of the thread, in MiB: it holds the names of a group. */
const HEAP_MEBIBYTES = { young: 1, old: 16 }

/** A file of a group: its bytes are from `start` to `end` of what is shared. */
interface Staged {
  readonly temporary: string
  readonly target: string
  readonly directory: string
  readonly start: number
  readonly end: number
}

/** What the thread reports: whether each of the next files was written, and whether these were the last of the group. */
interface Report {
  readonly written: ReadonlyArray<boolean>
  readonly isDone: boolean
}

const shared = {
  staging: undefined as SharedArrayBuffer | undefined,
  /** Files and directories are for this process only. */
  fileMode: 0o600,
  directoryMode: 0o700,
  /** How much is written in one call, in bytes. */
  stepBytes: 1024 ** 2,
  /** A report at most this old, in milliseconds, is withheld until there is more to say. */
  reportMillis: 20
}

/** The program of the thread, which gets only the text of this function: it refers to nothing outside. */
const program = (): void => {
  const fs = process.getBuiltinModule("node:fs")
  const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads")
  const { directoryMode, fileMode, reportMillis, staging, stepBytes } = workerData as typeof shared
  const bytes = new Uint8Array(staging!)
  let written: Array<boolean> = []
  let reported = 0

  const report = (isDone: boolean): void => {
    const now = performance.now()
    if (!isDone && now - reported < reportMillis) return
    reported = now
    parentPort!.postMessage({ written, isDone }, [])
    written = []
  }

  const open = ({ directory, temporary }: Staged): number => {
    try {
      return fs.openSync(temporary, "wx", fileMode)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error
      fs.mkdirSync(directory, { recursive: true, mode: directoryMode })
      return fs.openSync(temporary, "wx", fileMode)
    }
  }

  const write = (file: Staged): void => {
    const descriptor = open(file)
    try {
      for (let at = file.start; at < file.end;) {
        at += fs.writeSync(descriptor, bytes, at, Math.min(stepBytes, file.end - at))
        report(false)
      }
    } finally {
      fs.closeSync(descriptor)
    }
    fs.renameSync(file.temporary, file.target)
  }

  parentPort!.on("message", (files: ReadonlyArray<Staged>) => {
    reported = performance.now()
    for (const file of files) {
      let isWritten = true
      try {
        write(file)
      } catch {
        isWritten = false
      }
      written.push(isWritten)
      report(false)
    }
    report(true)
  })
}

/** A group that the thread has to write. */
interface HandedOver {
  readonly count: number
  /** Where its files begin in what is shared. */
  readonly start: number
  readonly watcher: GroupWatcher
  readonly end: () => void
  ended: number
}

/** The process's side of the thread. */
class Thread {
  readonly #staging = new SharedArrayBuffer(GROUPS * GROUP_BYTES)
  readonly #bytes = new Uint8Array(this.#staging)
  readonly #worker = new Worker(`(${program})()`, {
    eval: true,
    name: "spillway writer",
    execArgv: [],
    env: {},
    workerData: { ...shared, staging: this.#staging },
    resourceLimits: { maxYoungGenerationSizeMb: HEAP_MEBIBYTES.young, maxOldGenerationSizeMb: HEAP_MEBIBYTES.old }
  })
  readonly #free = Array.from({ length: GROUPS }, (_, index) => index * GROUP_BYTES)
  readonly #groups: Array<HandedOver> = []
  hasEnded = false

  constructor() {
    this.#worker.on("message", (report: Report) => this.#onReport(report))
    this.#worker.on("error", () => this.#onEnd())
    this.#worker.on("exit", () => this.#onEnd())
    this.#worker.unref()
  }

  write(files: ReadonlyArray<NewFile>, watcher: GroupWatcher, end: () => void): void {
    const first = this.#free.pop()!
    let at = first
    const staged = files.map(({ parts, target, temporary }): Staged => {
      const start = at
      for (const part of parts) {
        this.#bytes.set(part, at)
        at += part.length
      }
      return { temporary, target, directory: dirname(target), start, end: at }
    })
    this.#groups.push({ count: files.length, start: first, watcher, end, ended: 0 })
    // The program doesn't end while a group is written.
    this.#worker.ref()
    this.#worker.postMessage(staged, [])
  }

  end(): Promise<unknown> {
    return this.#worker.terminate()
  }

  #onReport({ isDone, written }: Report): void {
    const [group] = this.#groups
    if (group === undefined) return
    group.watcher.onProgress()
    for (const isWritten of written) group.watcher.onEnd(group.ended++, isWritten)
    if (isDone) this.#finish(group)
  }

  #onEnd(): void {
    this.hasEnded = true
    for (let group = this.#groups[0]; group !== undefined; group = this.#groups[0]) {
      while (group.ended < group.count) group.watcher.onEnd(group.ended++, false)
      this.#finish(group)
    }
  }

  #finish(group: HandedOver): void {
    this.#groups.shift()
    this.#free.push(group.start)
    if (this.#groups.length === 0) this.#worker.unref()
    group.end()
  }
}

const make = Effect.gen(function*() {
  const thread = yield* LazyThread.make(() => new Thread())

  const write: GroupWriter["write"] = (files, watcher) =>
    Effect.uninterruptible(Effect.callback((resume) => {
      const writer = thread()
      if (writer?.hasEnded === false) return writer.write(files, watcher, () => resume(Effect.void))
      for (const index of files.keys()) watcher.onEnd(index, false)
      resume(Effect.void)
    }))

  return { maxBytes: GROUP_BYTES, maxGroups: GROUPS, write }
})
