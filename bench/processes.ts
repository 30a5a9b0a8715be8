import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Child processes and temporary directories, none of which outlives the benchmark. */

const STOP_MILLIS = 15_000

const START_MILLIS = 20_000

const children = new Set<ChildProcess>()
const directories = new Set<string>()

export interface Running {
  readonly pid: number
  /** What its first matching line of output said. */
  readonly ready: RegExpExecArray
  readonly stop: () => Promise<void>
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

/** Each child leads a process group, so that no worker of its own is left behind. */
const signal = (child: ChildProcess, name: NodeJS.Signals): void => {
  try {
    process.kill(-child.pid!, name)
  } catch {
    // Nothing of the group is left.
  }
}

const stop = async (child: ChildProcess): Promise<void> => {
  if (!hasEnded(child)) {
    const ended = once(child, "exit")
    const timer = setTimeout(() => signal(child, "SIGKILL"), STOP_MILLIS)
    // To the child alone: it ends its own workers.
    child.kill("SIGTERM")
    await ended
    clearTimeout(timer)
  }
  signal(child, "SIGKILL")
  children.delete(child)
}

const start = (command: ReadonlyArray<string>): ChildProcess => {
  const [program = "", ...args] = command
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true })
  children.add(child)
  return child
}

/** Starts `command`, and waits until `isReady` recognises its output, or a probe of one's own succeeds. */
export const run = async (
  command: ReadonlyArray<string>,
  isReady: RegExp | (() => Promise<boolean>)
): Promise<Running> => {
  const child = start(command)
  let output = ""
  const pattern = isReady instanceof RegExp ? isReady : /^/
  const ready = await new Promise<RegExpExecArray>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer)
      reject(new Error(`${command.join(" ")}: ${why}\n${output}`))
    }
    const timer = setTimeout(() => fail("not ready in time"), START_MILLIS)
    const succeed = (match: RegExpExecArray) => {
      clearTimeout(timer)
      resolve(match)
    }
    const take = (text: string) => {
      output = (output + text).slice(-8192)
      const match = isReady instanceof RegExp ? pattern.exec(output) : null
      if (match !== null) succeed(match)
    }
    child.stdout?.setEncoding("utf8").on("data", take)
    child.stderr?.setEncoding("utf8").on("data", take)
    child.once("error", (error) => fail(error.message))
    child.once("exit", (code, name) => fail(`ended with ${code ?? name}`))
    const probe = async (): Promise<void> => {
      if (isReady instanceof RegExp || hasEnded(child)) return
      if (await isReady()) succeed(pattern.exec("")!)
      else setTimeout(() => void probe(), 50)
    }
    void probe()
  })
  return { pid: child.pid!, ready, stop: () => stop(child) }
}

export const temporaryDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), "spillway-bench-"))
  directories.add(directory)
  return directory
}

let interrupted = false

/** Whether a signal ends the benchmark: what fails from then on fails because of that. */
export const isInterrupted = (): boolean => interrupted

const removeDirectories = (): void => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
  directories.clear()
}

/** Ends what runs and removes what was made. */
export const cleanUp = async (): Promise<void> => {
  await Promise.all([...children].map(stop))
  removeDirectories()
}

/** Whatever ends the benchmark, it leaves nothing behind. */
export const cleanUpAtTheEnd = (): void => {
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(name, () => {
      interrupted = true
      void cleanUp().finally(() => process.exit(codes[name]))
    })
  }
  process.on("exit", () => {
    for (const child of children) signal(child, "SIGKILL")
    removeDirectories()
  })
}
