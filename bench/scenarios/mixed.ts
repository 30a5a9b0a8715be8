import { FILE_BYTES, LARGE_FILE_BYTES, randomWords, RANGE_BYTES } from "../content.ts"
import { type Metric, Samples } from "../Metric.ts"
import type { Server } from "../servers.ts"
import type { Context, Scenario } from "./Scenario.ts"
import { fromDisk, measure } from "./warm.ts"

/** A file of which a tenth is in demand, and a memory tier that has room for a part of that tenth. */

/** Of each so many blocks of `RANGE_BYTES`, one is in demand. */
const TENTH = 10

/** The part of the requests that are for those. */
const HOT = 0.9

/** A sixteenth of the file, as 256 MiB are of 4 GiB. */
const TIER_BYTES = LARGE_FILE_BYTES / 16

/** The most that a memory of that size can have: it holds five eighths of the tenth that is in demand. */
const BEST_HIT_RATIO = HOT * TIER_BYTES / (LARGE_FILE_BYTES / TENTH)

const WARM_UP_SECONDS = 8

const PATH = `/brisk/${LARGE_FILE_BYTES}/mixed`

const blocks = LARGE_FILE_BYTES / RANGE_BYTES

/** A block, of a tenth of them nine times out of ten. */
const randomBlocks = () => {
  const random = randomWords(8)
  return (): number => {
    const block = random() % blocks
    return random() / 2 ** 32 < HOT ? block - block % TENTH : block
  }
}

/** The bytes that Spillway has sent so far, by where they came from. */
const sentBytes = async ({ port }: Server): Promise<Record<string, number>> => {
  const text = await (await fetch(`http://127.0.0.1:${port}/_spillway/metrics`)).text()
  return Object.fromEntries(
    Array.from(
      text.matchAll(/^spillway_sent_bytes_total\{source="(\w+)"\} (\d+)/gm),
      ([, source, bytes]) => [source, Number(bytes)]
    )
  )
}

export const mixed: Scenario = {
  name: "mixed",
  about: `ranges of 64 KiB of a file of ${
    LARGE_FILE_BYTES / FILE_BYTES
  } times 64 MiB, nine tenths of them in a tenth of it`,
  run: async (context: Context): Promise<ReadonlyArray<Metric>> => {
    const next = randomBlocks()
    const hits = new Samples()
    let before: Record<string, number> | undefined
    const metrics = await measure("mixed", {
      path: PATH,
      connections: 32,
      next: () => {
        const start = next() * RANGE_BYTES
        return { path: PATH, range: `bytes=${start}-${start + RANGE_BYTES - 1}`, bytes: RANGE_BYTES }
      },
      port: ({ rangePort }) => rangePort,
      rate: ({ requests, seconds }) => requests / seconds,
      servers: (context) => fromDisk(context, `${TIER_BYTES}B`),
      metric: { name: "requests", unit: "1/s", targets: { nginx: 0.7 } },
      warmUp: WARM_UP_SECONDS,
      onRound: async (server) => {
        if (server.name !== "spillway") return
        const now = await sentBytes(server)
        const of = (source: string) => (now[source] ?? 0) - (before?.[source] ?? 0)
        if (before !== undefined) {
          hits.add("spillway", of("memory") / (of("memory") + of("disk")))
          hits.add("best", BEST_HIT_RATIO)
        }
        before = now
      }
    }, context)
    return [
      ...metrics,
      {
        scenario: "mixed",
        name: "bytes from memory",
        unit: "",
        better: "higher",
        samples: hits.all(),
        targets: { best: 0.8 }
      }
    ]
  }
}
