import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ANONYMOUS } from "../../../../src/domain/Asker.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { Catalog } from "../../../../src/services/cache/Catalog.ts"
import { CHUNK, stack } from "../../../support/stack.ts"

const times = { requested: 0, received: 0 }

/** Enters a resource with a query of so many characters, and a field of so many more. */
const confirm = (catalog: Catalog["Service"], i: number, query: number, field: number): string => {
  const resource = makeResource(`http://origin.test/${i}?${"q".repeat(query)}`)
  const headers = { "content-length": "3", "etag": "\"1\"", "x-field": "f".repeat(field) }
  catalog.confirm(fromHead(resource, { status: 200, headers }, CHUNK) as Representation, headers, times, ANONYMOUS)
  return resource.id
}

describe("what is remembered of resources", () => {
  it.effect("is bounded in bytes, however long URLs and fields are", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const long = Array.from({ length: 3000 }, (_, i) => confirm(catalog, i, 8000, 16_000))
      const kept = long.filter((id) => catalog.known(id) !== undefined)
      assert.isAtMost(kept.length * 24_000, 64 * 1024 ** 2)
      assert.isAtLeast(kept.length, 2000)
    }).pipe(Effect.provide(stack("memory"))), 20_000)

  it.effect("is more than 25 000 ordinary ones", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const ids = Array.from({ length: 40_000 }, (_, i) => confirm(catalog, i, 20, 50))
      const kept = ids.filter((id) => catalog.known(id) !== undefined).length
      assert.isAtLeast(kept, 25_000)
      assert.isAtMost(kept, 33_000)
    }).pipe(Effect.provide(stack("memory"))), 20_000)

  it.effect("weighs what an entry has become, not what it was", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const count = 20_000
      for (let i = 0; i < count; i++) confirm(catalog, i, 20, 50)
      const ids = Array.from({ length: count }, (_, i) => confirm(catalog, i, 20, 16_000))
      const kept = ids.filter((id) => catalog.known(id) !== undefined).length
      assert.isAtMost(kept * 18_000, 64 * 1024 ** 2)
    }).pipe(Effect.provide(stack("memory"))), 20_000)
})
