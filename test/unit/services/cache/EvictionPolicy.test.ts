import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { type EvictionChoice, type EvictionLine, EvictionPolicy, Spillway } from "../../../../src/index.ts"
import { EvictionOrder } from "../../../../src/services/cache/EvictionOrder.ts"
import { EvictionPolicyContract, MemoryOrigin, TestSpillway } from "../../../../src/testing/index.ts"

/** What is there longest goes: a policy that an application could have. */
const firstInFirstOut = ({ first }: EvictionLine): EvictionChoice => ({ used: () => {}, next: first })

/** It forgets that chunks leave. */
const forgetful = ({ first }: EvictionLine): EvictionChoice => {
  let chosen = 0
  return { used: () => {}, next: () => chosen ||= first() }
}

const policies = [
  ["the least recently used", EvictionPolicy.leastRecentlyUsed],
  ["SIEVE", EvictionPolicy.sieve],
  ["first in, first out", firstInFirstOut]
] as const

describe.each(policies)("EvictionPolicy: %s", (_, policy) => {
  it.effect.each(EvictionPolicyContract.cases.map(({ check, title }) => [title, check] as const))(
    "%s",
    ([, check]) => Effect.provideService(check, EvictionPolicy, policy)
  )
})

/** The chunks that are evicted in their order, of which `used` are used after all have come. */
const evicted = (policy: typeof EvictionPolicy.sieve, used: ReadonlyArray<number>) => {
  const order = new EvictionOrder(policy)
  const chunks = [1, 2, 3, 4]
  for (const chunk of chunks) order.add(chunk, 1, "warm")
  for (const chunk of used) order.use(chunk)
  return chunks.map(() => {
    const chunk = order.first()
    order.remove(chunk)
    return chunk
  })
}

describe("EvictionPolicy", () => {
  it("chooses the least recently used chunk by default, and by SIEVE the first that was not used", () => {
    assert.deepStrictEqual(evicted(EvictionPolicy.defaultValue(), [3, 1]), [2, 4, 3, 1])
    assert.deepStrictEqual(evicted(EvictionPolicy.sieve, [3, 1]), [2, 4, 1, 3])
    assert.deepStrictEqual(evicted(firstInFirstOut, [3, 1]), [1, 2, 3, 4])
  })

  it("that chooses a chunk that isn't there has the first one evicted, and never a pinned one", () => {
    const order = new EvictionOrder(forgetful)
    for (const chunk of [1, 2, 3]) order.add(chunk, 1, "warm")
    assert.strictEqual(order.first(), 1)
    order.move(1, "pinned")
    assert.strictEqual(order.first(), 2)
    order.remove(2)
    assert.strictEqual(order.first(), 3)
    order.remove(3)
    assert.strictEqual(order.first(), 0)
  })

  it.effect("is found out by its contract if it forgets that chunks leave", () =>
    Effect.gen(function*() {
      const broken = yield* Effect.forEach(EvictionPolicyContract.cases, ({ check }) =>
        Effect.exit(Effect.provideService(check, EvictionPolicy, forgetful)))
      assert.isTrue(broken.every(({ _tag }) =>
        _tag === "Failure"
      ))
    }))

  it("passes a bounded number of used chunks by for one eviction", () => {
    const order = new EvictionOrder(EvictionPolicy.sieve)
    const CHUNKS = 10_100
    for (let chunk = 1; chunk <= CHUNKS; chunk++) {
      order.add(chunk, 1, "warm")
      order.use(chunk)
    }
    assert.strictEqual(order.first(), 10_001)
  })

  const CHUNK = 64 * 1024
  const url = (name: string) => `https://media.example.org/${name}`

  const watch = Effect.fnUntraced(function*(name: string) {
    const { open } = yield* Spillway
    const { stream } = yield* open(url(name))
    yield* Stream.runDrain(stream)
    yield* TestSpillway.idle
  }, Effect.scoped)

  const scans: ReadonlyArray<readonly [string, typeof EvictionPolicy.sieve, boolean]> = [
    ["is evicted by long files that are watched once", EvictionPolicy.leastRecentlyUsed, false],
    ["survives long files that are watched once, with SIEVE", EvictionPolicy.sieve, true]
  ]
  it.effect.each(scans)("a file that is used again and again %s", ([, policy, survives]) =>
    Effect.gen(function*() {
      const { files, requests } = yield* MemoryOrigin.MemoryOrigin
      const put = (name: string, chunks: number) =>
        files.set(url(name), {
          bytes: new Uint8Array(chunks * CHUNK),
          etag: `"${name}"`,
          headers: { "cache-control": "max-age=3600" }
        })
      put("popular", 8)
      for (const film of ["a", "b", "c"]) put(film, 40)
      yield* watch("popular")
      yield* watch("popular")
      for (const film of ["a", "b", "c"]) yield* watch(film)
      const before = requests.length
      yield* watch("popular")
      assert.strictEqual(requests.length === before, survives)
    }).pipe(Effect.provide(
      Layer.provide(TestSpillway.layer({ maxSize: 60 * CHUNK }), Layer.succeed(EvictionPolicy, policy))
    )))
})
