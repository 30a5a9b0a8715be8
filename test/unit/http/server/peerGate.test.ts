import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Metric } from "effect"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { formatSignature, signRequest } from "../../../../src/domain/FleetSignature.ts"
import { SIGNATURE_FIELD, signedParts, WANTS_FIELD } from "../../../../src/domain/PeerProtocol.ts"
import { isAbove, stretchAt } from "../../../../src/domain/Rendezvous.ts"
import { makePeerGate } from "../../../../src/http/server/peerGate.ts"
import { Fleet, type FleetShape } from "../../../../src/services/fleet/Fleet.ts"
import { FleetConfig } from "../../../../src/services/fleet/FleetConfig.ts"
import { options } from "../../../support/fleet.ts"
import { ORIGIN, stack } from "../../../support/stack.ts"

const STRETCH = options.stretch

const memberOf = (name: string) =>
  new FleetMember({
    name,
    host: `${name}.peer`,
    port: 8471,
    weight: 1,
    stretch: STRETCH,
    version: "1",
    routes: "",
    since: 0,
    leaving: false
  })

const [self, other] = [memberOf("n1"), memberOf("n2")]

/** A path for which `n2` ranks below this node in the stretches of `below`, and above it in those of `above`. */
const pathWith = (below: ReadonlyArray<number>, above: ReadonlyArray<number> = []): string => {
  const isAboveAt = (path: string) => (stretch: number) => isAbove(other, self, ORIGIN + path, stretch)
  for (let i = 0;; i++) {
    const path = `/film${i}`
    if (!below.some(isAboveAt(path)) && above.every(isAboveAt(path))) return path
  }
}

interface Asked {
  readonly path: string
  readonly method?: string
  readonly range?: string
  readonly wants?: string
}

/** Whether a request of `n2` is kept apart, and how many requests have shown another order of nodes by then. */
const admit = ({ method = "GET", path, range, wants }: Asked) =>
  Effect.gen(function*() {
    const gate = yield* makePeerGate
    const headers: Record<string, string> = {
      ...(range !== undefined && { range }),
      ...(wants !== undefined && { [WANTS_FIELD]: wants })
    }
    const from = { name: "n2", time: yield* Clock.currentTimeMillis, nonce: "a-nonce-of-a-test" }
    const signature = signRequest(options.secrets, signedParts(method, path, headers), from)
    headers[SIGNATURE_FIELD] = formatSignature(signature)
    const admitted = gate.admit({ method, url: path, headers })
    const state = (yield* Metric.snapshot).find(({ id }) => id === "spillway_peer_apart_total")!.state
    return { isApart: admitted!.mark.isApart, otherOrders: (state as Metric.CounterState<number>).count }
  }).pipe(Effect.scoped, Effect.provide(node))

const node = Layer.unwrap(Effect.map(Fleet, (alone) => {
  const shape: FleetShape = {
    ...alone,
    self,
    peers: () => [{ member: other, state: "Here" }],
    stretchAt: (offset) => stretchAt(offset, STRETCH)
  }
  return stack("memory").pipe(
    Layer.provideMerge(Layer.succeed(Fleet, shape)),
    Layer.provideMerge(Layer.succeed(FleetConfig, options))
  )
}))

const inTwo = `bytes=10-${STRETCH + 10}`

describe("a request of a node", () => {
  it.effect.each<[string, Asked]>([
    ["that ranks below", { path: pathWith([0]), range: "bytes=0-9" }],
    ["that ranks below, for the head", { path: pathWith([0]), method: "HEAD" }],
    ["that ranks below for each stretch of its range", { path: pathWith([0, 1]), range: inTwo }],
    ["that ranks above elsewhere in the file", { path: pathWith([0], [1]), range: "bytes=0-9" }],
    ["for what is cached, which waits for nobody", { path: pathWith([], [0]), range: "bytes=0-9", wants: "cached" }],
    ["for the end of a file that is cached", { path: pathWith([0]), range: "bytes=-10", wants: "cached" }]
  ])(
    "shares transfers with viewers: %s",
    ([, asked]) => Effect.map(admit(asked), (seen) => assert.deepStrictEqual(seen, { isApart: false, otherOrders: 0 }))
  )

  it.effect.each<[string, Asked]>([
    ["that ranks above", { path: pathWith([], [0]), range: "bytes=0-9" }],
    ["that ranks above, for the head", { path: pathWith([], [0]), method: "HEAD" }],
    ["that ranks above for a later stretch of its range", { path: pathWith([0], [1]), range: inTwo }]
  ])(
    "is kept apart, and shows another order of nodes: %s",
    ([, asked]) => Effect.map(admit(asked), (seen) => assert.deepStrictEqual(seen, { isApart: true, otherOrders: 1 }))
  )

  it.effect("is kept apart for the end of a file, which that node may own, and shows no other order", () =>
    Effect.map(
      admit({ path: pathWith([0, 1, 2]), range: "bytes=-10" }),
      (seen) => assert.deepStrictEqual(seen, { isApart: true, otherOrders: 0 })
    ))
})
