import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Random, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as OriginLimiter from "../../../../src/services/origin/OriginLimiter.ts"

const HOST = "http://a.example"
const TIMEOUT = 1000

const make = (limit: number) => OriginLimiter.make({ limit, timeout: TIMEOUT })

const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Requests a slot, logs its name when it has one, and keeps it until `leave`. */
const visitor = Effect.fnUntraced(function*(
  limiter: OriginLimiter.OriginLimiter,
  log: Array<string>,
  name: string,
  { background = false, origin = HOST }: { readonly background?: boolean; readonly origin?: string } = {}
) {
  const gone = yield* Deferred.make<void>()
  const fiber = yield* Effect.scoped(
    Effect.flatMap(limiter.enter(origin, background), (admitted) => {
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
      const limiter = make(2)
      const log: Array<string> = []
      const first = yield* visitor(limiter, log, "a")
      const second = yield* visitor(limiter, log, "b")
      for (const name of ["c", "d", "e"]) yield* visitor(limiter, log, name)
      yield* settle
      assert.deepStrictEqual(log, ["a", "b"])
      assert.deepStrictEqual(limiter.load(HOST), { active: 2, waiting: 3 })
      yield* second.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c"])
      yield* first.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c", "d"])
      assert.deepStrictEqual(limiter.load(HOST), { active: 2, waiting: 1 })
    }))

  it.effect("lets viewers go before the background, however long that has waited", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(limiter, log, "first")
      const late = [
        yield* visitor(limiter, log, "background 1", { background: true }),
        yield* visitor(limiter, log, "viewer 1"),
        yield* visitor(limiter, log, "background 2", { background: true }),
        yield* visitor(limiter, log, "viewer 2")
      ]
      yield* inside.leave
      yield* settle
      for (const index of [1, 3, 0, 2]) {
        yield* late[index]!.leave
        yield* settle
      }
      assert.deepStrictEqual(log, ["first", "viewer 1", "viewer 2", "background 1", "background 2"])
      assert.deepStrictEqual(limiter.load(HOST), { active: 0, waiting: 0 })
    }))

  it.effect("keeps origins apart", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      yield* visitor(limiter, log, "a")
      yield* visitor(limiter, log, "b", { origin: "http://b.example" })
      yield* visitor(limiter, log, "c", { origin: "https://a.example" })
      yield* settle
      assert.deepStrictEqual(log, ["a", "b", "c"])
    }))

  it.effect("waits only so long", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(limiter, log, "a")
      yield* visitor(limiter, log, "b")
      yield* TestClock.adjust(TIMEOUT - 1)
      yield* visitor(limiter, log, "c", { background: true })
      assert.deepStrictEqual(log, ["a"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(log, ["a", "b gave up"])
      assert.deepStrictEqual(limiter.load(HOST), { active: 1, waiting: 1 })
      yield* inside.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "b gave up", "c"])
    }))

  it.effect("turns those away who would wait behind too many", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const enter = (background: boolean) =>
        Effect.forkChild(Effect.scoped(Effect.andThen(limiter.enter(HOST, background), Effect.never)), {
          startImmediately: true
        })
      yield* enter(false)
      for (let i = 0; i < 1024; i++) yield* enter(true)
      assert.isFalse(yield* Effect.scoped(limiter.enter(HOST, true)))
      // Those in the background leave viewers' places alone.
      for (let i = 0; i < 4096; i++) yield* enter(false)
      assert.deepStrictEqual(limiter.load(HOST), { active: 1, waiting: 4096 + 1024 })
      assert.isFalse(yield* Effect.scoped(limiter.enter(HOST, false)))
      assert.isTrue(yield* Effect.scoped(limiter.enter("http://b.example", false)))
    }))

  it.effect("forgets who is interrupted while it waits", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(limiter, log, "a")
      const waiting = yield* visitor(limiter, log, "b")
      yield* visitor(limiter, log, "c")
      yield* Fiber.interrupt(waiting.fiber)
      assert.deepStrictEqual(limiter.load(HOST), { active: 1, waiting: 1 })
      yield* inside.leave
      yield* settle
      assert.deepStrictEqual(log, ["a", "c"])
    }))

  it.effect("passes on a slot that came at the moment of the interruption", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.provide(limiter.enter(HOST, false), scope)
      const waiting = yield* visitor(limiter, log, "b")
      yield* visitor(limiter, log, "c")
      yield* Effect.andThen(Scope.close(scope, Exit.void), Effect.sync(() => waiting.fiber.interruptUnsafe()))
      yield* settle
      assert.strictEqual(log.at(-1), "c")
      assert.deepStrictEqual(limiter.load(HOST), { active: 1, waiting: 0 })
    }))

  it.effect("passes on a slot that came at the moment of the timeout", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      const inside = yield* visitor(limiter, log, "a")
      yield* visitor(limiter, log, "b")
      yield* Effect.forkChild(Effect.delay(inside.leave, TIMEOUT), { startImmediately: true })
      yield* TestClock.adjust(TIMEOUT)
      yield* settle
      const { active } = limiter.load(HOST)
      assert.strictEqual(active, log.includes("b") ? 1 : 0)
      yield* visitor(limiter, log, "c")
      assert.strictEqual(limiter.load(HOST).active, 1)
    }))

  it.effect.prop("loses no slot and admits none too many, whatever arrives, leaves and is interrupted", {
    slots: intBetween(1, 3),
    seed: intBetween(0, 1_000_000)
  }, ({ slots, seed }) =>
    Effect.gen(function*() {
      const limiter = make(slots)
      const inside = new Set<number>()
      let most = 0
      const stay = Effect.fnUntraced(function*(name: number) {
        if (!(yield* limiter.enter(HOST, name % 3 === 0))) return
        inside.add(name)
        yield* Effect.addFinalizer(() => Effect.sync(() => inside.delete(name)))
        most = Math.max(most, inside.size)
        yield* Effect.sleep(yield* Random.nextIntBetween(0, TIMEOUT * 2))
      }, Effect.scoped)
      const fibers: Array<Fiber.Fiber<void>> = []
      for (let name = 0; name < 40; name++) {
        fibers.push(yield* Effect.forkChild(stay(name), { startImmediately: true }))
        const dice = yield* Random.nextIntBetween(0, 3)
        if (dice === 0) fibers[yield* Random.nextIntBetween(0, fibers.length - 1)]!.interruptUnsafe()
        if (dice === 1) yield* TestClock.adjust(yield* Random.nextIntBetween(0, TIMEOUT))
      }
      assert.isAtMost(limiter.load(HOST).active, slots)
      yield* TestClock.adjust(TIMEOUT * 100)
      yield* Effect.forEach(fibers, Fiber.await)
      assert.isAtMost(most, slots)
      assert.deepStrictEqual(limiter.load(HOST), { active: 0, waiting: 0 })
    }).pipe(Random.withSeed(seed)), { arbitrary: { runs: 100 } })

  /** A visitor whose slot has been idle for `idle` milliseconds since it got it, and that leaves when the slot is reclaimed. */
  const idler = Effect.fnUntraced(function*(
    limiter: OriginLimiter.OriginLimiter,
    log: Array<string>,
    name: string,
    { grace, idle }: { readonly grace: number; readonly idle: number }
  ) {
    const clock = yield* Clock.Clock
    const begun = clock.currentTimeMillisUnsafe() - idle
    const gone = yield* Deferred.make<void>()
    const slot = OriginLimiter.makeSlot()
    slot.idleFor = () => clock.currentTimeMillisUnsafe() - begun
    slot.grace = grace
    slot.release = Effect.andThen(Effect.sync(() => log.push(`${name} goes`)), Deferred.succeed(gone, undefined))
    yield* Effect.forkChild(Effect.scoped(Effect.andThen(limiter.enter(HOST, false, slot), Deferred.await(gone))), {
      startImmediately: true
    })
  })

  it.effect("reclaims as many idle slots as viewers wait: the shortest grace first, then the longest idle", () =>
    Effect.gen(function*() {
      const limiter = make(5)
      const log: Array<string> = []
      yield* idler(limiter, log, "costly", { grace: 500, idle: 5000 })
      yield* idler(limiter, log, "short", { grace: 0, idle: 10 })
      yield* idler(limiter, log, "long", { grace: 0, idle: 20 })
      yield* idler(limiter, log, "patient", { grace: 10_000, idle: 5000 })
      yield* visitor(limiter, log, "busy")
      yield* TestClock.adjust(50)
      assert.deepStrictEqual(log, ["busy"])
      yield* visitor(limiter, log, "a")
      yield* settle
      assert.deepStrictEqual(log.splice(0), ["busy", "long goes", "a"])
      yield* visitor(limiter, log, "b")
      yield* visitor(limiter, log, "c")
      yield* visitor(limiter, log, "d")
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(log.splice(0), ["short goes", "b", "costly goes", "c"])
      yield* TestClock.adjust(TIMEOUT)
      assert.deepStrictEqual(log, ["d gave up"])
      assert.deepStrictEqual(limiter.load(HOST), { active: 5, waiting: 0 })
    }))

  it.effect("reclaims no slot for background requests", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      yield* idler(limiter, log, "idle", { grace: 0, idle: 5000 })
      yield* visitor(limiter, log, "behind", { background: true })
      yield* TestClock.adjust(TIMEOUT)
      assert.deepStrictEqual(log, ["behind gave up"])
    }))

  it.effect("reclaims a slot as soon as it has been idle for its grace", () =>
    Effect.gen(function*() {
      const limiter = make(1)
      const log: Array<string> = []
      yield* idler(limiter, log, "idle", { grace: 700, idle: 0 })
      yield* visitor(limiter, log, "a")
      yield* TestClock.adjust(600)
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(log, ["idle goes", "a"])
    }))
})
