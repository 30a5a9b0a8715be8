import { connect } from "node:net"
import { freshPath, LARGE_FILE_BYTES, randomWords } from "../content.ts"
import { type Metric, Samples } from "../Metric.ts"
import { startSpillway } from "../servers.ts"
import { median } from "../statistics.ts"
import type { Scenario } from "./Scenario.ts"

/** Seeks of one round, each into a file of its own. */
const SEEKS = 10

/** How much later than the origin's the first byte may come, in milliseconds. */
const TARGET_MILLIS = 5

const CHUNK_SIZES = ["256KiB", "1MiB", "8MiB"]

/** From the request to the first byte of the body, on a new connection that then ends, in milliseconds. */
const seek = (port: number, path: string, offset: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true })
    let head = ""
    let started = 0
    socket.on("connect", () => {
      started = performance.now()
      socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=${offset}-\r\n\r\n`)
    })
    socket.on("data", (data) => {
      head += data.toString("latin1")
      const end = head.indexOf("\r\n\r\n")
      if (end < 0 || head.length === end + 4) return
      const millis = performance.now() - started
      socket.destroy()
      if (head.startsWith("HTTP/1.1 206")) resolve(millis)
      else reject(new Error(`a seek was answered ${head.slice(0, 40)}`))
    })
    socket.on("error", reject)
  })

export const coldSeek: Scenario = {
  name: "cold-seek",
  about: "the first byte of a seek into a file of 1 GiB that nobody has asked for yet; the origin sends 2 MB/s",
  run: async ({ origin, profile, rounds }) => {
    const random = randomWords(5)
    const metrics: Array<Metric> = []
    for (const size of CHUNK_SIZES) {
      const { port, stop } = await startSpillway(origin, { profile, args: [`--chunk-size=${size}`] })
      const routes = [{ name: "origin", port: origin.port }, { name: "spillway", port }]
      const samples = new Samples()
      // The round before the first one only warms up.
      for (let round = -1; round < rounds; round++) {
        const ofRound = new Samples()
        for (let count = 0; count < SEEKS; count++) {
          for (const route of count % 2 === 0 ? routes : routes.toReversed()) {
            const offset = random() % (LARGE_FILE_BYTES - 1)
            ofRound.add(route.name, await seek(route.port, freshPath("slow", LARGE_FILE_BYTES), offset))
          }
        }
        if (round >= 0) { for (const { name } of routes) samples.add(name, median(ofRound.of(name))) }
      }
      await stop()
      metrics.push({
        scenario: "cold-seek",
        name: `first byte, chunks of ${size}`,
        unit: "ms",
        better: "lower",
        samples: samples.all(),
        within: { origin: TARGET_MILLIS }
      })
    }
    return metrics
  }
}
