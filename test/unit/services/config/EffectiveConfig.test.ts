import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted } from "effect"
import { makeRoute } from "../../../../src/domain/Route.ts"
import { defaultPolicy } from "../../../../src/domain/RoutePolicy.ts"
import { layerOptions } from "../../../../src/embed/config.ts"
import * as Options from "../../../../src/embed/options.ts"
import { parseConfig } from "../../../../src/services/config/ConfigFile.ts"
import { EffectiveConfig, optionsOf, routeOfSection } from "../../../../src/services/config/EffectiveConfig.ts"
import { SecretSource } from "../../../../src/services/config/SecretSource.ts"
import { defaultValues } from "../../../../src/services/config/settings.ts"

const SECRET = "secret-4f9a"

const viewOf = <E>(layer: Layer.Layer<never, E>) =>
  Effect.provide(Effect.map(EffectiveConfig, (effective) => effective()), layer)

describe("the options in effect", () => {
  it("are as a configuration file has them, in the order of the table of options", () => {
    const options = optionsOf(
      {
        ...defaultValues,
        maxSize: 20 * 1024 ** 3,
        minFree: 0,
        chunkSize: 100_000,
        readDeadline: 1500,
        ttl: [{ pattern: "/live/*", ttl: { lifetime: 2000, override: true } }],
        accessLog: { file: "/var/log/spillway" },
        advertise: { host: "fd00::1", port: 8471 }
      },
      { maxSize: "file", readDeadline: "flag" }
    )
    assert.strictEqual(options[0]!.name, "host")
    const find = (name: string) => options.find((option) => option.name === name)
    assert.deepStrictEqual(find("max-size"), { name: "max-size", values: ["20GiB"], source: "file" })
    assert.deepStrictEqual(find("read-deadline"), { name: "read-deadline", values: ["1500ms"], source: "flag" })
    assert.deepStrictEqual(find("ttl")!.values, ["/live/*=2s"])
    // No unit says it without a fraction.
    assert.deepStrictEqual(find("chunk-size")!.values, ["100000"])
    assert.deepStrictEqual(find("access-log")!.values, ["/var/log/spillway"])
    assert.deepStrictEqual(find("advertise")!.values, ["[fd00::1]:8471"])
    assert.deepStrictEqual(find("log-level"), { name: "log-level", values: ["info"], source: "default" })
    assert.deepStrictEqual(find("admin-token"), { name: "admin-token", values: [], source: "default" })
    // Routes are listed by themselves.
    assert.isUndefined(find("origin"))
  })

  it("show no secret", () => {
    const options = optionsOf({
      ...defaultValues,
      adminToken: SECRET,
      fleetSecret: [SECRET],
      otlp: new URL(`http://localhost/${SECRET}`),
      fleet: { _tag: "Redis", url: new URL(`redis://u:${SECRET}@localhost`) }
    }, {})
    assert.notInclude(JSON.stringify(options), SECRET)
    const secrets = options.filter(({ values }) => values[0] === "(secret)").map(({ name }) => name)
    assert.sameMembers(secrets, ["otlp", "fleet", "admin-token", "fleet-secret"])
  })
})

describe("a route in effect", () => {
  const text = `[[route]]
origin = "https://a.example.org"
[[route]]
match = "/films"
read-ahead = "64MiB"
key = { ignore = ["token", "utm_*"] }
[route.request-fields]
remove = "cookie"
set = { x-own-token = "${SECRET}" }
[[route.origin]]
url = "https://b.example.org"
user = "u"
password = "${SECRET}"
weight = 2
[[route.origin]]
url = "https://c.example.org"
`

  it.effect("has the keys of its section and of its origins, without secrets", () =>
    Effect.gen(function*() {
      const { routes, written } = yield* Effect.provideService(
        parseConfig(text, "spillway.toml"),
        SecretSource,
        SecretSource.from(new Map())
      )
      const sections = written["route"] as ReadonlyArray<object>
      const [first, second] = routes.map((route, i) => routeOfSection(route, sections[i]!, i))
      assert.deepStrictEqual(first, {
        match: { _tag: "All" },
        source: "file",
        origins: [{ url: new URL("https://a.example.org"), keys: [] }],
        keys: []
      })
      assert.deepStrictEqual(second!.origins, [
        {
          url: new URL("https://b.example.org"),
          keys: [
            { name: "user", values: ["(secret)"] },
            { name: "password", values: ["(secret)"] },
            { name: "weight", values: ["2"] }
          ]
        },
        { url: new URL("https://c.example.org"), keys: [] }
      ])
      assert.deepStrictEqual(second!.keys, [
        { name: "read-ahead", values: ["64MiB"] },
        { name: "key.ignore", values: ["token", "utm_*"] },
        { name: "request-fields.remove", values: ["cookie"] },
        { name: "request-fields.set.x-own-token", values: ["(secret)"] }
      ])
    }))
})

