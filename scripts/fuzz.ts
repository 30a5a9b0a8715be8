import { Effect, Schema } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { ask } from "../test/http/TestProxy.ts"
import { eventually, type Program, startProgram } from "../test/support/Program.ts"
import { makeTestOrigin } from "../test/support/TestOrigin.ts"
import { campaign, explain, type Summary } from "../test/system/fuzz/campaign.ts"
import { fileAt, fill } from "../test/system/fuzz/files.ts"

/**
 * Plays seeds against the real program, as a child process, until one fails. `--seeds N` how many, `--from S` the first,
 * `--seed S` that one only, with what was sent and received, `--concurrency C` how many connections at a time.
 */

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    seed: { type: "string" },
    from: { type: "string" },
    concurrency: { type: "string" }
  }
})

const one = values.seed === undefined ? undefined : Number(values.seed)
const from = one ?? Number(values.from ?? 1)
const count = one === undefined ? Number(values.seeds ?? 10_000) : 1
const concurrency = Number(values.concurrency ?? 16)

/** After so many connections it is seen to that nothing is left of them. */
const BATCH = 2000

/** What the program may take of memory, in MiB: a cache of 4 MiB, and the rest is Node's. */
const MEMORY_MIB = 640

/** Small, so that chunks are evicted all the time. */
const CACHE = ["--chunk-size", "64KiB", "--max-size", "4MiB", "--memory", "1MiB", "--min-free", "0"]

class Failed extends Schema.TaggedError<Failed>()("Failed", { message: Schema.String }) {}

const print = (line: string): void => void process.stdout.write(`${line}\n`)

const memory = ({ process }: Program): number => {
  try {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${process.pid}/status`, "utf8"))?.[1] ?? 0) / 1024
  } catch {
    // Only Linux tells.
    return 0
  }
}

/** That the program is as it was: it answers rightly, and nothing is left of what was. */
const inspect = Effect.fnUntraced(function*(program: Program) {
  const gauge = (name: string) =>
    Effect.map(
      ask(program.url, "/_spillway/metrics", { headers: { host: "localhost" } }),
      ({ body }) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body.toString())?.[1])
    )
  // One is the connection that asks.
  yield* eventually("the end of all connections", Effect.map(gauge("spillway_connections"), (count) => count === 1))
  yield* eventually("the end of all streams", Effect.map(gauge("spillway_streams"), (count) => count === 0))
  const { body } = yield* ask(program.url, "/a")
  if (!body.equals(fileAt("/a")!.bytes)) return yield* new Failed({ message: "the next answer is wrong" })
  if (program.stderr() !== "") return yield* new Failed({ message: program.stderr() })
  const used = memory(program)
  if (used > MEMORY_MIB) return yield* new Failed({ message: `the program takes ${used.toFixed(0)} MiB` })
  return used
})

const add = (total: Map<number, number>, { statuses }: Summary): void => {
  for (const [status, times] of statuses) total.set(status, (total.get(status) ?? 0) + times)
}

const run = Effect.gen(function*() {
  const origin = yield* makeTestOrigin
  fill(origin)
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "spillway-fuzz-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
  )
  // What the origin does to it is worth a warning; errors are the program's own.
  const program = yield* startProgram([...CACHE, "--cache-dir", directory, origin.url], {
    env: { SPILLWAY_LOG_LEVEL: "error" }
  })
  const port = Number(new URL(program.url).port)
  const statuses = new Map<number, number>()
  const begun = performance.now()
  for (let next = from; next < from + count; next += BATCH) {
    const size = Math.min(BATCH, from + count - next)
    const summary = yield* Effect.promise(() =>
      campaign(port, next, size, concurrency, one === undefined ? undefined : (report) => print(explain(report)))
    )
    add(statuses, summary)
    if (summary.failed !== undefined) {
      if (one === undefined) print(explain(summary.failed))
      const ended = program.process.exitCode ?? program.process.signalCode
      const fate = ended === null ? "" : `\nthe program ended with ${ended}\n${program.stderr()}`
      return yield* new Failed({ message: `replay it with --seed ${summary.failed.plan.seed}${fate}` })
    }
    const used = yield* inspect(program).pipe(
      Effect.catchDefect((defect) => new Failed({ message: String(defect) })),
      Effect.mapError((error) => new Failed({ message: `seeds ${next} to ${next + size - 1}: ${error.message}` }))
    )
    const done = next + size - from
    const speed = done / ((performance.now() - begun) / 1000)
    print(`${done} of ${count} connections, ${speed.toFixed(0)} a second, ${used.toFixed(0)} MiB`)
  }
  const sorted = [...statuses].toSorted(([a], [b]) => a - b)
  print(sorted.map(([status, times]) => `${status === 0 ? "cut" : status}: ${times}`).join(", "))
  const code = yield* program.stop("SIGTERM")
  if (code !== 0) return yield* new Failed({ message: `the program ended with ${code}\n${program.stderr()}` })
})

await Effect.runPromise(
  Effect.scoped(run).pipe(
    Effect.catchTags({
      Failed: ({ message }) => Effect.sync(() => print(`failed: ${message}`)).pipe(Effect.as(true)),
      ProgramFailed: ({ message }) => Effect.sync(() => print(message)).pipe(Effect.as(true))
    }),
    Effect.map((failed) => process.exit(failed === true ? 1 : 0))
  )
)
