import { setTimeout as sleep } from "node:timers/promises"
import { randomWords, RANGE_BYTES, WARM_PATH } from "../content.ts"
import { cpuSeconds } from "../cpuTime.ts"
import { load } from "../load.ts"
import { type Metric, Samples } from "../Metric.ts"
import { startSpillway } from "../servers.ts"
import { randomRange, verify } from "../verify.ts"
import type { Scenario } from "./Scenario.ts"

const ROUND_SECONDS = 1.5

/** Until each worker knows what the owner has, and has it in memory. */
const WARM_UP_VIEWS = 8

/** How near the work that is done per second of processor time must come to that of one process. */
const TARGET = 0.9

export const workers: Scenario = {
  name: "workers",
  about: "random ranges of 64 KiB: two workers on two processors, which the client shares, beside one process on one",
  run: async ({ origin, profile, rounds }) => {
    // Each of three processes has a third of it, and room for the whole file.
    const args = ["--memory=384MiB"]
    const servers = {
      spillway: await startSpillway(origin, { profile, args: [...args, "--workers=2"], onBoth: true }),
      one: await startSpillway(origin, { args })
    }
    const random = randomWords(5)
    const next = () => ({ path: WARM_PATH, range: randomRange(random).field, bytes: RANGE_BYTES })
    const rates = new Samples()
    const work = new Samples()
    for (let i = 0; i < WARM_UP_VIEWS; i++) {
      for (const { port } of Object.values(servers)) await verify(port, WARM_PATH)
      await sleep(100)
    }
    for (let round = -1; round < rounds; round++) {
      for (const [name, { pid, port }] of Object.entries(servers)) {
        const before = cpuSeconds(pid)
        const { requests, seconds } = await load(port, { connections: 32, seconds: ROUND_SECONDS, next })
        const after = cpuSeconds(pid)
        if (round < 0) continue
        rates.add(name, requests / seconds)
        if (before !== undefined && after !== undefined) work.add(name, requests / (after - before))
      }
    }
    const common = { scenario: "workers", better: "higher" } as const
    return [
      {
        ...common,
        name: "requests per second of the servers' processor time",
        unit: "1/s",
        samples: work.all(),
        targets: { one: TARGET }
      },
      { ...common, name: "requests, with the client on one of the two", unit: "1/s", samples: rates.all() }
    ] satisfies ReadonlyArray<Metric>
  }
}
