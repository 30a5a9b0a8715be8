import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ANONYMOUS } from "../../../../src/domain/Asker.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { UNCODED } from "../../../../src/domain/rfc/ContentCoding.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { Catalog } from "../../../../src/services/cache/Catalog.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { MemoryTier } from "../../../../src/services/cache/MemoryTier.ts"
import { Replicas } from "../../../../src/services/cache/Replicas.ts"
import { Purger } from "../../../../src/services/operate/Purger.ts"
import { CHUNK, EVERYTHING, stack } from "../../../support/stack.ts"

const film = makeResource("http://origin.test/film")
const times = { requested: 0, received: 0 }
const headers = (etag: string, more: Record<string, string> = {}) => ({ "content-length": "3", etag, ...more })

const keyAt = (index: number): ChunkKey => ({ resource: film.id, representation: "r", index })

const confirm = (catalog: Catalog["Service"], etag: string, url = film.url, more: Record<string, string> = {}) => {
  const head = headers(etag, more)
  const representation = fromHead(makeResource(url), { status: 200, headers: head }, CHUNK) as Representation
  return catalog.confirm(representation, head, times, ANONYMOUS).representation
}

/** The notifications that replicas get while `run` runs, each with the result of `look` at that moment. */
const notifications = <E, R>(run: Effect.Effect<unknown, E, R>, look: () => string = () => "") => {
  const told: Array<string> = []
  const note = (what: string, resource: string) => void told.push(`${what} ${resource}${look()}`)
  const name = (id: string) => id === film.id ? "film" : id
  const replicas = Layer.succeed(Replicas, {
    forgotten: (id) => note("forgotten", name(id)),
    withdrawn: (id) => note("withdrawn", name(id)),
    banned: () => void told.push("banned everything"),
    unbanned: () => void told.push("unbanned"),
    added: ({ index, resource }, bytes) => note("added", `${name(resource)} ${index} of ${bytes}`),
    removed: ({ index, resource }) => note("removed", `${name(resource)} ${index}`),
    settled: Effect.sync(() => void told.push("settled"))
  })
  return Effect.as(run, told).pipe(Effect.provide(Layer.provide(stack("memory", { memory: 1e6 }), replicas)))
}

describe("Replicas", () => {
  it.effect("are notified of chunks after they can be read, and before they cannot", () =>
    Effect.gen(function*() {
      let index: CacheIndex["Service"] | undefined
      const run = Effect.gen(function*() {
        index = yield* CacheIndex
        for (let i = 0; i < 4; i++) index.add(keyAt(i), 100 + i)
        index.remove(keyAt(0))
        index.condemn(keyAt(1))
        index.forget(film.id)
      })
      const there = () => ` (${[0, 1, 2, 3].filter((i) => index!.has(keyAt(i))).join()})`
      assert.deepStrictEqual(yield* notifications(run, there), [
        "added film 0 of 100 (0)",
        "added film 1 of 101 (0,1)",
        "added film 2 of 102 (0,1,2)",
        "added film 3 of 103 (0,1,2,3)",
        "removed film 0 (0,1,2,3)",
        "removed film 1 (1,2,3)",
        // What is hidden is removed too.
        "removed film 1 (2,3)",
        "removed film 2 (2,3)",
        "removed film 3 (2,3)"
      ])
    }))

  it.effect("are notified of chunks that a scan no longer finds", () =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        const index = yield* CacheIndex
        index.add(keyAt(7), 100)
        yield* (yield* IndexScan).reconcile(film.id)
        assert.isFalse(index.has(keyAt(7)))
      })
      assert.deepStrictEqual(yield* notifications(run), ["added film 7 of 100", "removed film 7"])
    }))

  it.effect("are notified of resources that this process drops from memory", () =>
    Effect.gen(function*() {
      const run = MemoryTier.use((memory) => Effect.sync(() => memory.removeResource(film.id)))
      assert.deepStrictEqual(yield* notifications(run), ["withdrawn film"])
    }))

  it.effect.each<[string, (catalog: Catalog["Service"]) => Effect.Effect<unknown> | void, number]>([
    ["is confirmed", (catalog) => void confirm(catalog, "\"1\""), 0],
    ["is superseded", (catalog) => void confirm(catalog, "\"2\""), 1],
    ["expires", (catalog) => catalog.expire(confirm(catalog, "\"1\"")), 1],
    ["is no longer current when it expires", (catalog) => {
      const old = confirm(catalog, "\"1\"")
      confirm(catalog, "\"2\"")
      catalog.expire(old)
    }, 1],
    ["is invalidated", (catalog) => catalog.invalidate(film), 1],
    ["is forgotten", (catalog) => catalog.forget(film.id), 1],
    ["is not for everybody any more", (catalog) => catalog.exclude(confirm(catalog, "\"1\""), ANONYMOUS), 1],
    ["is not for one viewer any more", (catalog) => catalog.exclude(confirm(catalog, "\"1\""), "cookie"), 0],
    ["gets variants, once, and then more", (catalog) => {
      for (const vary of ["accept", "accept", "origin"]) catalog.vary(film, headers("\"1\"", { vary }), {})
    }, 1],
    ["has no variants", (catalog) => void catalog.vary(film, headers("\"1\""), {}), 0],
    ["gets a coding chosen, once", (catalog) => {
      for (let i = 0; i < 2; i++) catalog.choose(film, headers("\"1\"", { vary: "accept-encoding" }), UNCODED)
    }, 1],
    ["gets a coding chosen, and then variants", (catalog) => {
      catalog.choose(film, headers("\"1\"", { vary: "accept-encoding" }), UNCODED)
      catalog.vary(film, headers("\"1\"", { vary: "accept" }), {})
    }, 2],
    ["has no codings", (catalog) => catalog.choose(film, headers("\"1\""), UNCODED), 0],
    ["differs by cookie", (catalog) => catalog.separateCookies(film), 1]
  ])("are notified if a resource %s", ([, act, count]) =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        const catalog = yield* Catalog
        confirm(catalog, "\"1\"")
        yield* act(catalog) ?? Effect.void
      })
      assert.deepStrictEqual(yield* notifications(run), Array.from({ length: count }, () => "forgotten film"))
    }))

  it.effect("are notified of resources that memory has no room for", () =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        const catalog = yield* Catalog
        const large = { "x-field": "f".repeat(1024 ** 2) }
        confirm(catalog, "\"1\"")
        for (let i = 0; i < 64; i++) confirm(catalog, "\"1\"", `http://origin.test/${i}`, large)
      })
      const told = yield* notifications(run)
      assert.strictEqual(told[0], "forgotten film")
      assert.isAtMost(told.length, 3)
    }))

  it.effect("have confirmed a purge before it ends", () =>
    Effect.gen(function*() {
      const run = Effect.gen(function*() {
        confirm(yield* Catalog, "\"1\"")
        yield* (yield* Purger).purge(EVERYTHING)
      })
      const told = yield* notifications(run)
      assert.deepStrictEqual(told.slice(0, 2), ["banned everything", "settled"])
    }))
})
