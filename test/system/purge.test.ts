import { assert, describe, it } from "@effect/vitest"
import { Effect, Latch, Layer } from "effect"
import type { BanTarget } from "../../src/domain/BanList.ts"
import type { CacheError } from "../../src/domain/CacheError.ts"
import { fromHead, type Representation } from "../../src/domain/Representation.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { Bans } from "../../src/services/cache/Bans.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { Catalog } from "../../src/services/cache/Catalog.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import * as ManifestFormat from "../../src/services/disk/manifestFormat.ts"
import { Purger } from "../../src/services/operate/Purger.ts"
import { Sweeper } from "../../src/services/operate/Sweeper.ts"
import { CHUNK, EVERYTHING, stackOver } from "../support/stack.ts"
import { ticking } from "../support/ticking.ts"

/** The files of a cache, of 2 KiB each. */
const MANY = 20_000
const FEW = 20

const urlOf = (i: number) => `http://origin.test/${i % 2 === 0 ? "even" : "odd"}/${i}`

const representationOf = (i: number): Representation => {
  const headers = {
    "content-length": "2048",
    "etag": `"${i}"`,
    "cache-control": "max-age=3600",
    "surrogate-key": `n${i % 2}`
  }
  return fromHead(makeResource(urlOf(i)), { status: 200, headers }, CHUNK) as Representation
}

/** Has `store` have so many files. */
const fill = Effect.fnUntraced(function*(store: ChunkStore["Service"], files: number) {
  const payload = new Uint8Array(2048)
  for (let i = 0; i < files; i++) {
    const representation = representationOf(i)
    const key = { resource: representation.resource, representation: representation.id, index: 0 }
    yield* store.writeCompact!(key, payload, ManifestFormat.encode(representation))
  }
})

interface Work {
  /** What the store was asked for until the purge was answered. */
  readonly calls: ReadonlyArray<string>
  /** How many files are left when all bans are dropped. */
  readonly left: number
}

/** Purges in a cache of so many files. Nothing is removed before the answer. */
const work = (target: BanTarget, files: number): Effect.Effect<Work, CacheError> =>
  Effect.gen(function*() {
    const memory = yield* ChunkStore
    yield* fill(memory, files)
    const calls: Array<string> = []
    let isCounting = false
    const gate = yield* Latch.make(false)
    const readManifest: typeof memory.readManifest = (resource, forViewer) =>
      Effect.andThen(forViewer === true ? Effect.void : gate.await, memory.readManifest(resource, forViewer))
    const store = new Proxy({ ...memory, readManifest }, {
      get: (methods, name, receiver) => {
        if (isCounting && name !== "readManifest" && name !== "isBusy") calls.push(String(name))
        return Reflect.get(methods, name, receiver) as unknown
      }
    })
    return yield* Effect.gen(function*() {
      yield* ticking(IndexScan.use((_) => _.loaded))
      const catalog = yield* Catalog
      const index = yield* CacheIndex
      assert.strictEqual(index.resourceCount(), files)
      const inMemory = yield* catalog.get(makeResource(urlOf(1)))
      assert.strictEqual(inMemory._tag, "Some")
      isCounting = true
      const ban = yield* (yield* Purger).purge(target)
      isCounting = false
      for (const i of [1, 3]) assert.strictEqual((yield* catalog.get(makeResource(urlOf(i))))._tag, "None")
      assert.strictEqual(index.resourceCount(), files)
      yield* gate.open
      yield* ticking(Sweeper.use((_) => _.swept(ban)))
      assert.deepStrictEqual((yield* Bans).active(), [])
      return { calls, left: index.resourceCount() }
    }).pipe(Effect.provide(stackOver(Layer.succeed(ChunkStore, store))))
  }).pipe(Effect.provide(ChunkStore.layerMemory))

describe("a purge of 20,000 files", () => {
  it.effect.each<[string, BanTarget, number]>([
    ["of everything", EVERYTHING, 0],
    ["by prefix", { _tag: "Prefix", prefix: "http://origin.test/odd/" }, MANY / 2],
    ["by tag", { _tag: "Tag", tag: "n1" }, MANY / 2]
  ])(
    "%s asks as little of the disk as one of 20, and is in effect before a file is removed",
    ([, target, left]) =>
      Effect.gen(function*() {
        const few = yield* work(target, FEW)
        const many = yield* work(target, MANY)
        assert.deepStrictEqual(many.calls, few.calls)
        assert.deepStrictEqual(few.calls, ["writeBans"])
        assert.strictEqual(many.left, left)
      })
  )
})
