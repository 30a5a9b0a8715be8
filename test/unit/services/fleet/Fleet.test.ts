import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { everything, firstRound, FleetPurge } from "../../../../src/domain/FleetPurge.ts"
import { sealRecord, type Secrets } from "../../../../src/domain/FleetSignature.ts"
import { Fleet } from "../../../../src/services/fleet/Fleet.ts"
import { configured, Engine, fleetOf, LEASE, options, Peers } from "../../../support/fleet.ts"

const names = Effect.map(Fleet, (fleet) => fleet.peers().map(({ member }) => member.name).join())
const states = Effect.map(Fleet, (fleet) => fleet.peers().map(({ state }) => state).join())

/** The record of a node, as it announces itself to the engine. */
const announced = Effect.fnUntraced(function*(
  name: string,
  more: Partial<FleetMember> = {},
  secrets: Secrets = options.secrets,
  fleet: string = options.fleet
) {
  const { self } = yield* Fleet
  const value = new FleetMember({ ...self!, name, host: `${name}.peer`, ...more })
  const time = yield* Clock.currentTimeMillis
  return { _tag: "Signed", text: sealRecord(FleetMember, secrets, { kind: "member", fleet }, { time, value }) } as const
})

/** Waits for the next heartbeats. */
const beats = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds }), () => TestClock.adjust("1 second"), { discard: true })

const purge = new FleetPurge({
  id: "0123456789abcdef",
  from: "n2",
  time: 0,
  round: 1,
  targets: [{ _tag: "Prefix", prefix: "http://origin.test/" }]
})

describe("the list of nodes", () => {
  it.effect("has those that the engine knows, and tells them of this one", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      engine.nodes = [yield* announced("n1"), yield* announced("n2")]
      yield* beats(2)
      assert.strictEqual(yield* names, "n2")
      assert.include(engine.beats.at(-1)!.record, "\"name\":\"n1\"")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("has no node that the fleet's secret doesn't vouch for", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const old = yield* announced("n7")
      yield* TestClock.adjust("2 minutes")
      engine.nodes = [
        yield* announced("n2"),
        yield* announced("n3", {}, ["x".repeat(32)]),
        yield* announced("n4", {}, options.secrets, "another fleet"),
        { _tag: "Signed", text: "{\"name\":\"n5\"}" },
        { _tag: "Signed", text: (yield* announced("n6")).text.replace("n6.peer", "evil") },
        old
      ]
      yield* beats(2)
      assert.strictEqual(yield* names, "n2")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("lists nodes that are leaving or different, and asks them nothing", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      engine.nodes = [
        yield* announced("n2", { leaving: true }),
        yield* announced("n3", { stretch: 1024 }),
        yield* announced("n4", { routes: "others" }),
        yield* announced("n5")
      ]
      yield* beats(2)
      const fleet = yield* Fleet
      assert.strictEqual(yield* states, "Leaving,Different,Different,Here")
      for (let i = 0; i < 50; i++) {
        const ranked = fleet.rank(`http://origin.test/${i}`, 0).map(({ name }) => name)
        assert.sameMembers(ranked, ["n1", "n5"])
      }
    }).pipe(Effect.provide(fleetOf())))

  it.effect.each(["refuses", "hangs"] as const)(
    "stays when the engine %s, and when it comes back empty",
    (failure) =>
      Effect.gen(function*() {
        const engine = yield* Engine
        engine.nodes = [configured("n2"), configured("n3")]
        yield* beats(3)
        engine.failure = failure
        yield* beats(30)
        assert.strictEqual(yield* names, "n2,n3")
        assert.isFalse((yield* Fleet).isEngineUp())
        engine.failure = undefined
        engine.nodes = []
        yield* beats(2)
        assert.isTrue((yield* Fleet).isEngineUp())
        engine.nodes = [configured("n2")]
        yield* beats(1)
        engine.nodes = [configured("n2"), configured("n3")]
        yield* beats(5)
        assert.strictEqual(yield* names, "n2,n3")
        engine.nodes = [configured("n2")]
        yield* beats(LEASE / 1000 + 1)
        assert.strictEqual(yield* names, "n2")
      }).pipe(Effect.provide(fleetOf()))
  )

  it.effect("is known at the next start, while the engine is down", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      engine.nodes = [yield* announced("n2")]
      engine.log = { isComplete: true, entries: [], place: "17-0" }
      yield* beats(1)
      const { log } = yield* Fleet
      log.done(yield* log.take)
      yield* beats(1)
      engine.failure = "refuses"
      engine.beats.length = 0
      const again = yield* Layer.build(Layer.fresh(Fleet.layer))
      assert.strictEqual(yield* Effect.provide(names, again), "n2")
      engine.failure = undefined
      yield* beats(3)
      assert.strictEqual(engine.beats.at(-1)!.place, "17-0")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("says that this node leaves, at once", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      yield* beats(2)
      yield* (yield* Fleet).leave
      assert.include(engine.beats.at(-1)!.record, "\"leaving\":true")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("isn't waited for when this node leaves and the engine hangs", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      yield* beats(2)
      engine.failure = "hangs"
      const leaving = yield* Effect.forkChild((yield* Fleet).leave, { startImmediately: true })
      yield* beats(2)
      assert.isDefined(leaving.pollUnsafe())
    }).pipe(Effect.provide(fleetOf())))
})

