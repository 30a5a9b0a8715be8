import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ByteSize, Config, ConfigProvider, Duration, Effect, Layer, Redacted } from "effect"
import { type InvalidOptions, makeRoute, Spillway, type SpillwayOptions } from "../../src/index.ts"
import { CacheConfig, defaults as cacheDefaults } from "../../src/services/config/CacheConfig.ts"
import { defaults as originDefaults, OriginConfig } from "../../src/services/config/OriginConfig.ts"
import { defaults as serverDefaults, ServerConfig } from "../../src/services/config/ServerConfig.ts"

const configurationOf = (options: SpillwayOptions) =>
  Effect.gen(function*() {
    return { cache: yield* CacheConfig, origin: yield* OriginConfig, server: yield* ServerConfig }
  }).pipe(Effect.provide(Spillway.layerOptions(options)))

const mistakesIn = (options: unknown) =>
  Effect.map(
    Effect.flip(configurationOf(options as SpillwayOptions)),
    (error: InvalidOptions) => error.mistakes
  )

const url = new URL("https://media.example.org")

describe("options in code", () => {
  it.effect("have the defaults of the flags", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* configurationOf({}), {
        cache: cacheDefaults,
        origin: originDefaults,
        server: serverDefaults
      })
      assert.deepStrictEqual(
        yield* configurationOf({ maxSize: undefined, origins: undefined }),
        yield* configurationOf({})
      )
    }))

  it.effect.each<ByteSize.Input>([1024 ** 3, BigInt(1024 ** 3), "1 GiB", "1GiB", ByteSize.gibibytes(1)])(
    "take %s as a size",
    (maxSize) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* configurationOf({ maxSize })).cache.maxSize, 1024 ** 3)
      })
  )

  it.effect.each<Duration.Input>([1500, "1500 millis", "1.5 seconds", Duration.millis(1500), { seconds: 1.5 }])(
    "take %s as a time",
    (silenceTimeout) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* configurationOf({ silenceTimeout })).origin.silenceTimeout, 1500)
      })
  )

  it.effect("take lists in the forms of the flags, and routes", () =>
    Effect.gen(function*() {
      const { cache, origin, server } = yield* configurationOf({
        origins: ["/films=https://films.example.org", url, makeRoute({ _tag: "Host", host: "music.example.org" }, url)],
        ttl: ["1h", "/live/*=2s"],
        cacheKey: ["/films/* ignore=token"],
        ignoreCookies: ["/films/*"],
        credentialFields: ["X-Own-Token"],
        adminToken: Redacted.make("open-sesame")
      })
      assert.deepStrictEqual(origin.origins.routes.map(({ match }) => match._tag), ["Path", "All", "Host"])
      assert.lengthOf(cache.ttl, 2)
      assert.deepEqual(cache.cacheKey, [{ pattern: "/films/*", ignore: ["token"] }])
      assert.deepStrictEqual(cache.ignoreCookies, ["/films/*"])
      assert.includeMembers([...origin.credentialFields], ["x-own-token", "x-plex-token"])
      assert.strictEqual(server.adminToken, "open-sesame")
    }))

  const policy = makeRoute({ _tag: "All" }, url).policy
  const wrong: ReadonlyArray<readonly [keyof SpillwayOptions, unknown]> = [
    ["chunkSize", 3],
    ["chunkSize", 0],
    ["chunkSize", "big"],
    ["maxSize", -5],
    ["maxSize", 1000],
    ["minFree", Number.NaN],
    ["memory", Number.POSITIVE_INFINITY],
    ["memory", null],
    ["readDeadline", 0],
    ["readDeadline", "Infinity"],
    ["idleTimeout", Number.NaN],
    ["connectTimeout", "soon"],
    ["maxRequests", 0],
    ["maxStreams", 1.5],
    ["maxConnections", "7"],
    ["directory", ""],
    ["offline", "true"],
    ["ttl", ["soon"]],
    ["ttl", "1h"],
    ["cacheKey", ["films"]],
    ["ignoreCookies", ["films/*"]],
    ["credentialFields", ["X-Own:"]],
    ["urlHosts", ["a/b"]],
    ["origins", ["media.example.org"]],
    ["origins", ["https://media.example.org/?a=b"]],
    ["origins", [{ url }]],
    ["origins", [makeRoute({ _tag: "All" }, new URL("ftp://media.example.org"))]],
    ["origins", [makeRoute({ _tag: "All" }, url, { ...policy, parallel: Number.NaN })]],
    ["origins", [makeRoute({ _tag: "All" }, url, { ...policy, readAhead: 0 })]],
    ["adminToken", "open sesame"]
  ]
  it.effect.each(wrong)("refuse %s of %j in one line that names it", ([name, value]) =>
    Effect.gen(function*() {
      const mistakes = yield* mistakesIn({ [name]: value })
      assert.lengthOf(mistakes, 1)
      assert.match(mistakes[0]!, new RegExp(`^${name}(\\.0)?: .+`))
    }))

  it.effect("have all mistakes in one error, without secrets", () =>
    Effect.gen(function*() {
      const mistakes = yield* mistakesIn({
        chunkSize: 3,
        readDeadlin: 5,
        adminToken: "open sesame",
        origins: ["https://anna:hidden@media.example.org"]
      })
      assert.lengthOf(mistakes, 4)
      assert.isTrue(mistakes.some((line) => line.startsWith("readDeadlin: ")))
      assert.include(
        mistakes.join("\n"),
        "chunkSize: expected a size such as 10GiB, 500MB or 65536, from 64KiB to 64MiB; got 3"
      )
      assert.notMatch(mistakes.join("\n"), /sesame|hidden/)
    }))

  it.effect("refuse a cache without room for four chunks", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* mistakesIn({ maxSize: "3MiB" }), ["maxSize: less than four chunks of chunkSize"])
      yield* configurationOf({ maxSize: "4MiB" })
    }))

  it.effect("are a typed error of the whole layer, before it touches the disk", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Spillway.layer({ directory: "/nowhere", chunkSize: 3 })))
      assert.strictEqual(error._tag, "InvalidOptions")
      assert.match(error.message, /^invalid options: chunkSize: /)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})

describe("layerConfig", () => {
  const config = {
    directory: Config.String("CACHE"),
    maxSize: Config.ByteSize("MAX_SIZE"),
    origins: Config.succeed([url])
  }
  const layer = (values: Record<string, string>) =>
    Spillway.layerConfig(config).pipe(
      Layer.provide(Layer.merge(NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromUnknown(values))))
    )

  it.effect("fails for what is missing, and for what can't be used", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(Layer.build(layer({ CACHE: "/nowhere" })))
      assert.strictEqual(missing._tag, "ConfigError")
      assert.include(missing.message, "MAX_SIZE")
      const small = yield* Effect.flip(Layer.build(layer({ CACHE: "/nowhere", MAX_SIZE: "1 KiB" })))
      assert.strictEqual(small._tag, "InvalidOptions")
      assert.include(small.message, "maxSize: ")
    }).pipe(Effect.scoped))

  it.effect("makes a Spillway", () =>
    Effect.gen(function*() {
      const services = yield* Layer.build(layer({ CACHE: "/proc/none", MAX_SIZE: "1 GiB" }))
      assert.isDefined(services)
    }).pipe(Effect.scoped))
})
