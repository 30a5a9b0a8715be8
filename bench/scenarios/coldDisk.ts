import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Connection } from "../Connection.ts"
import { freshPath, MEBIBYTE } from "../content.ts"
import { get } from "../load.ts"
import { nginxVersion } from "../machine.ts"
import { type Metric, Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { type Server, startBefore, startNginx, startSpillway } from "../servers.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** Whether the writing keeps up with one viewer of a long file, who is limited by nothing but the machine. */

const FILE_BYTES = 512 * MEBIBYTE

const CHUNK_SIZES = ["1MiB", "64KiB"]

/** How long a server may write after its viewer has everything, in milliseconds. */
const SETTLE_MILLIS = 5000

const SHARE_TARGET = 0.95

/** What share of the throughput of the version before is to remain. */
const RATE_TARGET = 0.95

interface Cache {
  readonly server: Server
  readonly directory: string
}

const startAll = async ({ against, origin, profile }: Context, args: ReadonlyArray<string>): Promise<Array<Cache>> => {
  const [own, other] = [temporaryDirectory(), temporaryDirectory()]
  const caches = [{ server: await startSpillway(origin, { profile, directory: own, args }), directory: own }]
  if (against !== undefined) {
    caches.push({ server: await startBefore(origin, against, args, other), directory: other })
  } else if (nginxVersion !== undefined) caches.push({ server: await startNginx(origin, other), directory: other })
  return caches
}

/** The bytes of all complete files of a cache. */
const stored = (directory: string): number =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".tmp"))
    .reduce((sum, { name, parentPath }) => sum + statSync(join(parentPath, name)).size, 0)

const measure = async (context: Context, chunkSize: string): Promise<ReadonlyArray<Metric>> => {
  const caches = await startAll(context, [`--chunk-size=${chunkSize}`])
  const rates = new Samples()
  const shares = new Samples()
  for (let round = 0; round < context.rounds; round++) {
    shares.add("bound", SHARE_TARGET)
    for (const { directory, server: { name, port } } of caches) {
      const before = stored(directory)
      const connection = new Connection(port)
      const started = performance.now()
      await get(connection, { path: freshPath("cold", FILE_BYTES), bytes: FILE_BYTES })
      rates.add(name, FILE_BYTES / 1e3 / (performance.now() - started))
      connection.close()
      await sleep(SETTLE_MILLIS)
      // Headers and manifests are a hundredth of a percent.
      shares.add(name, Math.min(1, (stored(directory) - before) / FILE_BYTES))
    }
  }
  for (const { server } of caches) await server.stop()
  const common = { scenario: "cold-disk", better: "higher" } as const
  const of = `chunks of ${chunkSize}`
  return [
    { ...common, name: `share on disk 5 s later, ${of}`, unit: "", samples: shares.all(), targets: { bound: 1 } },
    { ...common, name: `throughput, ${of}`, unit: "MB/s", samples: rates.all(), targets: { before: RATE_TARGET } }
  ]
}

export const coldDisk: Scenario = {
  name: "cold-disk",
  about:
    "a file of 512 MiB that nobody has asked for yet, one viewer, an origin without a limit: what is on disk 5 s later",
  run: async (context) => {
    const metrics: Array<Metric> = []
    for (const chunkSize of CHUNK_SIZES) metrics.push(...await measure(context, chunkSize))
    return metrics
  }
}
