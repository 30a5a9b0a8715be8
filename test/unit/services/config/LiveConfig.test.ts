import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { makeRoute } from "../../../../src/domain/Route.ts"
import { CacheConfig, defaults as cache } from "../../../../src/services/config/CacheConfig.ts"
import { LIVE, makeLiveConfig } from "../../../../src/services/config/LiveConfig.ts"
import { defaults as origin, OriginConfig } from "../../../../src/services/config/OriginConfig.ts"
import { root } from "../../../support/Project.ts"

describe("LiveConfig", () => {
  it.effect("replaces routes and rules, and nothing else", () => {
    const live = makeLiveConfig({ cache, origin })
    return Effect.gen(function*() {
      const cacheConfig = yield* CacheConfig
      const originConfig = yield* OriginConfig
      const routes = [makeRoute({ _tag: "All" }, new URL("http://a.example"))]
      const rules = {
        ttl: [{ pattern: undefined, ttl: { lifetime: 1000, override: false } }],
        cacheKey: [{ pattern: "/*", sort: true }],
        ignoreCookies: ["/a"],
        assumeUnchanged: ["/b"]
      }
      live.replace({
        cache: { ...cache, ...rules, chunkSize: 5 },
        origin: { ...origin, origins: { ...origin.origins, routes }, silenceTimeout: 5 }
      })
      assert.deepStrictEqual({ ...cacheConfig }, { ...cache, ...rules })
      assert.deepStrictEqual({ ...originConfig }, { ...origin, origins: { ...origin.origins, routes } })
    }).pipe(Effect.provide(live.layer))
  })

  it("is read by services when they need it", () => {
    const sources = Fs.readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts"))
    const taken = sources.flatMap((path) => {
      const text = Fs.readFileSync(join(root, "src", path), "utf8")
      const parts = [...text.matchAll(/const \{([^=]*)\} = yield\* (?:Cache|Origin)Config\b/g)]
      return parts.flatMap(([, names]) =>
        names!.match(/\w+/g)!.filter((name) => LIVE.has(name)).map((name) => `${path}: ${name}`)
      )
    })
    assert.isAbove(sources.length, 100)
    assert.deepStrictEqual(taken, [])
  })
})
