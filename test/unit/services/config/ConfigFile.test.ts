import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { cacheKey } from "../../../../src/domain/CacheKey.ts"
import { defaultPolicy } from "../../../../src/domain/RoutePolicy.ts"
import { matchesAny, ttlOf } from "../../../../src/domain/TtlRule.ts"
import { parseConfig } from "../../../../src/services/config/ConfigFile.ts"
import { SecretSource } from "../../../../src/services/config/SecretSource.ts"
import { forOther, issued } from "../../../support/certificates.ts"

const SECRET = "secret-4f9a"

const secrets = Layer.succeed(SecretSource, {
  read: ({ kind, name }) =>
    kind === "env" && name === "TOKEN"
      ? Effect.succeed(SECRET)
      : Effect.fail(kind === "env" ? `the environment variable ${name} is not set` : `cannot read ${name} (NotFound)`)
})

const parse = (lines: ReadonlyArray<string>) => Effect.provide(parseConfig(lines.join("\n"), "spillway.toml"), secrets)

const ORIGIN = "origin = \"https://media.example\""

/** What is wrong, in which file, and what is said after the name of the file. */
const mistakes: ReadonlyArray<
  readonly [what: string, lines: ReadonlyArray<string>, says: ReadonlyArray<string>]
> = [
  [
    "text that isn't TOML",
    ["port = 8080", "host = "],
    ["2: not TOML: unspecified values are invalid in column 8"]
  ],
  [
    "a key that is repeated",
    ["port = 1", "port = 2"],
    ["2: not TOML: defining a key multiple times is invalid in column 1"]
  ],
  [
    "a misspelt key",
    ["max-sise = \"1GiB\""],
    ["1: max-sise: there is no such key; did you mean max-size?"]
  ],
  [
    "a key unlike any other",
    ["colour = \"red\""],
    ["1: colour: there is no such key"]
  ],
  [
    "a misspelt section",
    ["[[routes]]", ORIGIN],
    ["1: routes: there is no such key; did you mean route?"]
  ],
  [
    "a misspelt key of a section",
    ["[[route]]", ORIGIN, "", "[route.key]", "ignored = [\"token\"]"],
    ["5: route.key.ignored: there is no such key; did you mean ignore?"]
  ],
  [
    "a size of another form",
    ["", "memory = \"2 gigs\""],
    ["2: memory: expected a size such as 10GiB, 500MB or 65536; got \"2 gigs\""]
  ],
  [
    "a type of another kind",
    ["cache-dir = 5"],
    ["1: cache-dir: expected a directory; got 5"]
  ],
  [
    "a list for one value",
    ["port = [", "  1", "]"],
    ["1: port: expected a port from 0 to 65535"]
  ],
  [
    "an element of a list",
    ["ttl = [", "  \"1h\",", "  \"live=2s\",", "]"],
    ["3: ttl: expected a duration such as 1h, or a path and a duration such as /live/*=2s; got \"live=2s\""]
  ],
  [
    "a boolean in quotes",
    ["offline = \"yes\""],
    ["1: offline: expected true or false; got \"yes\""]
  ],
  [
    "a section without an origin",
    ["[[route]]", "match = \"/films\""],
    ["1: route.origin: it is missing"]
  ],
  [
    "an origin with a password",
    ["[[route]]", `origin = "https://user:${SECRET}@media.example"`],
    ["2: route.origin: origin \"https://…@media.example\": a user name or password in it is not supported"]
  ],
  [
    "an origin without a scheme",
    ["[[route]]", "origin = \"media.example\""],
    ["2: route.origin: origin \"media.example\": not a URL; give one such as https://media.example.org"]
  ],
  [
    "an origin of a list",
    ["[[route]]", "origin = [\"http://a.example\", \"ftp://b.example\"]"],
    ["2: route.origin: origin \"ftp://b.example\": only http, https and file are supported"]
  ],
  [
    "a bucket as a text",
    ["[[route]]", "origin = \"s3://films\""],
    ["2: route.origin: origin \"s3://films\": a bucket is named in a configuration file, as origin = { url = \"s3://…\" }"]
  ],
  [
    "a bucket with a password",
    ["[[route]]", `origin = { url = "s3://user:${SECRET}@films" }`],
    ["2: route.origin.url: expected the URL of a bucket such as s3://films or s3://films/old"]
  ],
  [
    "a misspelt key of an origin",
    ["[[route]]", "[route.origin]", "url = \"s3://films\"", "regoin = \"eu-central-1\""],
    ["4: route.origin.regoin: there is no such key; did you mean region?"]
  ],
  [
    "a region of a server",
    ["[[route]]", "origin = { url = \"https://media.example\", region = \"eu-central-1\" }"],
    ["2: route.origin: region isn't possible with a URL that begins with https:"]
  ],
  [
    "a password of a directory",
    ["[[route]]", "origin = { url = \"file:///mnt\", user = \"a\", password = \"${env:TOKEN}\" }"],
    ["2: route.origin: user isn't possible with a URL that begins with file:"]
  ],
  [
    "a user without a password",
    ["[[route]]", "origin = { url = \"https://media.example\", user = \"a\" }"],
    ["2: route.origin: user and password belong together"]
  ],
  [
    "two kinds of credentials",
    [
      "[[route]]",
      "origin = { url = \"https://media.example\", user = \"a\", password = \"b\", token = \"${env:TOKEN}\" }"
    ],
    ["2: route.origin: expected either token or user and password, not both"]
  ],
  [
    "a token that a header can't have",
    ["[[route]]", "origin = { url = \"https://media.example\", token = \"${env:TOKEN} \" }"],
    ["2: route.origin.token: expected a token of letters, digits and -._~+/="]
  ],
  [
    "a certificate without TLS",
    ["[[route]]", "origin = { url = \"http://media.example\", server-name = \"a.example\" }"],
    ["2: route.origin: server-name is possible with TLS only"]
  ],
  [
    "a CA that is no certificate",
    ["[[route]]", "origin = { url = \"https://media.example\", ca = \"-----BEGIN ${env:TOKEN}\" }"],
    ["2: route.origin.ca: expected certificates in PEM, such as ${file:certificate.pem}"]
  ],
  [
    "a key of another certificate",
    [
      "[[route]]",
      "[route.origin]",
      "url = \"https://media.example\"",
      `certificate = """${issued.cert}"""`,
      `certificate-key = """${forOther.key}"""`
    ],
    ["2: route.origin: certificate-key is not the key of certificate"]
  ],
  [
    "a match that is neither a path nor a host",
    ["[[route]]", ORIGIN, "match = \"films/\""],
    ["3: route.match: expected a path such as /films or a host such as films.example.org; got \"films/\""]
  ],
  [
    "two sections for the same",
    ["[[route]]", ORIGIN, "match = \"/a\"", "[[route]]", ORIGIN, "match = \"/a/\""],
    ["6: route.match: the route in line 3 is for the same requests"]
  ],
  [
    "ignore and keep",
    ["[[route]]", ORIGIN, "key = { ignore = \"a\", keep = \"b\" }"],
    ["3: route.key: expected either ignore or keep, not both"]
  ],
  [
    "a reference in what is no secret",
    ["cache-dir = \"${env:HOME}/cache\""],
    ["1: cache-dir: a reference such as ${env:NAME} is possible in secrets only"]
  ],
  [
    "a variable that is not set",
    ["admin-token = \"${env:NONE}\""],
    ["1: admin-token: the environment variable NONE is not set"]
  ],
  [
    "a file that is missing",
    ["admin-token = \"${file:/run/none}\""],
    ["1: admin-token: cannot read /run/none (NotFound)"]
  ],
  [
    "a reference of another form",
    ["admin-token = \"${TOKEN}\""],
    ["1: admin-token: a reference is ${env:NAME} or ${file:path}"]
  ],
  [
    "a secret of another type",
    [`fleet-secret = "${SECRET}"`],
    ["1: fleet-secret: expected one or two secrets of at least 32 visible ASCII characters, with a space between them"]
  ],
  [
    "a secret that is no text",
    ["admin-token = 5"],
    ["1: admin-token: expected visible ASCII characters without spaces"]
  ],
  [
    "one section in single brackets",
    ["[route]", ORIGIN],
    ["1: route: expected sections that begin with [[route]]"]
  ],
  [
    "a table that is a text",
    ["[[route]]", ORIGIN, "key = \"token\""],
    ["3: route.key: expected a table; got \"token\""]
  ],
  [
    "a list of numbers",
    ["ttl = [1]"],
    ["1: ttl: expected a duration such as 1h, or a path and a duration such as /live/*=2s; got 1"]
  ],
  [
    "paths that are a number",
    ["[[route]]", ORIGIN, "assume-unchanged = 1"],
    ["3: route.assume-unchanged: expected true, false, or paths such as /library/*; got 1"]
  ],
  [
    "a weight, and how origins are checked",
    [
      "[[route]]",
      "origin = [{ url = \"http://a.example\", weight = -1 }]",
      "check = { path = \"health\", every = \"1ms\" }"
    ],
    [
      "2: route.origin.weight: expected a number from 0 to 1000000, such as 2 or 0.5; got \"-1\"",
      "3: route.check.path: expected a path such as /health; got \"health\"",
      "3: route.check.every: expected a duration such as 10s or 5m, at least 1s; got \"1ms\""
    ]
  ],
  [
    "what to do with redirects",
    ["[[route]]", ORIGIN, "redirects = \"keep\""],
    ["3: route.redirects: expected follow or pass; got \"keep\""]
  ],
  [
    "a field that Spillway writes itself",
    ["[[route]]", ORIGIN, "[route.request-fields]", "set = { Range = \"bytes=0-\" }", "remove = [\"host\"]"],
    [
      "4: route.request-fields.set.Range: expected the name of a header field that Spillway doesn't write itself",
      "5: route.request-fields.remove: expected the name of a header field that Spillway doesn't write itself; got \"host\""
    ]
  ],
  [
    "a field whose value has a line break",
    ["[[route]]", ORIGIN, "response-fields.set.x-a = \"a\\nb\""],
    ["3: route.response-fields.set.x-a: expected visible ASCII characters and spaces"]
  ],
  [
    "several",
    ["port = 99999", "ofline = true", "[[route]]", "origin = 5"],
    [
      "1: port: expected a port from 0 to 65535; got \"99999\"",
      "2: ofline: there is no such key; did you mean offline?",
      "4: route.origin: expected a URL such as https://media.example.org; got 5"
    ]
  ]
]

