import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"

const TICKS_PER_SECOND = Number(spawnSync("getconf", ["CLK_TCK"], { encoding: "utf8" }).stdout) || 100

interface Usage {
  readonly pid: number
  readonly parent: number
  readonly seconds: number
}

const usageOf = (pid: number): Usage | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    // The name, in parentheses, may hold spaces; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return { pid, parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND }
  } catch {
    return undefined
  }
}

/** Processor time that `root` and the processes it has started have used; `undefined` where `/proc` does not say. */
export const cpuSeconds = (root: number): number | undefined => {
  if (process.platform !== "linux") return undefined
  const usages = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) =>
    usageOf(Number(name)) ?? []
  )
  const family = new Set([root])
  for (let before = 0; before < family.size;) {
    before = family.size
    for (const { parent, pid } of usages) if (family.has(parent)) family.add(pid)
  }
  return usages.reduce((sum, { pid, seconds }) => family.has(pid) ? sum + seconds : sum, 0)
}
