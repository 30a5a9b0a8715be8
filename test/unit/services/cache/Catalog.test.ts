import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { ANONYMOUS } from "../../../../src/domain/Asker.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { UNCODED } from "../../../../src/domain/rfc/ContentCoding.ts"
import { Bans } from "../../../../src/services/cache/Bans.ts"
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
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("is more than 45 000 ordinary ones", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const ids = Array.from({ length: 70_000 }, (_, i) => confirm(catalog, i, 20, 50))
      const kept = ids.filter((id) => catalog.known(id) !== undefined).length
      assert.isAtLeast(kept, 45_000)
      assert.isAtMost(kept, 60_000)
    }).pipe(Effect.provide(stack("memory"))))

  it.effect("weighs what an entry has become, not what it was", () =>
    Effect.gen(function*() {
      const catalog = yield* Catalog
      const count = 20_000
      for (let i = 0; i < count; i++) confirm(catalog, i, 20, 50)
      const ids = Array.from({ length: count }, (_, i) => confirm(catalog, i, 20, 16_000))
      const kept = ids.filter((id) => catalog.known(id) !== undefined).length
      assert.isAtMost(kept * 17_000, 64 * 1024 ** 2)
    }).pipe(Effect.provide(stack("memory"))))
})

const film = makeResource("http://origin.test/film")
const HOUR = { "cache-control": "max-age=3600" }

/** What a catalog says after it was told of an answer for the film. */
const answer = (
  catalog: Catalog["Service"],
  etag: string,
  fields: Record<string, string> = HOUR,
  cookie: string = ANONYMOUS
) => {
  const headers = { "content-length": "3", etag, ...fields }
  return catalog.confirm(fromHead(film, { status: 200, headers }, CHUNK) as Representation, headers, times, cookie)
}

const withCatalog = <A, E, R>(test: (catalog: Catalog["Service"]) => Effect.Effect<A, E, R> | A) =>
  Effect.flatMap(Catalog, (catalog) => {
    const result = test(catalog)
    return Effect.isEffect(result) ? result : Effect.succeed(result)
  }).pipe(Effect.provide(stack("memory")))

const isFreshFor = (catalog: Catalog["Service"]) => catalog.fresh(film, {}, UNCODED, undefined) !== undefined

describe("Catalog", () => {
  it.effect("has a representation fresh for as long as the origin said", () =>
    withCatalog((catalog) => {
      assert.isFalse(isFreshFor(catalog))
      const { representation } = answer(catalog, "\"1\"")
      assert.strictEqual(catalog.fresh(film, {}, UNCODED, undefined)?.representation, representation)
      answer(catalog, "\"1\"", { "cache-control": "max-age=0" })
      assert.isFalse(isFreshFor(catalog))
      assert.isTrue(catalog.isCurrent(representation))
    }))

  it.effect("keeps the identifier of a version, and supersedes another one", () =>
    withCatalog((catalog) => {
      const first = answer(catalog, "\"1\"").representation
      assert.strictEqual(answer(catalog, "\"1\"").representation.id, first.id)
      const second = answer(catalog, "\"2\"").representation
      assert.notStrictEqual(second.id, first.id)
      assert.deepStrictEqual([catalog.isCurrent(first), catalog.isCurrent(second)], [false, true])
    }))

  it.effect("gives a contested version another identifier", () =>
    withCatalog((catalog) => {
      const { representation } = answer(catalog, "\"1\"")
      catalog.expire(representation, true)
      assert.isFalse(catalog.isCurrent(representation))
      assert.notStrictEqual(answer(catalog, "\"1\"").representation.id, representation.id)
    }))

  it.effect("is no longer fresh, nor current, once it was expired or invalidated", () =>
    withCatalog((catalog) =>
      Effect.gen(function*() {
        for (const end of ["expire", "invalidate", "ban"] as const) {
          const { representation } = answer(catalog, "\"1\"")
          assert.isTrue(isFreshFor(catalog), end)
          if (end === "expire") catalog.expire(representation)
          else if (end === "invalidate") yield* catalog.invalidate(film)
          else (yield* Bans).add({ _tag: "OutdatedTree", url: "http://origin.test/film" })
          assert.isFalse(isFreshFor(catalog), end)
          assert.isFalse(catalog.isCurrent(representation), end)
          assert.isDefined(catalog.known(film.id), end)
        }
      })
    ))

  it.effect("selects a variant by the fields that answers vary on", () =>
    withCatalog((catalog) => {
      assert.isFalse(catalog.varies(film))
      const selected = catalog.vary(film, { vary: "accept-language" }, { "accept-language": "de" })
      assert.isTrue(catalog.varies(film))
      const others = ["de", "en"].map((language) =>
        catalog.select(film, { "accept-language": language }, UNCODED).variant.id
      )
      assert.strictEqual(others[0], selected.id)
      assert.notStrictEqual(others[1], selected.id)
    }))

  it.effect("separates requests with a cookie from those without", () =>
    withCatalog((catalog) => {
      assert.strictEqual(catalog.select(film, { cookie: "a=1" }, UNCODED).variant.id, film.id)
      catalog.separateCookies(film)
      assert.notStrictEqual(
        catalog.select(film, { cookie: "a=1" }, UNCODED).variant.id,
        catalog.select(film, {}, UNCODED).variant.id
      )
    }))

  it.effect("excludes viewers, and has them ask the origin", () =>
    withCatalog((catalog) => {
      const { representation } = answer(catalog, "\"1\"")
      catalog.exclude(representation, ANONYMOUS)
      assert.isFalse(isFreshFor(catalog))
      assert.strictEqual(catalog.known(film.id)?.representation.withCookie, true)
    }))

  it.effect("protects what others were given from being superseded", () =>
    withCatalog((catalog) => {
      answer(catalog, "\"1\"")
      assert.isFalse(catalog.isProtected(film, film, ANONYMOUS))
      assert.isTrue(catalog.isProtected(film, film, "cookie"))
    }))

  it.effect("learns how the origin answers ranges, for the current representation", () =>
    withCatalog((catalog) => {
      const { representation } = answer(catalog, "\"1\"")
      catalog.learnRanges(representation, "none")
      assert.strictEqual(catalog.known(film.id)?.representation.ranges, "none")
      answer(catalog, "\"2\"")
      catalog.learnRanges(representation, "none")
      assert.isUndefined(catalog.known(film.id)?.representation.ranges)
    }))

  it.effect("forgets a resource", () =>
    withCatalog((catalog) =>
      Effect.gen(function*() {
        answer(catalog, "\"1\"")
        assert.isTrue(Option.isSome(yield* catalog.peek(film.id)))
        catalog.forget(film.id)
        assert.isTrue(Option.isNone(yield* catalog.get(film)))
      })
    ))

  it.effect("adopts what another process knows", () =>
    withCatalog((catalog) => {
      const entry = answer(catalog, "\"1\"")
      catalog.forget(film.id)
      catalog.adopt(entry, new Map())
      assert.strictEqual(catalog.fresh(film, {}, UNCODED, undefined), entry)
    }))
})