describe("parseConfig", () => {
  it.effect.each(mistakes)("tells of %s", ([, lines, says]) =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(parse(lines))
      assert.strictEqual(message, says.map((line) => `spillway.toml:${line}`).join("\n"))
      assert.notInclude(message, SECRET)
    }))

  it.effect("has the options of the program, by the names of flags, with secrets from elsewhere", () =>
    Effect.gen(function*() {
      const { settings } = yield* parse([
        "port = 81",
        "max-size = \"1GiB\"",
        "min-free = 0",
        "offline = true",
        "ttl = [\"1h\", \"/live/*=2s\"]",
        "cache-key = \"/films/* ignore=token\"",
        "origin = \"/a=http://a.example\"",
        "admin-token = \"a-${env:TOKEN}-b\"",
        "log-level = \"debug\""
      ])
      const { origins, ...others } = settings
      assert.deepStrictEqual(origins?.map(({ url }) => url.href), ["http://a.example/"])
      assert.deepStrictEqual(others, {
        port: 81,
        maxSize: 1024 ** 3,
        minFree: 0,
        offline: true,
        ttl: [
          { pattern: undefined, ttl: { lifetime: 3_600_000, override: false } },
          { pattern: "/live/*", ttl: { lifetime: 2000, override: true } }
        ],
        cacheKey: [{ pattern: "/films/*", ignore: ["token"] }],
        adminToken: `a-${SECRET}-b`,
        logLevel: "Debug"
      })
    }))

  it.effect("has a route for each section", () =>
    Effect.gen(function*() {
      const { routes } = yield* parse([
        "[[route]]",
        "match = \"/films/\"",
        "origin = [\"http://a.example/v\", { url = \"http://b.example\" }]",
        "[[route]]",
        "match = \"Films.example:80\"",
        ORIGIN,
        "[[route]]",
        ORIGIN
      ])
      assert.deepStrictEqual(routes.map(({ match }) => match), [
        { _tag: "Path", prefix: "/films" },
        { _tag: "Host", host: "films.example:80" },
        { _tag: "All" }
      ])
      assert.deepStrictEqual(
        routes.map(({ policy, url }) => ({ url: url.href, origins: policy.origins.map(({ url }) => url.href) })),
        [
          { url: "http://a.example/v", origins: ["http://a.example/v", "http://b.example/"] },
          { url: "https://media.example/", origins: ["https://media.example/"] },
          { url: "https://media.example/", origins: ["https://media.example/"] }
        ]
      )
    }))

  it.effect("says how the origins of a route are chosen and checked", () =>
    Effect.gen(function*() {
      const { routes: [inOrder, weighted] } = yield* parse([
        "[[route]]",
        "origin = [\"http://a.example\", \"http://b.example\"]",
        "check.path = \"/health?full\"",
        "[[route]]",
        "match = \"/other\"",
        "origin = [{ url = \"http://a.example\", weight = 2.5 }, \"http://b.example\"]",
        "check = { path = \"/\", every = \"1m\" }"
      ])
      const { check, choice, origins } = inOrder!.policy
      assert.deepStrictEqual(origins.map(({ weight }) => weight), [1, 1])
      assert.deepStrictEqual({ check, choice }, { check: { path: "/health?full", every: 10_000 }, choice: "in-order" })
      assert.deepStrictEqual(weighted!.policy.origins.map(({ weight }) => weight), [2.5, 1])
      assert.strictEqual(weighted!.policy.choice, "weighted")
      assert.deepStrictEqual(weighted!.policy.check, { path: "/", every: 60_000 })
    }))

  it.effect("says how requests of a route go to the origin and back", () =>
    Effect.gen(function*() {
      const { routes: [plain, other] } = yield* parse([
        "[[route]]",
        ORIGIN,
        "[[route]]",
        "match = \"/other\"",
        ORIGIN,
        "redirects = \"pass\"",
        "forwarded = true",
        "upgrades = true",
        "long-polls = true",
        "first-byte-timeout = \"2m\"",
        "silence-timeout = \"5m\"",
        "read-ahead = \"64MiB\"",
        "finish = true",
        "parallel = 4",
        "hedge-after = \"off\""
      ])
      assert.deepStrictEqual(plain!.policy, defaultPolicy(plain!.url))
      assert.deepStrictEqual(other!.policy, {
        ...plain!.policy,
        redirects: "pass",
        forwarded: true,
        upgrades: true,
        longPolls: true,
        firstByteTimeout: 120_000,
        silenceTimeout: 300_000,
        readAhead: 64 * 1024 ** 2,
        finish: true,
        parallel: 4,
        hedgeAfter: 0
      })
    }))

  it.effect("limits the rules of a section to the URLs of its route, the longest first", () =>
    Effect.gen(function*() {
      const { rules } = yield* parse([
        "[[route]]",
        "origin = \"http://a.example\"",
        "ttl = [\"1h\", \"/*.m3u8=2s\"]",
        "cookies = false",
        "assume-unchanged = \"/library/*\"",
        "key = { keep = [\"v\"], sort = true }",
        "[[route]]",
        "match = \"/films\"",
        "origin = \"http://a.example/films\"",
        "ttl = \"1d\"",
        "assume-unchanged = true",
        "key.ignore = \"token\""
      ])
      const lifetime = (url: string) => ttlOf(rules.ttl, url)?.lifetime
      assert.strictEqual(lifetime("http://a.example/x"), 3_600_000)
      assert.strictEqual(lifetime("http://a.example/x.m3u8"), 2000)
      assert.strictEqual(lifetime("http://a.example/films/x"), 86_400_000)
      assert.strictEqual(lifetime("http://a.example/films-too"), 3_600_000)
      assert.isUndefined(lifetime("http://b.example/x.m3u8"))
      const key = (url: string) => cacheKey(rules.cacheKey, new URL(url))
      assert.strictEqual(key("http://a.example/x?token=1&v=2"), "http://a.example/x?v=2")
      assert.strictEqual(key("http://a.example/films/x?token=1&v=2"), "http://a.example/films/x?v=2")
      assert.strictEqual(key("http://b.example/x?token=1&v=2"), "http://b.example/x?token=1&v=2")
      assert.isTrue(matchesAny(rules.ignoreCookies, "http://a.example/x"))
      assert.isFalse(matchesAny(rules.ignoreCookies, "http://b.example/x"))
      assert.isTrue(matchesAny(rules.assumeUnchanged, "http://a.example/films/x"))
      assert.isTrue(matchesAny(rules.assumeUnchanged, "http://a.example/library/x"))
      assert.isFalse(matchesAny(rules.assumeUnchanged, "http://a.example/x"))
    }))
})