describe("the configuration of an application", () => {
  const sourceOf = (name: string) => ({ options }: ReturnType<typeof EffectiveConfig.Service>) =>
    options.find((option) => option.name === name)?.source

  it.effect("is from code", () =>
    Effect.gen(function*() {
      const view = yield* viewOf(Options.layer({
        origins: ["/films=https://films.example.org"],
        maxSize: "2 GiB",
        minFree: undefined,
        adminToken: Redacted.make(SECRET)
      }))
      assert.deepStrictEqual(view.routes.map(({ match, source }) => ({ match, source })), [
        { match: { _tag: "Path", prefix: "/films" }, source: "code" }
      ])
      assert.strictEqual(sourceOf("max-size")(view), "code")
      assert.strictEqual(sourceOf("min-free")(view), "default")
      // It is the application that listens.
      assert.isUndefined(sourceOf("port")(view))
      assert.notInclude(JSON.stringify(view), SECRET)
    }))

  it.effect("has what the policy of a route says that isn't a default, without secrets", () =>
    Effect.gen(function*() {
      const url = new URL("https://a.example.org")
      const authorization = { _tag: "Basic", user: "u", password: Redacted.make(SECRET) } as const
      const view = yield* viewOf(Options.layer({
        origins: [
          "/music=https://music.example.org",
          makeRoute({ _tag: "All" }, url, {
            ...defaultPolicy(url),
            choice: "weighted",
            origins: [
              { url, weight: 1, access: {} },
              { url: new URL("https://b.example.org"), weight: 2, access: { host: "b", authorization } }
            ],
            check: { path: "/health", every: 5000 },
            requestFields: { set: { "x-own-token": Redacted.make(SECRET) }, remove: ["cookie", "dnt"] },
            readAhead: Infinity,
            parallel: 4,
            hedgeAfter: 0,
            silenceTimeout: 1500
          })
        ]
      }))
      const [plain, other] = view.routes
      assert.deepStrictEqual(plain!.keys, [])
      assert.deepStrictEqual(
        other!.keys.map(({ name, values }) => `${name} = ${values.join(", ")}`),
        [
          "check.path = /health",
          "check.every = 5s",
          "request-fields.set.x-own-token = (secret)",
          "request-fields.remove = cookie, dnt",
          "silence-timeout = 1500ms",
          "read-ahead = all",
          "parallel = 4",
          "hedge-after = off"
        ]
      )
      assert.deepStrictEqual(other!.origins.map(({ keys }) => keys), [
        [{ name: "weight", values: ["1"] }],
        [
          { name: "weight", values: ["2"] },
          { name: "host", values: ["b"] },
          { name: "user", values: ["(secret)"] },
          { name: "password", values: ["(secret)"] }
        ]
      ])
      assert.notInclude(JSON.stringify(view), SECRET)
    }))

  it.effect("has no weights for origins that are asked in order", () =>
    Effect.gen(function*() {
      const url = new URL("https://a.example.org")
      const origins = [{ url, weight: 2, access: {} }] as const
      const view = yield* viewOf(Options.layer({
        origins: [makeRoute({ _tag: "All" }, url, { ...defaultPolicy(url), origins })]
      }))
      assert.deepStrictEqual(view.routes[0]!.origins, [{ url, keys: [] }])
    }))

  it.effect("is from the environment", () =>
    Effect.gen(function*() {
      const variables = { SPILLWAY_MEMORY: "64MiB", SPILLWAY_ORIGIN: "https://media.example.org" }
      const view = yield* viewOf(
        Layer.provide(layerOptions, ConfigProvider.layer(ConfigProvider.fromUnknown(variables)))
      )
      assert.strictEqual(sourceOf("memory")(view), "variable")
      assert.strictEqual(sourceOf("max-size")(view), "default")
      assert.deepStrictEqual(view.routes.map(({ source }) => source), ["variable"])
    }))

  it.effect("is unknown if it has provided the services of options itself", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* viewOf(Layer.empty), { options: [], routes: [] })
    }))
})
