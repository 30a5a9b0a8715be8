import { Connection } from "../Connection.ts"
import { freshPath } from "../content.ts"
import { Samples } from "../Metric.ts"
import { startCaches } from "../servers.ts"
import { median, quantile } from "../statistics.ts"
import { getCompared } from "../verify.ts"
import type { Scenario } from "./Scenario.ts"

const BYTES = 256 * 1024

/** Of all rounds together. The slowest hundredth is twenty of them, so that one or two do not decide about it. */
const PAIRS = 2000

const WARM_UP = 40

/** How much later than the origin's the first byte may come, in milliseconds: in the median, and of one in a hundred. */
const MEDIAN_MILLIS = 1.5

const TAIL_MILLIS = 5

export const missLatency: Scenario = {
  name: "miss-latency",
  about: "the first byte of a file that nobody has asked for yet, beside the origin asked directly",
  run: async ({ against, origin, profile, rounds }) => {
    const caches = await startCaches(origin, { against, profile })
    const routes = [{ name: "origin", port: origin.port }, ...caches]
      .map(({ name, port }) => ({ name, connection: new Connection(port) }))
    const ask = async (connection: Connection) =>
      (await getCompared(connection, freshPath("cold", BYTES), BYTES)).firstByte
    for (let count = 0; count < WARM_UP; count++) for (const { connection } of routes) await ask(connection)
    const medians = new Samples()
    const all = new Samples()
    for (let round = 0; round < rounds; round++) {
      const ofRound = new Samples()
      for (let pair = 0; pair < PAIRS / rounds; pair++) {
        // In turn from both ends, so that nobody always comes after the same one.
        for (const { connection, name } of pair % 2 === 0 ? routes : routes.toReversed()) {
          const millis = await ask(connection)
          ofRound.add(name, millis)
          all.add(name, millis)
        }
      }
      for (const { name } of routes) medians.add(name, median(ofRound.of(name)))
    }
    for (const { connection } of routes) connection.close()
    const tail = Object.fromEntries(routes.map(({ name }) => [name, [quantile(all.of(name), 0.99)]]))
    const common = { scenario: "miss-latency", unit: "ms", better: "lower" } as const
    return [
      { ...common, name: "first byte, median", samples: medians.all(), within: { origin: MEDIAN_MILLIS } },
      {
        ...common,
        name: `first byte, p99 of ${all.of("origin").length}`,
        samples: tail,
        within: { origin: TAIL_MILLIS }
      }
    ]
  }
}
