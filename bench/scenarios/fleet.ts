import { setTimeout as sleep } from "node:timers/promises"
import { rank } from "../../src/domain/Rendezvous.ts"
import { Connection } from "../Connection.ts"
import { freshPath, randomWords, RANGE_BYTES, WARM_PATH } from "../content.ts"
import { cpuSeconds } from "../cpuTime.ts"
import { load } from "../load.ts"
import { type Metric, Samples } from "../Metric.ts"
import { freePort, type Origin, type Server, startSpillway } from "../servers.ts"
import { median } from "../statistics.ts"
import { getCompared, randomRange, verify } from "../verify.ts"
import type { Scenario } from "./Scenario.ts"

/** Three nodes on one machine, beside one Spillway without a fleet. */

const NAMES = ["n1", "n2", "n3"] as const

const BYTES = 256 * 1024

/** Files of a round, each of which is requested three times. */
const FILES = 100

const WARM_UP_FILES = 20

const ROUND_SECONDS = 1.5

/** Until each node has the warm file in its memory. */
const WARM_UP_VIEWS = 3

/** Rounds that aren't counted, until all programs are compiled alike. */
const WARM_UP_ROUNDS = 3

/** How much later the first byte may come through a hop than by a miss at the owner, in milliseconds. */
const HOP_MILLIS = 2

/** How near a node that is alone in its fleet must come to one without a fleet. */
const LONE_TARGET = 0.98

/** How near the work that is done per second of processor time must come to that of one node. */
const AGGREGATE_TARGET = 0.9

const SECRET = "SPILLWAY_FLEET_SECRET=a-secret-of-at-least-32-characters"

/** Starts nodes of one fleet, with room for the whole warm file in memory. */
const startNodes = async (origin: Origin, names: ReadonlyArray<string>, onBoth: boolean) => {
  const ports = await Promise.all(names.map(freePort))
  const list = names.map((name, i) => `${name}=127.0.0.1:${ports[i]}`).join(",")
  const nodes: Array<Server> = []
  for (const [i, name] of names.entries()) {
    const args = [`--fleet=list:${list}`, `--node=${name}`, `--peer-port=${ports[i]}`, "--peer-host=127.0.0.1"]
    nodes.push(await startSpillway(origin, { args, onBoth, prefix: ["env", SECRET] }))
  }
  return nodes
}

/** A new file that the second node owns. */
const ownedBySecond = (origin: Origin): string => {
  for (;;) {
    const path = freshPath("cold", BYTES)
    const url = `http://127.0.0.1:${origin.port}${path}`
    if (rank(NAMES.map((name) => ({ name, weight: 1 })), url, 0)[0]!.name === "n2") return path
  }
}

/** The first byte by a miss at the owner, by a hit there, and at another node through a hop. */
const measureHop = async (origin: Origin, [first, owner]: ReadonlyArray<Server>, rounds: number) => {
  const atOwner = new Connection(owner!.port)
  const elsewhere = new Connection(first!.port)
  const medians = new Samples()
  for (let round = -1; round < rounds; round++) {
    const ofRound = new Samples()
    for (let file = 0; file < (round < 0 ? WARM_UP_FILES : FILES); file++) {
      const path = ownedBySecond(origin)
      const ask = async (connection: Connection) => (await getCompared(connection, path, BYTES)).firstByte
      ofRound.add("miss", await ask(atOwner))
      ofRound.add("home", await ask(atOwner))
      ofRound.add("spillway", await ask(elsewhere))
    }
    if (round < 0) continue
    for (const way of ["spillway", "miss", "home"]) medians.add(way, median(ofRound.of(way)))
  }
  atOwner.close()
  elsewhere.close()
  return medians
}

/** Random ranges from the memory of servers, in turn: the rate, and the work per second of their processor time. */
const measureHits = async (groups: Record<string, ReadonlyArray<Server>>, rounds: number) => {
  const random = randomWords(7)
  const next = () => ({ path: WARM_PATH, range: randomRange(random).field, bytes: RANGE_BYTES })
  const rates = new Samples()
  const work = new Samples()
  for (const { port } of Object.values(groups).flat()) {
    for (let view = 0; view < WARM_UP_VIEWS; view++) {
      await verify(port, WARM_PATH)
      await sleep(100)
    }
  }
  const names = Object.keys(groups)
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    // From both ends in turn, because each one affects the one after it.
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const servers = groups[name]!
      const spent = () => servers.reduce((sum, { pid }) => sum + (cpuSeconds(pid) ?? Number.NaN), 0)
      const before = spent()
      const loads = await Promise.all(
        servers.map(({ port }) =>
          load(port, { connections: Math.ceil(32 / servers.length), seconds: ROUND_SECONDS, next })
        )
      )
      const requests = loads.reduce((sum, load) => sum + load.requests, 0)
      if (round < 0) continue
      rates.add(name, requests / Math.max(...loads.map(({ seconds }) => seconds)))
      work.add(name, requests / (spent() - before))
    }
  }
  return { rates, work }
}

export const fleet: Scenario = {
  name: "fleet",
  about: "three nodes on two processors, which the client shares, and a node that is alone in its fleet",
  run: async ({ origin, rounds }) => {
    const nodes = await startNodes(origin, NAMES, true)
    const hop = await measureHop(origin, nodes, rounds)
    const one = await startSpillway(origin)
    const together = await measureHits({ spillway: nodes, one: [one] }, rounds)
    // All are new, so that none has run for longer than another.
    for (const server of [...nodes, one]) await server.stop()
    const pair = { spillway: await startNodes(origin, ["n1"], false), none: [await startSpillway(origin)] }
    const alone = await measureHits(pair, rounds)
    const common = { scenario: "fleet", unit: "1/s", better: "higher" } as const
    return [
      {
        scenario: "fleet",
        name: "first byte through a hop, median",
        unit: "ms",
        better: "lower",
        samples: hop.all(),
        within: { miss: HOP_MILLIS }
      },
      {
        ...common,
        name: "requests per second of the processor time of three nodes",
        samples: together.work.all(),
        targets: { one: AGGREGATE_TARGET }
      },
      { ...common, name: "requests to three nodes, with the client on one processor", samples: together.rates.all() },
      {
        ...common,
        name: "requests per second of the processor time of a lone node",
        samples: alone.work.all(),
        targets: { none: LONE_TARGET }
      }
    ] satisfies ReadonlyArray<Metric>
  }
}
