import { dirname } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { chunkFiles } from "../cacheFiles.ts"
import { Connection } from "../Connection.ts"
import { FILE_BYTES, freshPath, MEBIBYTE } from "../content.ts"
import { insideOf, makeDisk, noDisks } from "../disk.ts"
import { cacheOf, until } from "../health.ts"
import { type Metric, Samples } from "../Metric.ts"
import { temporaryDirectory } from "../processes.ts"
import { startSaboteur, startSpillway } from "../servers.ts"
import { getCompared } from "../verify.ts"
import type { Context, Scenario } from "./Scenario.ts"

/** What a viewer notices when the disk fails in mid-stream: nothing, it should be. */

const DISK_BYTES = 16 * MEBIBYTE

/** Fits on the small disk beside its header and manifest, so that nothing is amiss without a failure. */
const PACED_BYTES = 12 * MEBIBYTE

/** How much has arrived when the disk fails. */
const FAILS_AT = 0.125

/** The saboteur may come too late for a viewer who is served fast. Such a run says nothing, and is done again. */
const TRIES = 10

/** How much longer the longest pause may be, in milliseconds. */
const TARGET_MILLIS = 20

/** Between two writes. */
const SETTLE_MILLIS = 500

const ARGS = ["--min-free=0", "--memory=4MiB"]

/** Sees a whole file and compares each byte; calls `onPart` when a part of it has arrived. */
const watch = async (port: number, path: string, bytes: number, onPart: () => void) => {
  const connection = new Connection(port)
  const started = performance.now()
  let isPart = false
  try {
    const { longestPause } = await getCompared(connection, path, bytes, (count) => {
      if (isPart || count < bytes * FAILS_AT) return
      isPart = true
      onPart()
    })
    return { longestPause, total: performance.now() - started }
  } finally {
    connection.close()
  }
}

/** What is asked for in a run, and where the saboteur sees what is kept of it. */
interface Prepared {
  readonly path: string
  readonly directory: string
}

/** A way for the disk to fail. */
interface Failure {
  readonly name: string
  readonly harm: "fill" | "delete" | "corrupt"
  readonly bytes: number
  readonly port: number
  readonly prepare: () => Promise<Prepared>
  /** Whether the failure was noticed in mid-stream: asked before it is over. */
  readonly struck: (sentBefore: number) => Promise<boolean>
  /** Whether the failure is over, and what was fetched because of it written. */
  readonly healed: () => Promise<boolean>
}

const usable = async (port: number): Promise<boolean> => (await cacheOf(port)).state === "usable"

const measure = async ({ origin, rounds }: Context, failure: Failure): Promise<ReadonlyArray<Metric>> => {
  const { bytes, harm, healed, name, port, prepare, struck } = failure
  const pauses = new Samples()
  const totals = new Samples()
  /** `false` when the failure came too late. */
  const view = async (run: string, keep: boolean): Promise<boolean> => {
    const { directory, path } = await prepare()
    // Started where nothing fails as well, so that it is no part of the difference.
    const saboteur = await startSaboteur(harm, directory)
    const sent = await origin.sent()
    const fails = run === "spillway"
    const { longestPause, total } = await watch(port, path, bytes, () => {
      if (fails) process.kill(saboteur.pid, "SIGUSR2")
    })
    const counts = !fails || await struck(sent)
    await saboteur.stop()
    await until("the cache to recover", healed)
    if (!keep || !counts) return counts
    pauses.add(run, longestPause)
    totals.add(run, total)
    return true
  }
  const viewUntilItCounts = async (run: string, keep: boolean): Promise<void> => {
    for (let count = 0; count < TRIES; count++) if (await view(run, keep)) return
    throw new Error(`${name}: the viewer was served before the disk failed`)
  }
  // The round before the first one only warms up.
  for (let round = -1; round < rounds; round++) {
    const runs = ["spillway", "intact"]
    for (const run of round % 2 === 0 ? runs : runs.toReversed()) await viewUntilItCounts(run, round >= 0)
  }
  const common = { scenario: "gap", unit: "ms", better: "lower" } as const
  return [
    { ...common, name: `${name}: longest pause`, samples: pauses.all(), within: { intact: TARGET_MILLIS } },
    { ...common, name: `${name}: whole file`, samples: totals.all() }
  ]
}

/** A cold file, while its chunks are being written. */
const filled = async ({ origin, profile }: Context): Promise<Failure> => {
  const { mountPoint, prefix } = makeDisk(DISK_BYTES)
  const { pid, port } = await startSpillway(origin, { profile, prefix, directory: mountPoint, args: ARGS })
  return {
    name: "disk filled, cold file",
    harm: "fill",
    bytes: PACED_BYTES,
    port,
    prepare: async () => ({ path: freshPath("paced", PACED_BYTES), directory: insideOf(pid, mountPoint) }),
    struck: async () => !await usable(port),
    healed: () => usable(port)
  }
}

/** A cached file, while its chunks are being read. */
const lost = async ({ origin, profile }: Context, harm: "delete" | "corrupt"): Promise<Failure> => {
  const directory = temporaryDirectory()
  const { port } = await startSpillway(origin, { profile, directory, args: ARGS })
  return {
    name: `chunks ${harm === "delete" ? "deleted" : "damaged"}, cached file`,
    harm,
    bytes: FILE_BYTES,
    port,
    prepare: async () => {
      const path = freshPath("cold", FILE_BYTES)
      const others = new Set(chunkFiles(directory).map((file) => dirname(file)))
      await watch(port, path, FILE_BYTES, () => {})
      let files: Array<string> = []
      await until("the file on disk", () => {
        files = chunkFiles(directory).filter((file) => !others.has(dirname(file)))
        return files.length === FILE_BYTES / MEBIBYTE
      })
      return { path, directory: dirname(files[0]!) }
    },
    struck: async (sentBefore) => await origin.sent() > sentBefore,
    healed: async () => {
      const { bytes } = await cacheOf(port)
      await sleep(SETTLE_MILLIS)
      return (await cacheOf(port)).bytes === bytes
    }
  }
}

export const gap: Scenario = {
  name: "gap",
  about: "the longest pause between two pieces of the body when the disk fails in mid-stream, beside no failure",
  run: async (context) => {
    const metrics: Array<Metric> = []
    const reason = noDisks()
    if (reason === undefined) metrics.push(...await measure(context, await filled(context)))
    else process.stdout.write(`  skipped: ${reason}\n`)
    for (const harm of ["delete", "corrupt"] as const) {
      metrics.push(...await measure(context, await lost(context, harm)))
    }
    return metrics
  }
}
