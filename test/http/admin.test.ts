import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Caller, judge, type Verdict } from "../../src/http/admin/AdminGuard.ts"
import { beginSession, SESSION_COOKIE, SESSION_SECONDS } from "../../src/http/admin/session.ts"
import { ServerConfig, type ServerOptions } from "../../src/services/config/ServerConfig.ts"
import { type Answer, makeTestProxy, type TestProxy } from "./TestProxy.ts"

const TOKEN = "correct horse battery staple".replaceAll(" ", "-")

const local: Caller = { address: "127.0.0.1", headers: { host: "localhost:8080" } }

const withHeaders = (headers: Caller["headers"]): Caller => ({ ...local, headers: { ...local.headers, ...headers } })

const withHost = (host: string): Caller => withHeaders({ host })

const assertVerdict = (token: string | undefined, caller: Caller, expected: Verdict) =>
  assert.strictEqual(judge(token, caller, 0), expected, JSON.stringify(caller))

describe("without a token, the guard", () => {
  it("allows this machine", () => {
    for (const address of ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::FFFF:127.0.0.1"]) {
      assertVerdict(undefined, { ...local, address }, "Allowed")
    }
    assertVerdict("", local, "Allowed")
  })

  it("refuses every other address", () => {
    const addresses = [
      undefined,
      "",
      "10.0.0.1",
      "192.168.127.0",
      "1127.0.0.1",
      "::",
      "::2",
      "fe80::1",
      "::ffff:10.0.0.1",
      "2001:db8::127.0.0.1"
    ]
    for (const address of addresses) assertVerdict(undefined, { ...local, address }, "Forbidden")
  })

  it("allows requests only under the names of this machine", () => {
    for (
      const host of ["localhost", "LocalHost:80", "a.localhost", "a.b-c.localhost:1", "127.0.0.1:8080", "[::1]:8080"]
    ) {
      assertVerdict(undefined, withHost(host), "Allowed")
    }
    const others = [
      "",
      "evil.example",
      "evil.example:8080",
      "localhost.evil.example",
      "evil-localhost",
      "127.0.0.1.evil.example",
      "127.evil.example",
      "0.0.0.0:8080",
      "[::]",
      "::1",
      "2130706433",
      "evil.example/localhost",
      "evil.example#.localhost",
      ".localhost",
      "localhost,evil.example"
    ]
    for (const host of others) assertVerdict(undefined, withHost(host), "Forbidden")
    assertVerdict(undefined, { ...local, headers: {} }, "Forbidden")
  })

  it("refuses requests that a proxy forwards", () => {
    for (
      const headers of [
        { "x-forwarded-for": "127.0.0.1" },
        { "x-forwarded-for": "" },
        { "x-forwarded-host": "localhost" },
        { "x-forwarded-proto": "https" },
        { "x-real-ip": "127.0.0.1" },
        { forwarded: "for=127.0.0.1" },
        { via: "1.1 cache" }
      ]
    ) {
      assertVerdict(undefined, withHeaders(headers), "Forbidden")
    }
  })

  it("refuses pages of other sites", () => {
    const fetched = (site: string, origin?: string) =>
      withHeaders({ "sec-fetch-site": site, ...(origin !== undefined && { origin }) })
    assertVerdict(undefined, fetched("none"), "Allowed")
    assertVerdict(undefined, fetched("same-origin", "http://localhost:8080"), "Allowed")
    assertVerdict(undefined, fetched("same-site", "http://localhost:3000"), "Forbidden")
    assertVerdict(undefined, fetched("cross-site"), "Forbidden")
    for (const origin of ["null", "", "http://localhost:3000", "https://evil.example"]) {
      assertVerdict(undefined, withHeaders({ origin }), "Forbidden")
    }
  })

  it("ignores any token that is sent", () => {
    assertVerdict(
      undefined,
      { ...withHeaders({ authorization: "Bearer undefined" }), address: "10.0.0.1" },
      "Forbidden"
    )
    assertVerdict("", { ...withHeaders({ authorization: "Bearer " }), address: "10.0.0.1" }, "Forbidden")
  })
})

describe("with a token, the guard", () => {
  it("allows requests with the token from any address", () => {
    for (const authorization of [`Bearer ${TOKEN}`, `bearer ${TOKEN}`, `BEARER   ${TOKEN} `]) {
      for (const address of [undefined, "127.0.0.1", "203.0.113.9"]) {
        assertVerdict(TOKEN, { address, headers: { authorization, host: "a.example", via: "1.1 a" } }, "Allowed")
      }
    }
  })

  it("refuses requests without the token, from this machine too", () => {
    assertVerdict(TOKEN, local, "Unauthorized")
    for (
      const authorization of [
        "",
        "Bearer",
        "Bearer ",
        `Bearer ${TOKEN.slice(1)}`,
        `Bearer ${TOKEN}x`,
        `Bearer ${TOKEN.toUpperCase()}`,
        `Bearer ${TOKEN}, Bearer x`,
        `Basic ${TOKEN}`,
        `Bearer${TOKEN}`,
        `xBearer ${TOKEN}`,
        TOKEN
      ]
    ) {
      assertVerdict(TOKEN, withHeaders({ authorization }), "Unauthorized")
    }
  })
})

