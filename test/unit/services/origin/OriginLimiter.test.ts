import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Random, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as OriginLimiter from "../../../../src/services/origin/OriginLimiter.ts"

const HOST = "http://a.example"
const PATIENCE = 1000

const make = (places: number) => OriginLimiter.make({ places, patience: PATIENCE })

const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Comes to the gate, and says its name when it is in; stays until `leave`. */
const visitor = Effect.fnUntraced(function*(
  gate: OriginLimiter.OriginLimiter,
  log: Array<string>,
  name: string,
  { background = false, origin = HOST }: { readonly background?: boolean; readonly origin?: string } = {}
) {
  const gone = yield* Deferred.make<void>()
  const fiber = yield* Effect.scoped(
    Effect.flatMap(gate.enter(origin, background), (admitted) => {
      log.push(admitted ? name : `${name} gave up`)
      return admitted ? Deferred.await(gone) : Effect.void
    })
  ).pipe(Effect.forkChild({ startImmediately: true }))
  return { fiber, leave: Effect.andThen(Deferred.succeed(gone, undefined), Fiber.await(fiber)) }
})

const settle = TestClock.adjust(0)

describe("OriginLimiter", () => {
  it.effect("lets so many in, and then one for each that leaves, in the order in which they came", () =>
    Effect.gen(function*() {
      const gate = make(2)
      const log: Array<string> = []
      const first = yield* visitor(gate, log, "a")
      const second = yield* visitor(gate, log, "b")
      for (const name of ["c", "d", "e"]) yield* visitor(gate, log, name)
      yield* settle
      assert.deepStrictEqual(log, ["a", "b"])
      assert.deepStrictEqual(gate.load(HOST), { active: 2, waiting: 3 })
      yield* second.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c"])
      yield* first.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c", "d"])
      assert.deepStrictEqual(gate.load(HOST), { active: 2, waiting: 1 })
    }))

  it.effect("lets viewers go before the background, however long that has waited", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(gate, log, "first")
      const late = [
        yield* visitor(gate, log, "background 1", { background: true }),
        yield* visitor(gate, log, "viewer 1"),
        yield* visitor(gate, log, "background 2", { background: true }),
        yield* visitor(gate, log, "viewer 2")
      ]
      yield* inside.leave
      yield* settle
      for (const index of [1, 3, 0, 2]) {
        yield* late[index]!.leave
        yield* settle
      }
      assert.deepStrictEqual(log, ["first", "viewer 1", "viewer 2", "background 1", "background 2"])
      assert.deepStrictEqual(gate.load(HOST), { active: 0, waiting: 0 })
    }))

  it.effect("keeps origins apart", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      yield* visitor(gate, log, "a")
      yield* visitor(gate, log, "b", { origin: "http://b.example" })
      yield* visitor(gate, log, "c", { origin: "https://a.example" })
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c"])
    }))

  it.effect("waits only so long", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(gate, log, "a")
      yield* visitor(gate, log, "b")
      yield* TestClock.adjust(PATIENCE - 1)
      yield* visitor(gate, log, "c", { background: true })
      assert.deepStrictEqual(log, ["a"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(log, ["a", "b gave up"])
      assert.deepStrictEqual(gate.load(HOST), { active: 1, waiting: 1 })
      yield* inside.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b gave up", "c"])
    }))

  it.effect("turns those away who would wait behind too many", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const enter = (background: boolean) =>
        Effect.forkChild(Effect.scoped(Effect.andThen(gate.enter(HOST, background), Effect.never)), {
          startImmediately: true
        })
      yield* enter(false)
      for (let i = 0; i < 4096; i++) yield* enter(i % 2 === 0)
      assert.deepStrictEqual(gate.load(HOST), { active: 1, waiting: 4096 })
      assert.isFalse(yield* Effect.scoped(gate.enter(HOST, false)))
      assert.isTrue(yield* Effect.scoped(gate.enter("http://b.example", false)))
    }))

  it.effect("forgets who is interrupted while it waits", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(gate, log, "a")
      const waiting = yield* visitor(gate, log, "b")
      yield* visitor(gate, log, "c")
      yield* Fiber.interrupt(waiting.fiber)
      assert.deepStrictEqual(gate.load(HOST), { active: 1, waiting: 1 })
      yield* inside.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "c"])
    }))

  it.effect("passes a place on that came in the moment of the interruption", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.provide(gate.enter(HOST, false), scope)
      const waiting = yield* visitor(gate, log, "b")
      yield* visitor(gate, log, "c")
      yield* Effect.andThen(Scope.close(scope, Exit.void), Effect.sync(() => waiting.fiber.interruptUnsafe()))
      yield* settle
      assert.strictEqual(log.at(-1), "c")
      assert.deepStrictEqual(gate.load(HOST), { active: 1, waiting: 0 })
    }))

  it.effect("passes a place on that came in the moment in which patience ended", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(gate, log, "a")
      yield* visitor(gate, log, "b")
      yield* Effect.forkChild(Effect.delay(inside.leave, PATIENCE), { startImmediately: true })
      yield* TestClock.adjust(PATIENCE)
      yield* settle
      const { active } = gate.load(HOST)
      assert.strictEqual(active, log.includes("b") ? 1 : 0)
      yield* visitor(gate, log, "c")
      assert.strictEqual(gate.load(HOST).active, 1)
    }))

  it.effect.prop("loses no place and lets no one in too many, whoever comes, goes and gives up", {
    places: intBetween(1, 3),
    seed: intBetween(0, 1_000_000)
  }, ({ places, seed }) =>
    Effect.gen(function*() {
      const gate = make(places)
      const inside = new Set<number>()
      let most = 0
      const stay = Effect.fnUntraced(function*(name: number) {
        if (!(yield* gate.enter(HOST, name % 3 === 0))) return
        inside.add(name)
        yield* Effect.addFinalizer(() => Effect.sync(() => inside.delete(name)))
        most = Math.max(most, inside.size)
        yield* Effect.sleep(yield* Random.nextIntBetween(0, PATIENCE * 2))
      }, Effect.scoped)
      const fibers: Array<Fiber.Fiber<void>> = []
      for (let name = 0; name < 40; name++) {
        fibers.push(yield* Effect.forkChild(stay(name), { startImmediately: true }))
        const dice = yield* Random.nextIntBetween(0, 3)
        if (dice === 0) fibers[yield* Random.nextIntBetween(0, fibers.length - 1)]!.interruptUnsafe()
        if (dice === 1) yield* TestClock.adjust(yield* Random.nextIntBetween(0, PATIENCE))
      }
      assert.isAtMost(gate.load(HOST).active, places)
      yield* TestClock.adjust(PATIENCE * 100)
      yield* Effect.forEach(fibers, Fiber.await)
      assert.isAtMost(most, places)
      assert.deepStrictEqual(gate.load(HOST), { active: 0, waiting: 0 })
    }).pipe(Random.withSeed(seed)), { arbitrary: { runs: 100 } })

  /** A visitor whose place has been idle for `idle` milliseconds since it got it, and who goes when that is wanted. */
  const idler = Effect.fnUntraced(function*(
    gate: OriginLimiter.OriginLimiter,
    log: Array<string>,
    name: string,
    { grace, idle }: { readonly grace: number; readonly idle: number }
  ) {
    const clock = yield* Clock.Clock
    const begun = clock.currentTimeMillisUnsafe() - idle
    const gone = yield* Deferred.make<void>()
    const place = OriginLimiter.makePlace()
    place.idleFor = () => clock.currentTimeMillisUnsafe() - begun
    place.grace = grace
    place.release = Effect.andThen(Effect.sync(() => log.push(`${name} goes`)), Deferred.succeed(gone, undefined))
    yield* Effect.forkChild(Effect.scoped(Effect.andThen(gate.enter(HOST, false, place), Deferred.await(gone))), {
      startImmediately: true
    })
  })

  it.effect("takes as many idle places back as viewers wait: those that cost least first, and the longest idle", () =>
    Effect.gen(function*() {
      const gate = make(5)
      const log: Array<string> = []
      yield* idler(gate, log, "costly", { grace: 500, idle: 5000 })
      yield* idler(gate, log, "short", { grace: 0, idle: 10 })
      yield* idler(gate, log, "long", { grace: 0, idle: 20 })
      yield* idler(gate, log, "patient", { grace: 10_000, idle: 5000 })
      yield* visitor(gate, log, "busy")
      yield* TestClock.adjust(50)
      assert.deepStrictEqual(log, ["busy"])
      yield* visitor(gate, log, "a")
      yield* settle
      assert.deepStrictEqual(log.splice(0), ["busy", "long goes", "a"])
      yield* visitor(gate, log, "b")
      yield* visitor(gate, log, "c")
      yield* visitor(gate, log, "d")
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(log.splice(0), ["short goes", "b", "costly goes", "c"])
      yield* TestClock.adjust(PATIENCE)
      assert.deepStrictEqual(log, ["d gave up"])
      assert.deepStrictEqual(gate.load(HOST), { active: 5, waiting: 0 })
    }))

  it.effect("takes no place back for the background", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      yield* idler(gate, log, "idle", { grace: 0, idle: 5000 })
      yield* visitor(gate, log, "behind", { background: true })
      yield* TestClock.adjust(PATIENCE)
      assert.deepStrictEqual(log, ["behind gave up"])
    }))

  it.effect("takes a place back as soon as it has been idle for its grace", () =>
    Effect.gen(function*() {
      const gate = make(1)
      const log: Array<string> = []
      yield* idler(gate, log, "idle", { grace: 700, idle: 0 })
      yield* visitor(gate, log, "a")
      yield* TestClock.adjust(600)
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(log, ["idle goes", "a"])
    }))
})
