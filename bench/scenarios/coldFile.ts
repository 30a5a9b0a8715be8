import { Connection } from "../Connection.ts"
import { FILE_BYTES, freshPath } from "../content.ts"
import { get } from "../load.ts"
import { type Metric, Samples } from "../Metric.ts"
import { startCaches } from "../servers.ts"
import type { Scenario } from "./Scenario.ts"

/** How many files in a row make one sample. */
const FILES = 3

/** What share of the origin's rate is to reach the viewer, where the origin is no faster than a network. */
const TARGET = 0.9

export const coldFile: Scenario = {
  name: "cold-file",
  about: "a file of 64 MiB that nobody has asked for yet, one viewer, beside the origin asked directly",
  run: async ({ against, origin, profile, rounds }) => {
    const routes = [{ name: "origin", port: origin.port }, ...await startCaches(origin, { against, profile })]
    const measure = async (kind: "cold" | "brisk", files: number) => {
      const rates = new Samples()
      for (let round = -1; round < rounds; round++) {
        for (const { name, port } of routes) {
          const connection = new Connection(port)
          const started = performance.now()
          for (let file = 0; file < files; file++) {
            await get(connection, { path: freshPath(kind, FILE_BYTES), bytes: FILE_BYTES })
          }
          const seconds = (performance.now() - started) / 1000
          connection.close()
          // The round before the first one only warms up.
          if (round >= 0) rates.add(name, files * FILE_BYTES / 1e6 / seconds)
        }
      }
      return rates.all()
    }
    const common = { scenario: "cold-file", unit: "MB/s", better: "higher" } as const
    const metrics: Array<Metric> = [
      {
        ...common,
        name: "throughput, origin at 100 MB/s",
        samples: await measure("brisk", 1),
        targets: { origin: TARGET }
      },
      { ...common, name: "throughput, origin without a limit", samples: await measure("cold", FILES) }
    ]
    return metrics
  }
}