describe("in a session, the guard", () => {
  const BEGUN = 1_700_000_000_000

  const sessionOf = (token: string, headers: Caller["headers"] = {}): Caller => ({
    address: "203.0.113.9",
    headers: { host: "media.example.org", cookie: `${SESSION_COOKIE}=${beginSession(token, BEGUN)}`, ...headers }
  })

  it("allows a browser until the session ends", () => {
    const caller = sessionOf(TOKEN)
    assert.strictEqual(judge(TOKEN, caller, BEGUN), "Allowed")
    assert.strictEqual(judge(TOKEN, caller, BEGUN + SESSION_SECONDS * 1000 - 1), "Allowed")
    assert.strictEqual(judge(TOKEN, caller, BEGUN + SESSION_SECONDS * 1000), "Unauthorized")
  })

  it("refuses sessions of another token", () => {
    assert.strictEqual(judge(TOKEN, sessionOf(`${TOKEN}x`), BEGUN), "Unauthorized")
    // Without a token, nobody from elsewhere is let in.
    assert.strictEqual(judge(undefined, sessionOf(""), BEGUN), "Forbidden")
    assert.strictEqual(judge("", sessionOf(""), BEGUN), "Forbidden")
  })

  it("refuses pages of other sites", () => {
    for (const origin of ["http://media.example.org", "https://media.example.org"]) {
      assert.strictEqual(judge(TOKEN, sessionOf(TOKEN, { origin }), BEGUN), "Allowed")
    }
    for (const origin of ["null", "https://evil.example", "https://media.example.org:8443"]) {
      assert.strictEqual(judge(TOKEN, sessionOf(TOKEN, { origin }), BEGUN), "Unauthorized", origin)
    }
    assert.strictEqual(judge(TOKEN, sessionOf(TOKEN, { "sec-fetch-site": "same-site" }), BEGUN), "Unauthorized")
  })
})

describe("Spillway's own pages", () => {
  const start = (options: Partial<ServerOptions> = {}) => Effect.provide(makeTestProxy(), ServerConfig.layer(options))

  const get = ({ ask }: TestProxy, page: string, headers: Record<string, string> = {}) =>
    ask(`/_spillway/${page}`, { headers: { host: "localhost", ...headers } })

  const json = (answer: Answer): unknown => {
    assert.strictEqual(answer.status, 200)
    assert.strictEqual(answer.headers["cache-control"], "no-store")
    return JSON.parse(answer.body.toString())
  }

  const others = ["metrics", "", "assets/main.js", "assets/uPlot.esm.js", "purge", "health/", "Health"]

  it.effect("are available to this machine", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      assert.hasAllKeys(json(yield* get(proxy, "health")), ["status", "cache", "disk"])
      assert.strictEqual((yield* get(proxy, "metrics")).status, 200)
      assert.strictEqual((yield* get(proxy, "purge")).status, 404)
    }))

  it.effect("are not available to other clients, except for liveness", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      const stranger = { host: "media.example.org" }
      assert.deepStrictEqual(json(yield* get(proxy, "health", stranger)), { status: "ok" })
      assert.deepStrictEqual(json(yield* get(proxy, "health?verbose", { via: "1.1 a" })), { status: "ok" })
      for (const page of others) {
        const answer = yield* get(proxy, page, stranger)
        assert.strictEqual(answer.status, 403, page)
        assert.strictEqual(answer.headers["cache-control"], "no-store")
        assert.match(answer.body.toString(), /^[^\n]*localhost[^\n]*token\n$/)
      }
      assert.lengthOf(proxy.origin.requests, 0)
    }))

  it.effect("tell every client only whether the server takes requests", () =>
    Effect.gen(function*() {
      const stranger = { host: "media.example.org", via: "1.1 a" }
      for (const options of [{}, { adminToken: TOKEN }]) {
        const proxy = yield* start(options)
        assert.deepStrictEqual(json(yield* get(proxy, "ready")), { status: "ready" })
        assert.deepStrictEqual(json(yield* get(proxy, "ready?verbose", stranger)), { status: "ready" })
        assert.strictEqual((yield* get(proxy, "ready/", stranger)).status, "adminToken" in options ? 401 : 403)
      }
    }))

  it.effect("are available with the token", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const shown = { authorization: `Bearer ${TOKEN}`, host: "media.example.org" }
      assert.hasAllKeys(json(yield* get(proxy, "health", shown)), ["status", "cache", "disk"])
      assert.strictEqual((yield* get(proxy, "metrics", shown)).status, 200)
      assert.deepStrictEqual(json(yield* get(proxy, "health")), { status: "ok" })
      for (const page of others) {
        for (const headers of [{}, { authorization: "Bearer x" }]) {
          const answer = yield* get(proxy, page, headers)
          assert.strictEqual(answer.status, 401, page)
          assert.match(answer.headers["www-authenticate"] ?? "", /^Bearer /)
          assert.match(answer.body.toString(), /^[^\n]*Bearer[^\n]*\n$/)
        }
      }
      // The token is Spillway's, and not for the origin.
      assert.lengthOf(proxy.origin.requests, 0)
    }))

  it.effect("are found without the last slash, which the origin doesn't see", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      for (const target of ["/_spillway", "/_spillway?x=1"]) {
        const { headers, status } = yield* proxy.ask(target)
        // Relative, as it may be below a prefix.
        assert.deepStrictEqual([status, headers["location"]], [308, "_spillway/"])
      }
      assert.lengthOf(proxy.origin.requests, 0)
      yield* proxy.ask("/_spillways")
      assert.lengthOf(proxy.origin.requests, 1)
    }))

  it.effect("are guarded for every form of the target", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      for (
        const target of ["http://evil.example/_spillway/metrics", "http://localhost.evil.example/_spillway/metrics"]
      ) {
        assert.strictEqual((yield* proxy.ask(target, { headers: { host: "localhost" } })).status, 403)
      }
    }))
})
