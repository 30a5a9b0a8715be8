import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readdirSync } from "node:fs"
import { SESSION_SECONDS } from "../../src/http/admin/session.ts"
import { ServerConfig, type ServerOptions } from "../../src/services/config/ServerConfig.ts"
import { type Ask, makeTestProxy, type TestProxy } from "./TestProxy.ts"

const TOKEN = "correct-horse-battery-staple"

const start = (options: Partial<ServerOptions> = {}) => Effect.provide(makeTestProxy(), ServerConfig.layer(options))

const get = ({ ask }: TestProxy, page: string, { headers, ...options }: Ask = {}) =>
  ask(`/_spillway/${page}`, { ...options, headers: { host: "localhost", ...headers } })

const names = readdirSync(new URL("../../assets/dashboard/", import.meta.url)).filter((name) => name !== "index.html")

describe("The dashboard", () => {
  it.effect("is a page that loads nothing from other sites", () =>
    Effect.gen(function*() {
      const { body, headers, status } = yield* get(yield* start(), "")
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-type"], "text/html; charset=utf-8")
      const policy = new Map(
        headers["content-security-policy"]!.toString().split("; ").map((rule) => {
          const [name, ...sources] = rule.split(" ")
          return [name, sources.join(" ")] as const
        })
      )
      assert.deepStrictEqual(Object.fromEntries(policy), {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'"
      })
      assert.strictEqual(headers["x-content-type-options"], "nosniff")
      // One has to log in nowhere, and there is no sample.
      assert.include(body.toString(), "data-login=\"\" data-video=\"\"")
    }))

  it.effect("serves its files, including those of the library", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      for (const name of [...names, "uPlot.esm.js", "uPlot.min.css"]) {
        const { body, headers, status } = yield* get(proxy, `assets/${name}`)
        assert.strictEqual(status, 200, name)
        assert.isAbove(body.length, 100)
        assert.match(headers["content-type"]!, name.endsWith(".js") ? /^text\/javascript;/ : /^(text\/css|image\/svg)/)
        assert.include(headers["content-security-policy"], "default-src 'none'")
        const again = yield* get(proxy, `assets/${name}`, { headers: { "if-none-match": headers["etag"]! } })
        assert.strictEqual(again.status, 304)
        assert.lengthOf(again.body, 0)
        const head = yield* get(proxy, `assets/${name}`, { method: "HEAD" })
        assert.strictEqual(head.headers["content-length"], String(body.length))
      }
      assert.lengthOf(proxy.origin.requests, 0)
    }))

  it.effect("serves no other files", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      for (
        const path of ["assets/", "assets/index.html", "assets/nothing.js", "assets/../index.html", "assets/%2e%2e/x"]
      ) {
        assert.strictEqual((yield* get(proxy, path)).status, 404, path)
      }
      for (const method of ["POST", "PUT", "DELETE"]) {
        assert.strictEqual((yield* get(proxy, "", { method })).status, 405)
      }
    }))

  it.effect("shows the video that there is a player for", () =>
    Effect.gen(function*() {
      const { body } = yield* get(yield* start({ sampleVideo: "/sample.mp4" }), "")
      assert.include(body.toString(), "data-video=\"/sample.mp4\"")
    }))
})

