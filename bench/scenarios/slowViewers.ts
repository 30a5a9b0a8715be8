import { connect, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { FILE_BYTES, MEBIBYTE, randomWords, WARM_PATH } from "../content.ts"
import { cpuSeconds } from "../cpuTime.ts"
import { Samples } from "../Metric.ts"
import { residentBytes } from "../residentBytes.ts"
import { startSpillway } from "../servers.ts"
import { verify } from "../verify.ts"
import type { Scenario } from "./Scenario.ts"

const VIEWERS = 2000

/** How fast each of them reads, in bytes per second. */
const RATE = 20_000

/** How often each reads, in milliseconds. */
const TICK_MILLIS = 500

/** How long they have been watching when the first sample is taken, and how long a sample takes, in seconds. */
const SETTLE_SECONDS = 4

const SAMPLE_SECONDS = 3

/** How long the file may still be written, in seconds. */
const WRITE_SECONDS = 2

/** How much of the file is kept in memory: all of it, or one chunk. */
const TIERS = { memory: 64 * MEBIBYTE, disk: MEBIBYTE } as const

/** How much memory they may take besides the tier, in MB, and how much of a processor. */
const MEMORY_TARGET = 150

const CPU_TARGET = 0.5

/** A viewer somewhere in the file, who takes nothing by itself. */
const watch = (port: number, offset: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port })
    socket.pause()
    socket.once("error", reject)
    socket.once("connect", () => {
      socket.write(`GET ${WARM_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=${offset}-\r\n\r\n`)
      resolve(socket)
    })
  })

const slowViewersOf = (scenario: string, source: keyof typeof TIERS): Scenario => ({
  name: scenario,
  about: `${VIEWERS} viewers who read 20 KB/s each of a file of 64 MiB from ${source}`,
  run: async ({ origin, profile, rounds }) => {
    const tier = TIERS[source]
    const { pid, port } = await startSpillway(origin, { profile, args: [`--memory=${tier}B`] })
    await verify(port, WARM_PATH)
    await sleep(WRITE_SECONDS * 1000)
    const random = randomWords(6)
    const sockets: Array<Socket> = []
    let taken = 0
    let ended = 0
    for (let count = 0; count < VIEWERS; count++) {
      // In the first half, so that nobody comes to the end.
      const socket = await watch(port, random() % (FILE_BYTES / 2))
      socket.on("close", () => ended += 1)
      sockets.push(socket)
    }
    const share = RATE * TICK_MILLIS / 1000
    const timer = setInterval(() => {
      for (const socket of sockets) {
        const bytes: Buffer | null = socket.read(Math.min(share, socket.readableLength)) ?? socket.read()
        taken += bytes?.length ?? 0
      }
    }, TICK_MILLIS)
    const memory = new Samples()
    const cpu = new Samples()
    await sleep(SETTLE_SECONDS * 1000)
    for (let round = 0; round < rounds; round++) {
      const before = cpuSeconds(pid)
      const takenBefore = taken
      await sleep(SAMPLE_SECONDS * 1000)
      const read = (taken - takenBefore) / SAMPLE_SECONDS / VIEWERS
      if (ended > 0 || read < RATE / 2) {
        throw new Error(`${ended} viewers were cut, the others read ${read} bytes/s each`)
      }
      memory.add("spillway", (residentBytes(pid) - tier) / 1e6)
      memory.add("bound", MEMORY_TARGET)
      const after = cpuSeconds(pid)
      if (before === undefined || after === undefined) continue
      cpu.add("spillway", (after - before) / SAMPLE_SECONDS)
      cpu.add("bound", CPU_TARGET)
    }
    clearInterval(timer)
    for (const socket of sockets) socket.destroy()
    const common = { scenario, better: "lower", targets: { bound: 1 } } as const
    return [
      { ...common, name: "resident memory besides the tier", unit: "MB", samples: memory.all() },
      { ...common, name: "processors in use", unit: "", samples: cpu.all() }
    ]
  }
})

export const slowViewers = slowViewersOf("slow-viewers", "memory")

export const slowDiskViewers = slowViewersOf("slow-disk-viewers", "disk")
