import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import { layerOptions } from "../../src/embed/config.ts"
import { CacheConfig, defaults as cacheDefaults } from "../../src/services/config/CacheConfig.ts"
import { defaults as originDefaults, OriginConfig } from "../../src/services/config/OriginConfig.ts"
import { ServerConfig } from "../../src/services/config/ServerConfig.ts"
import { Spillway } from "../../src/spillway.ts"

const variables = (values: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromUnknown(values))

const options = (values: Record<string, string>) =>
  Effect.gen(function*() {
    return { cache: yield* CacheConfig, origin: yield* OriginConfig, server: yield* ServerConfig }
  }).pipe(Effect.provide(layerOptions.pipe(Layer.provide(variables(values)))))

describe("layerEnvironment", () => {
  it.effect("is the defaults where nothing is said", () =>
    Effect.gen(function*() {
      const { cache, origin } = yield* options({})
      assert.deepStrictEqual(cache, cacheDefaults)
      assert.deepStrictEqual(origin, originDefaults)
    }))

  it.effect("reads what the flags of serve read", () =>
    Effect.gen(function*() {
      const { cache, origin, server } = yield* options({
        SPILLWAY_MAX_SIZE: "200GiB",
        SPILLWAY_READ_DEADLINE: "1s",
        SPILLWAY_TTL: "1h /live/*=2s",
        SPILLWAY_CACHE_KEY: " /films/* ignore=token,utm_*  /covers/* keep=v sort",
        SPILLWAY_IGNORE_COOKIES: "/films/* /posters/*",
        SPILLWAY_CREDENTIAL_FIELD: "X-Own-Token",
        SPILLWAY_OFFLINE: "true",
        SPILLWAY_ORIGIN: "https://media.example.org /films=https://films.example.org",
        SPILLWAY_URL_HOST: "*.Example.org",
        SPILLWAY_MAX_STREAMS: "7",
        SPILLWAY_ADMIN_TOKEN: "open-sesame"
      })
      assert.strictEqual(cache.maxSize, 200 * 1024 ** 3)
      assert.strictEqual(cache.readDeadline, 1000)
      assert.strictEqual(cache.ttl.length, 2)
      assert.deepEqual(cache.cacheKey, [
        { pattern: "/films/*", ignore: ["token", "utm_*"] },
        { pattern: "/covers/*", keep: ["v"], sort: true }
      ])
      assert.deepStrictEqual(cache.ignoreCookies, ["/films/*", "/posters/*"])
      assert.includeMembers([...origin.credentialFields], ["x-own-token", "x-plex-token"])
      assert.isTrue(origin.offline)
      assert.deepStrictEqual(origin.origins.routes.map(({ url }) => url.host), [
        "media.example.org",
        "films.example.org"
      ])
      assert.deepStrictEqual(origin.origins.urlHosts, ["*.example.org"])
      assert.strictEqual(server.maxStreams, 7)
      assert.strictEqual(server.adminToken, "open-sesame")
    }))

  const wrong = [
    ["SPILLWAY_MAX_SIZE", "big"],
    ["SPILLWAY_CHUNK_SIZE", "1KiB"],
    ["SPILLWAY_TTL", "soon"],
    ["SPILLWAY_IGNORE_COOKIES", "films/*"],
    ["SPILLWAY_CREDENTIAL_FIELD", "X-Own:"],
    ["SPILLWAY_OFFLINE", "perhaps"],
    ["SPILLWAY_URL_HOST", "a/b"]
  ] as const
  it.effect.each(wrong)("names %s where it is wrong", ([name, value]) =>
    Effect.gen(function*() {
      const layer = Spillway.layerEnvironment.pipe(Layer.provide(variables({ [name]: value })))
      const error = yield* Effect.flip(Layer.build(layer))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, name)
      assert.include(error.message, value)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

  it.effect("tells no password of an origin that is wrong", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(options({ SPILLWAY_ORIGIN: "https://anna:secret@media.example.org" }))
      assert.strictEqual(error._tag, "ConfigError")
      assert.notInclude(error.message, "secret")
    }))
})
