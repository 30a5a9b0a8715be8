import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { Engines, type FleetOptions, Membership, MembershipFailed, Spillway } from "../../src/index.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { freePort } from "../support/freePort.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"

const optionsOf = (node: string, port: number): FleetOptions => ({
  fleet: "test",
  node,
  advertise: { host: "127.0.0.1", port },
  weight: 1,
  secrets: ["the-secret-of-a-fleet-in-one-process"],
  stretch: MiB,
  patience: 2500,
  settle: 3_600_000,
  isolated: "serve",
  tls: undefined
})

/** A node in this process. */
const start = Effect.fnUntraced(function*(
  origin: TestOrigin,
  node: string,
  port: number,
  membership: Layer.Layer<Membership>
) {
  const directory = yield* temporaryDirectory
  const layer = Spillway.layerPeers({ host: "127.0.0.1", port }).pipe(
    Layer.provideMerge(Spillway.layerNoOptions),
    Layer.provide(Spillway.layerFleet(optionsOf(node, port), membership)),
    Layer.provide(Spillway.layerOptions({ directory, minFree: 0, origins: [origin.url] })),
    Layer.provide(NodeServices.layer)
  )
  return Context.get(yield* Layer.build(Layer.fresh(layer)), Spillway)
})

const read = ({ open }: Spillway["Service"], path: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { stream } = yield* open(path)
    return sha256(yield* Stream.mkUint8Array(stream))
  }))

describe("Spillway.layerFleet", () => {
  it.live("makes nodes of one cache, by a list", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(5 * MiB, 1)
      origin.files.set("/film", film)
      const ports = [yield* freePort, yield* freePort]
      const list = Engines.list(["n1", "n2"].map((name, i) => ({
        _tag: "Configured",
        name,
        host: "127.0.0.1",
        port: ports[i]!
      })))
      const nodes = [yield* start(origin, "n1", ports[0]!, list), yield* start(origin, "n2", ports[1]!, list)]
      for (const node of nodes) assert.strictEqual(yield* read(node, "/film"), sha256(film.bytes))
      assert.strictEqual(origin.bodyBytes(), film.bytes.length)
    }))

  it.live("works with an engine of the application, also while that fails", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(MiB, 1)
      origin.files.set("/film", film)
      const failing = Layer.succeed(Membership, {
        label: "mine",
        hasLog: false,
        hasWeights: false,
        beatMillis: 1000,
        leaseMillis: 3000,
        open: () => Effect.fail(new MembershipFailed({ cause: "not now" }))
      })
      const node = yield* start(origin, "n1", yield* freePort, failing)
      assert.strictEqual(yield* read(node, "/film"), sha256(film.bytes))
    }))
})
