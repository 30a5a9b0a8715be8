import { Connection } from "../Connection.ts"
import { FILE_BYTES, freshPath } from "../content.ts"
import { get } from "../load.ts"
import { Samples } from "../Metric.ts"
import { startCaches } from "../servers.ts"
import type { Scenario } from "./Scenario.ts"

/** How many files in a row make one sample. */
const FILES = 3

export const coldFile: Scenario = {
  name: "cold-file",
  about: "a file of 64 MiB that nobody has asked for yet, one viewer, beside the origin asked directly",
  run: async ({ origin, profile, rounds }) => {
    const routes = [{ name: "origin", port: origin.port }, ...await startCaches(origin, profile)]
    const rates = new Samples()
    for (let round = -1; round < rounds; round++) {
      for (const { name, port } of routes) {
        const connection = new Connection(port)
        const started = performance.now()
        for (let file = 0; file < FILES; file++) {
          await get(connection, { path: freshPath("cold", FILE_BYTES), bytes: FILE_BYTES })
        }
        const seconds = (performance.now() - started) / 1000
        connection.close()
        // The round before the first one only warms up.
        if (round >= 0) rates.add(name, FILES * FILE_BYTES / 1e6 / seconds)
      }
    }
    return [{ scenario: "cold-file", name: "throughput", unit: "MB/s", better: "higher", samples: rates.all() }]
  }
}
