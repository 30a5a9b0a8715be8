import { Struct } from "effect"
import { parseArgs } from "node:util"
import { describeStep, simulateFleet } from "../test/system/simulation/fleet/simulate.ts"
import * as Schedule from "../test/system/simulation/schedule.ts"
import { simulate } from "../test/system/simulation/simulate.ts"

/**
 * Plays seeds until one fails. `--seeds N` how many, `--from S` the first, `--seed S` that one only, with its trace. `--fleet`: those of a
 * fleet of three nodes.
 */

const print = (line: string): void => void process.stdout.write(`${line}\n`)

const { values } = parseArgs({
  options: { seeds: { type: "string" }, seed: { type: "string" }, from: { type: "string" }, fleet: { type: "boolean" } }
})

/** One run, with a line for each step. */
const playOne = (seed: number) => {
  if (values.fleet === true) {
    const report = simulateFleet(seed)
    return { ...report, steps: report.schedule.steps.map(describeStep) }
  }
  const report = simulate(seed)
  return { ...report, steps: report.schedule.steps.map(Schedule.describe) }
}

const explain = (
  { hash, schedule, seed, steps, trace, violation }: ReturnType<typeof playOne>,
  traced: boolean
): void => {
  const { files, ...sizes } = Struct.omit(schedule, ["steps"])
  print(`seed ${seed}: ${violation ?? "nothing violated"}`)
  print(`hash ${hash}`)
  print(JSON.stringify(sizes))
  for (const file of files) print(JSON.stringify(file))
  for (const step of steps) print(`  ${step}`)
  const lines = traced ? trace : trace.slice(-30)
  print(traced ? "trace:" : `the end of the trace; all of it with --seed ${seed}:`)
  for (const line of lines) print(`  ${line}`)
}

const one = values.seed === undefined ? undefined : Number(values.seed)
const from = one ?? Number(values.from ?? 1)
const count = one === undefined ? Number(values.seeds ?? 1000) : 1
const begun = performance.now()

for (let seed = from; seed < from + count; seed++) {
  const report = playOne(seed)
  if (one !== undefined || report.violation !== undefined) explain(report, one !== undefined)
  if (report.violation !== undefined) process.exit(1)
  const done = seed - from + 1
  if (done % 500 === 0 || done === count) {
    const seconds = (performance.now() - begun) / 1000
    print(`${done} of ${count} seeds, ${(done / seconds).toFixed(0)} a second: nothing violated`)
  }
}
