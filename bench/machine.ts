import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { cpus, loadavg, totalmem } from "node:os"

/** What a command says, of which the first line that matches `pattern` is of interest; `undefined` when there is none. */
const ask = (command: string, args: ReadonlyArray<string>, pattern: RegExp): string | undefined => {
  const { stderr, stdout } = spawnSync(command, args, { encoding: "utf8" })
  return pattern.exec(`${stdout ?? ""}${stderr ?? ""}`)?.[1]
}

export const nginxVersion = ask("nginx", ["-v"], /nginx\/(\S+)/)

export const varnishVersion = ask("varnishd", ["-V"], /varnish-(\S+)/)

/** Two processors to pin to: the measured server has one of its own. */
const CPU = { server: "0", client: "1" }

/** Pins this process, and so its children, to the client's processor. `false` where that cannot be done. */
const pinned = cpus().length >= 2 &&
  spawnSync("taskset", ["--all-tasks", "--pid", "--cpu-list", CPU.client, String(process.pid)]).status === 0

/** `command` on the processor of measured servers. */
export const onServerCpu = (command: ReadonlyArray<string>): ReadonlyArray<string> =>
  pinned ? ["taskset", "--cpu-list", CPU.server, ...command] : command

/** `command` on both processors. */
export const onBothCpus = (command: ReadonlyArray<string>): ReadonlyArray<string> =>
  pinned ? ["taskset", "--cpu-list", `${CPU.server},${CPU.client}`, ...command] : command

const versionOf = (dependency: string): string => {
  const url = new URL(`../node_modules/${dependency}/package.json`, import.meta.url)
  return (JSON.parse(readFileSync(url, "utf8")) as { readonly version: string }).version
}

/** How many processes want a processor, on average of the last minute. */
export const loadAverage = (): string => loadavg()[0]!.toFixed(1)

/** What the numbers depend upon, by name. */
export const describeMachine = (): Record<string, string> => ({
  node: process.version,
  effect: versionOf("effect"),
  nginx: nginxVersion ?? "not installed",
  varnish: varnishVersion ?? "not installed",
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: String(cpus().length),
  memory: `${Math.round(totalmem() / 1024 ** 3)} GiB`,
  pinning: pinned ? `server on cpu ${CPU.server}, client and origin on cpu ${CPU.client}` : "none"
})