describe("with a token, a browser", () => {
  const ORIGIN = "http://localhost"

  const html = { accept: "text/html,*/*;q=0.8" }

  const post = (proxy: TestProxy, body: string, headers: Record<string, string> = {}) =>
    get(proxy, "login", {
      method: "POST",
      body,
      headers: { "content-type": "application/x-www-form-urlencoded", origin: ORIGIN, ...headers }
    })

  /** Logs in: the cookie, as a browser sends it. */
  const logIn = (proxy: TestProxy) =>
    Effect.map(post(proxy, `token=${TOKEN}`), ({ headers, status }) => {
      assert.strictEqual(status, 303)
      assert.strictEqual(headers["location"], "./")
      assert.strictEqual(headers["cache-control"], "no-store")
      const [value, ...attributes] = headers["set-cookie"]![0]!.split("; ")
      assert.sameMembers(attributes, ["Path=/_spillway/", `Max-Age=${SESSION_SECONDS}`, "HttpOnly", "SameSite=Strict"])
      assert.notInclude(value, TOKEN)
      return { cookie: value! }
    })

  it.effect("gets only a form", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const form = yield* get(proxy, "", { headers: html })
      assert.strictEqual(form.status, 401)
      assert.include(form.body.toString(), "<form method=\"post\" action=\"login\">")
      assert.match(form.headers["content-security-policy"]!.toString(), /default-src 'none'; style-src 'sha256-[^']+'/)
      assert.strictEqual((yield* get(proxy, "assets/main.js", { headers: html })).status, 401)
    }))

  it.effect("gets the pages from posting the token until the session ends", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const headers = yield* logIn(proxy)
      const page = yield* get(proxy, "", { headers: { ...html, ...headers, "sec-fetch-site": "same-origin" } })
      assert.strictEqual(page.status, 200)
      assert.include(page.body.toString(), "data-login=\"token\"")
      for (const name of ["assets/main.js", "metrics", "health"]) {
        assert.strictEqual((yield* get(proxy, name, { headers })).status, 200, name)
      }
      const among = { cookie: `a=b; ${headers.cookie}; c=d` }
      assert.strictEqual((yield* get(proxy, "metrics", { headers: among })).status, 200)
      const out = yield* post(proxy, "", headers)
      assert.match(out.headers["set-cookie"]![0]!, /^spillway_session=; .*Max-Age=0;/)
      // The origin has nothing to do with any of it.
      assert.lengthOf(proxy.origin.requests, 0)
    }))

  it.effect("gets an error if the token is wrong, too long or not in a form", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      for (const token of ["", "x", TOKEN.slice(1), `${TOKEN}x`, TOKEN.toUpperCase()]) {
        const answer = yield* post(proxy, `token=${token}`)
        assert.strictEqual(answer.status, 401, token)
        assert.include(answer.body.toString(), "That is not the token")
        assert.isUndefined(answer.headers["set-cookie"])
      }
      const long = yield* post(proxy, `token=${TOKEN}&more=${"x".repeat(8192)}`)
      assert.strictEqual(long.status, 400)
      assert.isUndefined(long.headers["set-cookie"])
      assert.strictEqual((yield* get(proxy, "login", { headers: html })).status, 405)
    }))

  it.effect("cannot forge a session, prolong it or keep it when the token changes", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const { cookie } = yield* logIn(proxy)
      const [, ends, signature] = /^spillway_session=(\d+)\.(.+)$/.exec(cookie)!
      const refuses = (cookie: string) =>
        Effect.map(get(proxy, "metrics", { headers: { cookie } }), ({ status }) =>
          assert.strictEqual(status, 401, cookie))
      yield* refuses(`spillway_session=${Number(ends) + 1}.${signature}`)
      yield* refuses(`spillway_session=${ends}.${signature!.toLowerCase()}`)
      yield* refuses(`spillway_session=${ends}.`)
      yield* refuses(`spillway_session=${ends}`)
      yield* refuses("spillway_session=")
      yield* refuses(`x${cookie}`)
      const other = yield* start({ adminToken: `${TOKEN}2` })
      assert.strictEqual((yield* get(other, "metrics", { headers: { cookie } })).status, 401)
    }))

  it.effect("cannot be used by pages of another site", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const session = yield* logIn(proxy)
      for (const site of ["cross-site", "same-site"]) {
        const headers = { ...session, "sec-fetch-site": site }
        assert.strictEqual((yield* get(proxy, "metrics", { headers })).status, 401, site)
      }
      for (const origin of ["http://evil.example", "null", "http://localhost:3000"]) {
        assert.strictEqual((yield* get(proxy, "metrics", { headers: { ...session, origin } })).status, 401, origin)
        assert.strictEqual((yield* post(proxy, `token=${TOKEN}`, { origin })).status, 403, origin)
      }
    }))

  it.effect("sends the cookie only over TLS if it got it over TLS", () =>
    Effect.gen(function*() {
      const proxy = yield* start({ adminToken: TOKEN })
      const { headers, status } = yield* post(proxy, `token=${TOKEN}`, { origin: "https://localhost" })
      assert.strictEqual(status, 303)
      assert.match(headers["set-cookie"]![0]!, /; Secure$/)
    }))

  it.effect("gets no form if there is no token", () =>
    Effect.gen(function*() {
      const proxy = yield* start()
      assert.strictEqual((yield* post(proxy, "token=")).status, 404)
      const stranger = { ...html, host: "media.example.org" }
      assert.strictEqual((yield* get(proxy, "", { headers: stranger })).status, 403)
    }))
})