describe("a node", () => {
  it.effect("that is lost is left out of every ranking, and asked until it answers", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const peers = yield* Peers
      engine.nodes = [configured("n2")]
      yield* beats(2)
      const fleet = yield* Fleet
      const [{ member } = assert.fail("no node")] = fleet.peers()
      peers.silent.add("n2")
      yield* fleet.lose(member)
      assert.strictEqual(yield* states, "Lost")
      assert.isFalse(yield* fleet.check(member))
      for (let i = 0; i < 20; i++) assert.isTrue(fleet.owns(`http://origin.test/${i}`, 0))
      yield* beats(10)
      assert.strictEqual(yield* states, "Lost")
      peers.silent.clear()
      yield* beats(2)
      assert.strictEqual(yield* states, "Here")
      const asked = peers.questions.length
      yield* beats(10)
      assert.lengthOf(peers.questions, asked)
    }).pipe(Effect.provide(fleetOf())))

  it.effect("that is lost isn't asked any more when it has left the list", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const peers = yield* Peers
      engine.nodes = [configured("n2"), configured("n3")]
      yield* beats(2)
      const fleet = yield* Fleet
      peers.silent.add("n2")
      yield* fleet.lose(fleet.peers()[0]!.member)
      engine.nodes = [configured("n3")]
      yield* beats(6)
      const asked = peers.questions.length
      yield* beats(10)
      assert.lengthOf(peers.questions, asked)
    }).pipe(Effect.provide(fleetOf())))
})

describe("an engine without weights", () => {
  it.effect.each([0, 7])(
    "has each node own its share, although this one is configured with weight %i",
    (weight) =>
      Effect.gen(function*() {
        const engine = yield* Engine
        engine.nodes = ["n1", "n2", "n3"].map(configured)
        yield* beats(2)
        const { owns, rank } = yield* Fleet
        const urls = Array.from({ length: 600 }, (_, i) => `http://origin.test/${i}`)
        const owned = urls.filter((url) => owns(url, 0)).length
        // A third of 600, and 4 standard deviations.
        assert.isAtMost(Math.abs(owned - 200), 47)
        assert.strictEqual(rank(urls[0]!, 0).length, 3)
      }).pipe(Effect.provide(fleetOf({ weight }, false)))
  )
})

