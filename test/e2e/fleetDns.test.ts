import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type FleetPrograms, metric, startFleet, watch } from "../support/fleetPrograms.ts"
import { freePort } from "../support/freePort.ts"
import { makeNameServer } from "../support/nameServer.ts"
import { eventually, runProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"

/** Nodes have one port and different addresses, and only Linux has all of 127.0.0.0/8. */
const noAddresses = process.platform === "linux" ? undefined : "skipped: no address besides 127.0.0.1"
if (noAddresses !== undefined) process.stderr.write(`${noAddresses}\n`)

const NAME = "fleet.test"

const addressOf = (name: string): string => `127.0.0.1${name.slice(1)}`

/** Three nodes at the addresses of a name, of which `later` isn't started and has no record. */
const begin = Effect.fnUntraced(function*(origin: TestOrigin) {
  const server = yield* makeNameServer
  server.addresses.set(NAME, ["n1", "n2"].map(addressOf))
  const peerPort = yield* freePort
  const fleet = yield* startFleet({
    origin,
    engine: `dns://${NAME}:${peerPort}`,
    peerPort,
    placeOf: (name) => ({ address: addressOf(name) }),
    env: server.env,
    // No node asks the origin because another one is slow.
    args: ["--peer-patience", "120s"],
    later: ["n3"]
  })
  yield* fleet.settled(1)
  return { fleet, server }
})

/** A cold file that is read at all nodes at once comes from the origin once. */
const assertOneCache = Effect.fnUntraced(function*(origin: TestOrigin, nodes: FleetPrograms["nodes"], path: string) {
  const film = fileOf(6 * MiB, path.length)
  origin.files.set(path, film)
  origin.reset()
  const seen = yield* Effect.forEach(nodes, ({ url }) => watch(url + path), { concurrency: "unbounded" })
  for (const { isWhole, sha256: hash } of seen) assert.isTrue(isWhole && hash === sha256(film.bytes))
  assert.strictEqual(origin.bodyBytes(), film.bytes.length)
})

describe.skipIf(noAddresses !== undefined)("a fleet by DNS", () => {
  it.live(
    "has the nodes at the addresses of a name, as they come and go, and keeps them while DNS fails",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const { fleet, server } = yield* begin(origin)
        const [n1, n2, n3] = fleet.nodes
        yield* assertOneCache(origin, [n1!, n2!], "/two")

        server.addresses.set(NAME, ["n1", "n2", "n3"].map(addressOf))
        yield* n3!.start
        yield* fleet.settled(2)
        yield* assertOneCache(origin, fleet.nodes, "/three")

        for (const failure of ["refuses", "hangs"] as const) {
          server.failure = failure
          for (const node of fleet.nodes) {
            yield* eventually(
              `DNS to fail at ${node.name}`,
              Effect.map(metric(node, "spillway_fleet_engine_up"), (up) => up === 0)
            )
            assert.strictEqual(yield* metric(node, "spillway_fleet_peers{state=\"here\"}"), 2)
          }
          yield* assertOneCache(origin, fleet.nodes, `/without-${failure}`)
          const purge = runProgram(["purge", "--server", n1!.url, `${origin.url}/three`, "--strict", "--json"])
          const names = fleet.nodes.map(({ name }) => addressOf(name)).toSorted()
          yield* eventually(
            "a purge that all confirm",
            Effect.map(
              purge,
              ({ code, stdout }) => code === 0 && `${JSON.parse(stdout).nodes.toSorted()}` === `${names}`
            )
          )
          server.failure = undefined
          for (const node of fleet.nodes) {
            yield* eventually(
              `DNS to answer at ${node.name}`,
              Effect.map(metric(node, "spillway_fleet_engine_up"), (up) => up === 1)
            )
          }
        }

        server.addresses.set(NAME, ["n1", "n2"].map(addressOf))
        yield* n3!.program.stop("SIGTERM")
        for (const node of [n1!, n2!]) {
          yield* eventually(
            `the third node to be dropped by ${node.name}`,
            Effect.map(
              Effect.forEach(
                ["here", "lost", "leaving"],
                (state) => metric(node, `spillway_fleet_peers{state="${state}"}`)
              ),
              (counts) => counts.join() === "1,0,0"
            )
          )
        }
        yield* assertOneCache(origin, [n1!, n2!], "/two-again")
      })
  )
})
