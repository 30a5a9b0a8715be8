import { Connection } from "../Connection.ts"
import { FILE_BYTES, freshPath, MEBIBYTE } from "../content.ts"
import { get } from "../load.ts"
import { Samples } from "../Metric.ts"
import { startCaches } from "../servers.ts"
import { median } from "../statistics.ts"
import type { Scenario } from "./Scenario.ts"

const VIEWERS = 50

/** How much later than the origin's their first byte may come, in milliseconds. */
const TARGET_MILLIS = 20

/** How often the origin is asked directly for its own first byte, each round. */
const PROBES = 11

/** The first byte of one viewer after the other, who each want a short file. */
const firstBytes = async (port: number): Promise<Array<number>> => {
  const connection = new Connection(port)
  const found: Array<number> = []
  for (let probe = 0; probe < PROBES; probe++) {
    found.push((await get(connection, { path: freshPath("rated", MEBIBYTE / 4), bytes: MEBIBYTE / 4 })).firstByte)
  }
  connection.close()
  return found
}

export const coldCrowd: Scenario = {
  name: "cold-crowd",
  about: "50 viewers who ask at once for a file of 64 MiB that nobody has asked for yet; the origin sends 40 MB/s",
  run: async ({ against, origin, profile, rounds }) => {
    const caches = await startCaches(origin, { against, profile })
    const sent = new Samples()
    const first = new Samples()
    const whole = new Samples()
    // The round before the first one only warms up.
    for (let round = -1; round < rounds; round++) {
      const probes = await firstBytes(origin.port)
      if (round >= 0) {
        first.add("origin", median(probes))
        sent.add("ideal", 1)
        whole.add("ideal", FILE_BYTES / 40e6)
      }
      for (const { name, port } of caches) {
        const path = freshPath("rated", FILE_BYTES)
        const connections = Array.from({ length: VIEWERS }, () => new Connection(port))
        const before = await origin.sent()
        const started = performance.now()
        const views = await Promise.all(connections.map((connection) => get(connection, { path, bytes: FILE_BYTES })))
        const seconds = (performance.now() - started) / 1000
        const bytes = await origin.sent() - before
        for (const connection of connections) connection.close()
        if (round < 0) continue
        whole.add(name, seconds)
        sent.add(name, bytes / FILE_BYTES)
        first.add(name, median(views.map(({ firstByte }) => firstByte)))
      }
    }
    const common = { scenario: "cold-crowd", better: "lower" } as const
    return [
      { ...common, name: "origin bytes / file bytes", unit: "", samples: sent.all(), targets: { ideal: 1.005 } },
      {
        ...common,
        name: `first byte, median of ${VIEWERS}`,
        unit: "ms",
        samples: first.all(),
        within: { origin: TARGET_MILLIS }
      },
      { ...common, name: "until all have everything", unit: "s", samples: whole.all() }
    ]
  }
}