describe("the log of purges", () => {
  const sealed = Effect.fnUntraced(function*(secrets: Secrets = options.secrets) {
    const time = yield* Clock.currentTimeMillis
    const text = sealRecord(FleetPurge, secrets, { kind: "purge", fleet: options.fleet }, { time, value: purge })
    return { place: `${time}-0`, time, text }
  })

  it.effect("is read from the remembered place on, and a batch at a time", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { log } = yield* Fleet
      engine.log = { isComplete: true, entries: [yield* sealed()], place: "1-0" }
      yield* beats(1)
      const batch = yield* log.take
      assert.deepStrictEqual(batch.purges, [purge])
      assert.isTrue(batch.isComplete)
      yield* beats(3)
      assert.isUndefined(engine.beats.at(-1)!.place)
      log.done(batch)
      engine.log = { isComplete: true, entries: [], place: "1-0" }
      yield* beats(1)
      assert.strictEqual(engine.beats.at(-1)!.place, "1-0")
    }).pipe(Effect.provide(fleetOf())))

  it.effect("has no purge that the fleet's secret doesn't vouch for, or that was repeated", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { log } = yield* Fleet
      const time = yield* Clock.currentTimeMillis
      const old = { ...yield* sealed(), time: time + 61_000 }
      const entries = [yield* sealed(["x".repeat(32)]), { place: `${time}-1`, time, text: "purge" }, old]
      engine.log = { isComplete: true, entries, place: "1-0" }
      yield* beats(1)
      assert.deepStrictEqual((yield* log.take).purges, [])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("gets purges when the engine is there again, signed anew", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const fleet = yield* Fleet
      engine.log = { isComplete: true, entries: [], place: "1-0" }
      yield* beats(1)
      engine.failure = "refuses"
      fleet.log.append(purge)
      yield* beats(100)
      assert.lengthOf(engine.appended, 0)
      engine.failure = undefined
      yield* beats(2)
      assert.lengthOf(engine.appended, 1)
      assert.deepStrictEqual(yield* fleet.log.open(engine.appended[0]!), Option.some(purge))
    }).pipe(Effect.provide(fleetOf())))

  it.effect("has a purge when `recorded` ends, without waiting for the next beat", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { log } = yield* Fleet
      engine.log = { isComplete: true, entries: [], place: "1-0" }
      yield* beats(1)
      log.append(purge)
      yield* log.recorded
      assert.lengthOf(engine.appended, 1)
      engine.refusesAppends = true
      log.append(purge)
      const waiting = yield* Effect.forkChild(log.recorded)
      yield* TestClock.adjust("1 second")
      assert.isDefined(waiting.pollUnsafe())
      assert.lengthOf(engine.appended, 1)
    }).pipe(Effect.provide(fleetOf())))

  const after = (n: number) => firstRound("n1", n, [{ _tag: "Url", url: `http://origin.test/${n}` }])

  /** What was added to the log, in order. */
  const added = Effect.flatMap(Engine, ({ appended }) =>
    Effect.forEach(appended, (text) =>
      Effect.map(
        Effect.flatMap(Fleet, ({ log }) => log.open(text)),
        (purge) => Option.getOrThrow(purge)
      )))

  it.effect("gets purges in their order, although the engine refuses or forgets some", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { log } = yield* Fleet
      const purges = [1, 2, 3].map(after)
      engine.refusesAppends = true
      for (const purge of purges) log.append(purge)
      yield* beats(5)
      assert.lengthOf(engine.appended, 0)
      const last = after(4)
      log.append(last)
      engine.refusesAppends = false
      yield* beats(2)
      assert.deepStrictEqual(yield* added, [...purges, last])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("says that everything is out of date after too many purges without an engine", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { log } = yield* Fleet
      engine.refusesAppends = true
      for (let n = 0; n <= 1000; n++) log.append(after(n))
      yield* beats(2)
      engine.refusesAppends = false
      yield* beats(2)
      const [only, ...others] = yield* added
      assert.deepStrictEqual(only!.targets, [everything])
      assert.deepStrictEqual(others, [])
    }).pipe(Effect.provide(fleetOf())))

  it.effect("leaves a node behind until it has been read once", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const fleet = yield* Fleet
      engine.log = { isComplete: true, entries: [], place: "1-0" }
      assert.isTrue(fleet.isBehind())
      yield* beats(1)
      fleet.log.done(yield* fleet.log.take)
      assert.isFalse(fleet.isBehind())
    }).pipe(Effect.provide(fleetOf())))

  it.effect("isn't waited for while the engine is down", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      engine.failure = "refuses"
      yield* beats(2)
      assert.isFalse((yield* Fleet).isBehind())
    }).pipe(Effect.provide(fleetOf())))

  it.effect("that an engine lacks leaves everything to be revalidated at the start, also while it is down", () =>
    Effect.gen(function*() {
      const engine = yield* Engine
      const { isBehind, log } = yield* Fleet
      engine.failure = "refuses"
      yield* beats(2)
      const batch = yield* log.take
      assert.isFalse(batch.isComplete)
      log.done(batch)
      assert.isFalse(isBehind())
    }).pipe(Effect.provide(fleetOf({}, false))))
})
