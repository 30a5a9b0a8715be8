import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Option, Queue } from "effect"
import { TestClock } from "effect/testing"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { firstRound, FleetPurge } from "../../../../src/domain/FleetPurge.ts"
import { Bans } from "../../../../src/services/cache/Bans.ts"
import { Fleet, type FleetShape } from "../../../../src/services/fleet/Fleet.ts"
import { PeerFailed } from "../../../../src/services/fleet/PeerClient.ts"
import type { PurgeBatch } from "../../../../src/services/fleet/PurgeFeed.ts"
import { UNSETTLED_MILLIS, UnsettledPurges } from "../../../../src/services/fleet/UnsettledPurges.ts"
import { FleetPurger } from "../../../../src/services/operate/FleetPurger.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { ORIGIN, stack, ticking, view } from "../../../support/stack.ts"

const memberOf = (name: string) =>
  new FleetMember({
    name,
    host: `${name}.peer`,
    port: 8471,
    weight: 1,
    stretch: 1,
    version: "1",
    routes: "",
    since: 0,
    leaving: false
  })

const url = `${ORIGIN}/film`

/** A fleet of which `n1` is this node. The others do what a test says. */
const makeFleet = Effect.gen(function*() {
  const alone = yield* Fleet
  const clock = yield* Clock.Clock
  const batches = yield* Queue.unbounded<PurgeBatch>()
  const sent: Array<readonly [name: string, purge: FleetPurge]> = []
  const knobs = {
    sent,
    batches,
    unsettled: new UnsettledPurges(() => clock.currentTimeMillisUnsafe()),
    /** Nodes that don't answer. */
    lost: new Set<string>(),
    /** Whether a node confirms a purge. */
    confirms: (_name: string, _purge: FleetPurge): boolean => true
  }
  const texts = new Map<string, FleetPurge>()
  const shape: FleetShape = {
    ...alone,
    self: memberOf("n1"),
    peers: () =>
      ["n2", "n3"].map((name) => ({ member: memberOf(name), state: knobs.lost.has(name) ? "Lost" : "Here" })),
    unsettled: knobs.unsettled,
    send: ({ name }, _, text) =>
      Effect.suspend(() => {
        const purge = texts.get(text!)!
        sent.push([name, purge])
        return knobs.confirms(name, purge)
          ? Effect.succeed("")
          : Effect.fail(new PeerFailed({ peer: name, cause: "no" }))
      }),
    log: {
      append: () => {},
      recorded: Effect.void,
      take: Queue.take(batches),
      done: () => {},
      seal: (purge) =>
        Effect.sync(() => {
          const text = `${purge.id} ${purge.round}`
          texts.set(text, purge)
          return text
        }),
      open: () => Effect.succeed(Option.none())
    }
  }
  return { knobs, layer: Layer.succeed(Fleet, shape) }
})

/** Runs a test on the node `n1`. */
const onNode = <A, E>(
  test: (knobs: Effect.Success<typeof makeFleet>["knobs"]) => Effect.Effect<A, E, FleetPurger | MemoryOrigin | any>
) =>
  Effect.gen(function*() {
    const { knobs, layer } = yield* makeFleet
    yield* ticking(Effect.provide(test(knobs), stack("memory", { memory: 1e6 }).pipe(Layer.provide(layer))))
  })

const rounds = (sent: ReadonlyArray<readonly [string, FleetPurge]>) =>
  sent.map(([name, { round }]) => `${name} ${round}`).toSorted()

const batchOf = (isComplete: boolean, ...purges: ReadonlyArray<FleetPurge>): PurgeBatch => ({
  isComplete,
  purges,
  place: "1-0",
  absence: 1
})

