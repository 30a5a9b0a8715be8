import { spawnSync } from "node:child_process"
import { temporaryDirectory } from "./processes.ts"

/** A small disk that only one program and its children see by its name, and that is gone with them. */
export interface Disk {
  readonly mountPoint: string
  /** What goes before the program's command line. */
  readonly prefix: ReadonlyArray<string>
}

const MOUNT_AND_RUN = "mount -t tmpfs -o \"size=$0\" tmpfs \"$1\" && shift && exec \"$@\""

export const makeDisk = (bytes: number): Disk => {
  const mountPoint = temporaryDirectory()
  return { mountPoint, prefix: ["unshare", "-Urm", "sh", "-c", MOUNT_AND_RUN, String(bytes), mountPoint] }
}

/** Where others see what the process sees at `path`. */
export const insideOf = (pid: number, path: string): string => `/proc/${pid}/root${path}`

/** Why no such disk can be made here, or `undefined`. */
export const noDisks = (): string | undefined => {
  const [command = "", ...args] = makeDisk(1024 ** 2).prefix
  const { error, status, stderr } = spawnSync(command, [...args, "true"], { encoding: "utf8" })
  return status === 0 ? undefined : `no disk can be mounted in a namespace: ${error?.message ?? stderr.trim()}`
}
