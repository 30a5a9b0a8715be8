import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { describeMachine, loadAverage } from "./machine.ts"
import type { Metric } from "./Metric.ts"
import { type Options, parseOptions, usage } from "./options.ts"
import { cleanUp, cleanUpAtTheEnd, isInterrupted } from "./processes.ts"
import { json, markdown, textTable, withMeasured } from "./report.ts"
import { coldCrowd } from "./scenarios/coldCrowd.ts"
import { coldDisk } from "./scenarios/coldDisk.ts"
import { coldFile } from "./scenarios/coldFile.ts"
import { coldSeek } from "./scenarios/coldSeek.ts"
import { fleet } from "./scenarios/fleet.ts"
import { gap } from "./scenarios/gap.ts"
import { growth } from "./scenarios/growth.ts"
import { index } from "./scenarios/indexSize.ts"
import { missLatency } from "./scenarios/missLatency.ts"
import { mixed } from "./scenarios/mixed.ts"
import type { Scenario } from "./scenarios/Scenario.ts"
import { slowDiskViewers, slowViewers } from "./scenarios/slowViewers.ts"
import { smallObjects } from "./scenarios/smallObjects.ts"
import { start } from "./scenarios/start.ts"
import { diskRanges, diskShortRanges, warmDisk, warmFile, warmRanges } from "./scenarios/warm.ts"
import { workers } from "./scenarios/workers.ts"
import { startOrigin } from "./servers.ts"

/** Spillway beside other servers and beside its own origin, all on this machine. */

const scenarios: ReadonlyArray<Scenario> = [
  warmFile,
  warmDisk,
  warmRanges,
  diskRanges,
  diskShortRanges,
  mixed,
  workers,
  fleet,
  missLatency,
  coldSeek,
  coldFile,
  coldDisk,
  coldCrowd,
  slowViewers,
  slowDiskViewers,
  gap,
  start,
  index,
  growth,
  smallObjects
]

const names = scenarios.map(({ name }) => name)

const print = (text: string): void => void process.stdout.write(`${text}\n`)

/** Says which scenario begins, and when; beside the results, since it is of no use later. */
const showProgress = (name: string, number: number, of: number): void => {
  const seconds = Math.floor(performance.now() / 1000)
  const elapsed = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
  process.stderr.write(`${elapsed} ${name}${process.stderr.isTTY ? `, ${number} of ${of}` : ""}\n`)
}

const runScenario = async ({ about, name, run }: Scenario, { against, profiles, rounds }: Options) => {
  print(`${name}: ${about}`)
  const profile = profiles === undefined ? undefined : { directory: resolve(profiles), name }
  const metrics = await run({ origin: await startOrigin(), rounds, against, profile })
  await cleanUp()
  return metrics
}

const writeMeasured = (file: string, measured: string): void => {
  const text = existsSync(file) ? readFileSync(file, "utf8") : ""
  writeFileSync(file, withMeasured(text, measured))
}

const bench = async (options: Options): Promise<void> => {
  const before = loadAverage()
  const described = describeMachine()
  for (const [name, value] of Object.entries(described)) print(`${name}: ${value}`)
  print("")
  if (options.profiles !== undefined) mkdirSync(options.profiles, { recursive: true })
  const metrics: Array<Metric> = []
  const chosen = scenarios.filter(({ name }) => options.only === undefined || options.only === name)
  for (const [index, scenario] of chosen.entries()) {
    showProgress(scenario.name, index + 1, chosen.length)
    metrics.push(...await runScenario(scenario, options))
  }
  print(`\n${textTable(metrics)}`)
  const machine = { ...described, "load average": `${before} before, ${loadAverage()} after` }
  if (options.json !== undefined) writeFileSync(options.json, json(machine, metrics))
  if (options.markdown !== undefined) writeMeasured(options.markdown, markdown(machine, metrics))
}

const complain = (error: unknown): void => {
  if (isInterrupted()) return
  process.exitCode = 1
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
}

try {
  const options = parseOptions(process.argv.slice(2), names)
  if (options === "help") process.stdout.write(usage(names))
  else {
    cleanUpAtTheEnd()
    await bench(options)
  }
} catch (error) {
  complain(error)
} finally {
  await cleanUp()
}