describe("FleetPurger", () => {
  it.effect("tells all nodes, and those that have confirmed that all have", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        knobs.confirms = (name) => name === "n2"
        const { purge } = yield* FleetPurger
        const { missing, nodes } = yield* purge({ _tag: "Url", url })
        assert.deepStrictEqual({ missing, nodes }, { missing: ["n3"], nodes: ["n1", "n2"] })
        assert.deepStrictEqual(rounds(knobs.sent), ["n2 1", "n3 1"])
        knobs.confirms = () => true
        knobs.sent.length = 0
        yield* purge({ _tag: "Url", url })
        assert.deepStrictEqual(rounds(knobs.sent), ["n2 1", "n2 2", "n3 1", "n3 2"])
      })
    ))

  it.effect("sends a purge again until a node that has missed it confirms, once", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        knobs.confirms = (name) => name !== "n3"
        const { purge } = yield* FleetPurger
        const { missing } = yield* purge({ _tag: "Url", url })
        assert.deepStrictEqual(missing, ["n3"])
        yield* TestClock.adjust("5 seconds")
        knobs.confirms = () => true
        knobs.sent.length = 0
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(rounds(knobs.sent), ["n3 1"])
      })
    ))

  it.effect("has its own purge unsettled until all have done it that are there", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        const { purge } = yield* FleetPurger
        const seen: Array<boolean> = []
        knobs.confirms = (_, { round }) => {
          if (round === 1) seen.push(knobs.unsettled.concern(url))
          return true
        }
        yield* purge({ _tag: "Url", url })
        assert.deepStrictEqual(seen, [true, true])
        assert.isFalse(knobs.unsettled.concern(url))
        knobs.confirms = (name) => name === "n2"
        yield* purge({ _tag: "Url", url })
        assert.isTrue(knobs.unsettled.concern(url))
        yield* TestClock.adjust(UNSETTLED_MILLIS)
        assert.isFalse(knobs.unsettled.concern(url))
        // Nobody reads from a node that is lost.
        knobs.lost.add("n3")
        yield* purge({ _tag: "Url", url })
        assert.isFalse(knobs.unsettled.concern(url))
      })
    ))

  it.effect("has the purge of another node unsettled until its second round, and does it once", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        const { receive } = yield* FleetPurger
        const { active } = yield* Bans
        const first = firstRound("n2", 0, [{ _tag: "Url", url }])
        assert.isTrue(yield* receive(first))
        assert.isTrue(knobs.unsettled.concern(url))
        const bans = active()
        assert.lengthOf(bans, 1)
        assert.isTrue(yield* receive(new FleetPurge({ ...first, round: 2 })))
        assert.isFalse(knobs.unsettled.concern(url))
        assert.deepStrictEqual(active(), bans)
      })
    ))

  it.effect("does a late purge of the log in its order, and each one once", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        const origin = yield* MemoryOrigin
        origin.files.set(url, {
          bytes: Buffer.from("old"),
          etag: "\"1\"",
          headers: { "cache-control": "max-age=3600" }
        })
        yield* view(url)
        const late = firstRound("n2", 0, [{ _tag: "Url", url }])
        yield* Queue.offer(knobs.batches, batchOf(true, late))
        yield* TestClock.adjust("1 second")
        origin.files.set(url, {
          bytes: Buffer.from("new"),
          etag: "\"2\"",
          headers: { "cache-control": "max-age=3600" }
        })
        assert.strictEqual(Buffer.from((yield* view(url)).bytes).toString(), "new")
        const requests = origin.requests.length
        yield* Queue.offer(knobs.batches, batchOf(true, late))
        yield* TestClock.adjust("1 second")
        yield* view(url)
        assert.lengthOf(origin.requests, requests)
      })
    ))

  it.effect("has everything revalidated if the log lacks purges", () =>
    onNode((knobs) =>
      Effect.gen(function*() {
        const origin = yield* MemoryOrigin
        origin.files.set(url, {
          bytes: Buffer.from("old"),
          etag: "\"1\"",
          headers: { "cache-control": "max-age=3600" }
        })
        yield* view(url)
        yield* Queue.offer(knobs.batches, batchOf(false))
        yield* TestClock.adjust("1 second")
        yield* view(url)
        assert.strictEqual(origin.requests.at(-1)!.headers["if-none-match"], "\"1\"")
      })
    ))
})
