import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { openRaw } from "../http/RawConnection.ts"
import { ask, exchange } from "../http/TestProxy.ts"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, eventuallyHit, openView, runProgram, startProgram, view } from "../support/Program.ts"
import { makeRawOrigin } from "../support/RawOrigin.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

const ORIGIN = "http://127.0.0.1:9"

const wrong: ReadonlyArray<readonly [flag: string, value: string, says: RegExp]> = [
  ["origin", "/films", /origin "\/films": not a URL/],
  ["origin", "/films=ftp://a.example", /only http, https and file/],
  ["origin", "a b=http://a.example", /neither a path/],
  ["url-host", "http://a.example", /\(SPILLWAY_URL_HOST\): expected a host such as/],
  ["url-host", "*", /a host such as/],
  ["url-host", "a.example/b", /a host such as/],
  ["ttl", "1", /--ttl \(SPILLWAY_TTL\): expected a duration such as 1h.*; got "1"/],
  ["ttl", "live/*=1s", /a duration such as 1h/],
  ["assume-unchanged", "library/*", /\(SPILLWAY_ASSUME_UNCHANGED\): expected a path such as \/films\/\*/],
  [
    "cache-key",
    "/films/* drop=token",
    /\(SPILLWAY_CACHE_KEY\): expected a path and what the query contributes, such as/
  ],
  ["ignore-cookies", "films/*", /\(SPILLWAY_IGNORE_COOKIES\): expected a path such as \/films\/\*/],
  ["credential-field", "a:", /\(SPILLWAY_CREDENTIAL_FIELD\): expected the name of a header field/],
  ["connect-timeout", "10", /\(SPILLWAY_CONNECT_TIMEOUT\): expected a duration such as 250ms.*"10"/],
  ["first-byte-timeout", "0s", /a duration such as/],
  ["silence-timeout", "25d", /at most 24d/],
  ["idle-timeout", "-1s", /a duration such as/],
  ["header-timeout", "1 minute", /a duration such as/],
  ["trusted-proxy", "10.0.0.0/33", /\(SPILLWAY_TRUSTED_PROXY\): expected an address or a network/],
  ["read-deadline", "250", /a duration such as/],
  ["origin-requests", "0", /\(SPILLWAY_ORIGIN_REQUESTS\): expected a number from 1 to \d+; got "0"/],
  ["max-connections", "1.5", /a number from 1/],
  ["max-streams", "many", /a number from 1/],
  ["allow-private", "perhaps", /allow-private.*"perhaps"/],
  ["offline", "2", /offline.*"2"/]
]

/** What is a list in a variable, or would be taken for two of it. */
const variableOf = (flag: string) => `SPILLWAY_${flag.toUpperCase().replaceAll("-", "_")}`

// Most of the time is the start of a process each.
describe.concurrent("a wrong value", () => {
  it.live.each(wrong)("--%s %s: one line that says so", ([flag, value, says]) =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* runProgram(["serve", ORIGIN, `--${flag}=${value}`])
      assert.strictEqual(code, 2)
      assert.strictEqual(stdout, "")
      assert.match(stderr, says)
      assert.match(stderr, /^spillway: [^\n]+\n$/)
    }))

  it.live.each(
    [
      ["origin", "/a=http://a.example ftp://b.example", /origin "ftp:\/\/b\.example": only http/],
      ["url-host", "a.example b/c", /SPILLWAY_URL_HOST.*"b\/c"/],
      ["ttl", "1h\t/x", /SPILLWAY_TTL.*"\/x"/],
      ["cache-key", "/a ignore=b /c", /SPILLWAY_CACHE_KEY.*"\/c"/],
      ["silence-timeout", "soon", /SPILLWAY_SILENCE_TIMEOUT.*"soon"/],
      ["max-streams", "0", /SPILLWAY_MAX_STREAMS.*"0"/],
      ["offline", "perhaps", /SPILLWAY_OFFLINE.*"perhaps"/],
      ["allow-private", "1", /SPILLWAY_ALLOW_PRIVATE.*"1"/],
      ["admin-token", "two words", /SPILLWAY_ADMIN_TOKEN: expected visible ASCII characters without spaces\n/]
    ] as const
  )("of the variable of --%s, %s: one line that names it", ([flag, value, says]) =>
    Effect.gen(function*() {
      const { code, stderr } = yield* runProgram(["serve", ORIGIN], { env: { [variableOf(flag)]: value } })
      assert.strictEqual(code, 2)
      assert.match(stderr, says)
      assert.match(stderr, /^spillway: [^\n]+\n$/)
    }))
})

/** A program on a directory of its own, with as much of the disk as it likes. */
const start = Effect.fnUntraced(function*(args: ReadonlyArray<string>, env: Record<string, string> = {}) {
  return yield* startProgram(["--cache-dir", yield* temporaryDirectory, "--min-free", "0", ...args], { env })
})

describe("origins", () => {
  it.live("are told by path and host, by flags or by the variable", () =>
    Effect.gen(function*() {
      const [all, films, music] = [yield* makeTestOrigin, yield* makeTestOrigin, yield* makeTestOrigin]
      for (const [i, { files }] of [all, films, music].entries()) {
        for (const path of ["/a", "/base/a", "/films/a"]) files.set(path, fileOf(1000, i * 10 + path.length))
      }
      const hashes = (url: string) =>
        Effect.forEach([["/a"], ["/films/a"], ["/a", { host: "music.example" }]] as const, ([path, headers]) =>
          Effect.map(view(url + path, headers), ({ sha256 }) => sha256))
      const expected = [fileOf(1000, 2), fileOf(1000, 17), fileOf(1000, 22)].map(({ bytes }) =>
        sha256(bytes)
      )
      const routes = [`/films=${films.url}/base`, `music.example=${music.url}`]
      const byFlags = yield* start([all.url, ...routes.flatMap((route) => ["--origin", route])])
      assert.deepStrictEqual(yield* hashes(byFlags.url), expected)
      assert.include(byFlags.stdout(), `origin /films=${films.url}/base music.example=${music.url}/ ${all.url}/, cache`)
      const byVariable = yield* start([all.url], { SPILLWAY_ORIGIN: routes.join("  ") })
      assert.deepStrictEqual(yield* hashes(byVariable.url), expected)
      const only = yield* start(["--origin", routes[0]!], { SPILLWAY_ORIGIN: routes[1]! })
      assert.strictEqual((yield* view(`${only.url}/films/a`)).sha256, expected[1])
      assert.strictEqual((yield* view(`${only.url}/a`, { host: "music.example" })).status, 404)
    }))

  it.live("that viewers name are served as --url-host and --allow-private say", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(MiB, 1)
      origin.files.set("/film", film)
      const { host } = new URL(origin.url)
      const named = `/_spillway/url?url=${encodeURIComponent(`${origin.url}/film`)}`
      const other = `/_spillway/url?url=${encodeURIComponent("http://other.example/film")}`
      const careful = yield* start(["--url-host", host])
      assert.include(careful.stdout(), `URLs of ${host}, cache`)
      assert.strictEqual((yield* view(careful.url + named)).status, 403)
      assert.lengthOf(origin.requests, 0)
      assert.strictEqual((yield* view(`${careful.url}/film`)).status, 404)
      const open = yield* start([], { SPILLWAY_URL_HOST: `media.example ${host}`, SPILLWAY_ALLOW_PRIVATE: "true" })
      assert.strictEqual((yield* view(open.url + named)).sha256, sha256(film.bytes))
      yield* eventuallyHit(open.url + named)
      assert.strictEqual((yield* view(open.url + other)).status, 403)
      const off = yield* start([origin.url])
      assert.strictEqual((yield* view(off.url + named)).status, 404)
    }))
})

describe("freshness", () => {
  it.live("is what --ttl says, and what is cached is served --offline", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(MiB, 1, { headers: {} }))
      origin.files.set("/live/list", fileOf(1000, 2, { headers: { "cache-control": "max-age=3600" } }))
      const directory = yield* temporaryDirectory
      const args = [origin.url, "--cache-dir", directory, "--min-free", "0"]
      const online = yield* startProgram([...args, "--ttl", "1h", "--ttl", "/live/*=1s"])
      yield* view(`${online.url}/film`)
      yield* view(`${online.url}/live/list`)
      const { headers } = yield* view(`${online.url}/film`)
      assert.match(String(headers["cache-status"]), /^spillway; hit; ttl=3[56]\d\d;/)
      yield* eventually(
        "the end of the second",
        Effect.map(view(`${online.url}/live/list`), ({ headers }) => story(headers).includes("fwd=stale"))
      )
      yield* eventuallyHit(`${online.url}/film`)
      yield* online.stop()
      const before = origin.requests.length
      const offline = yield* startProgram([...args, "--offline"])
      assert.strictEqual((yield* view(`${offline.url}/film`)).sha256, sha256(fileOf(MiB, 1).bytes))
      assert.strictEqual((yield* view(`${offline.url}/live/list`)).status, 200)
      assert.strictEqual((yield* view(`${offline.url}/other`)).status, 504)
      assert.strictEqual(origin.requests.length, before)
    }))
})

describe("bounds", () => {
  it.live("on the time that an origin takes are those of the flags", () =>
    Effect.gen(function*() {
      const mute = yield* makeRawOrigin(({ target }) =>
        target === "/body"
          ? "HTTP/1.1 200 OK\r\ncontent-length: 10\r\ncache-control: no-store\r\n\r\nhello"
          : undefined
      )
      const { url } = yield* start(
        [`--origin`, `/tls=${mute.url.replace("http:", "https:")}`, mute.url],
        {
          SPILLWAY_CONNECT_TIMEOUT: "500ms",
          SPILLWAY_FIRST_BYTE_TIMEOUT: "2s",
          SPILLWAY_SILENCE_TIMEOUT: "2s"
        }
      )
      // By default, these take 10 s and 30 s.
      const begun = performance.now()
      assert.strictEqual((yield* view(`${url}/tls/a`)).status, 504)
      assert.strictEqual((yield* view(`${url}/header`)).status, 504)
      const { received } = yield* Effect.flip(view(`${url}/body`))
      assert.strictEqual(received, 5)
      assert.isBelow(performance.now() - begun, 30_000)
    }))

  it.live("on what one origin, and all viewers, get at a time are those of the flags", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const never = new Promise<never>(() => {})
      for (const path of ["/1", "/2", "/3"]) {
        origin.files.set(path, { ...fileOf(MiB, 1), hold: { after: 1000, until: never } })
      }
      const busy = yield* start([origin.url, "--origin-requests", "1", "--first-byte-timeout", "2s"])
      const held = yield* openView(`${busy.url}/1`)
      assert.strictEqual(held.status, 200)
      assert.strictEqual((yield* view(`${busy.url}/2`)).status, 503)
      const full = yield* start([origin.url, "--max-streams", "1", "--max-connections", "2"])
      yield* openView(`${full.url}/1`)
      const refused = yield* view(`${full.url}/2`)
      assert.strictEqual(refused.status, 503)
      assert.strictEqual(story(refused.headers), "spillway; fwd=bypass; detail=OVERLOADED")
      // One of them streams.
      yield* openRaw(Number(new URL(full.url).port))
      const surplus = yield* view(`${full.url}/2`)
      assert.strictEqual(surplus.status, 503)
      yield* eventually(
        "a warning",
        Effect.sync(() => full.printed().includes("Too many connections: more are refused"))
      )
    }))

  it.live("on the time that a viewer takes are those of the flags", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/large", fileOf(32 * MiB, 1))
      const { stderr, url } = yield* start([origin.url, "--header-timeout", "1s", "--idle-timeout", "3s"])
      const begun = performance.now()
      assert.match(yield* exchange(Number(new URL(url).port), "GET / HTTP/1.1\r\nHo"), /^HTTP\/1\.1 408 /)
      const viewer = yield* openView(`${url}/large`)
      yield* viewer.readTo(1)
      yield* eventually("the cut", Effect.sync(() => stderr().includes("\"cut\":true")))
      const { received } = yield* Effect.flip(viewer.rest)
      assert.isBelow(received, 32 * MiB)
      // By default, the header alone may take 30 s.
      assert.isBelow(performance.now() - begun, 30_000)
    }))
})

describe("Spillway's own pages", () => {
  it.live("are shown for SPILLWAY_ADMIN_TOKEN, and else to this machine", () =>
    Effect.gen(function*() {
      const statuses = Effect.fnUntraced(function*(url: string) {
        const headers = [{}, { authorization: "Bearer open-sesame" }, { host: "media.example" }]
        return yield* Effect.forEach(headers, (headers) =>
          Effect.map(ask(url, "/_spillway/metrics", { headers }), ({ status }) => status))
      })
      const guarded = yield* start([ORIGIN], { SPILLWAY_ADMIN_TOKEN: "open-sesame" })
      assert.deepStrictEqual(yield* statuses(guarded.url), [401, 200, 401])
      const status = (token?: string) =>
        runProgram(
          ["status", "--server", guarded.url],
          token === undefined ? {} : { env: { SPILLWAY_ADMIN_TOKEN: token } }
        )
      assert.include((yield* status()).stderr, "requires its admin token; set SPILLWAY_ADMIN_TOKEN")
      assert.include((yield* status("wrong")).stderr, "has another admin token than that in SPILLWAY_ADMIN_TOKEN")
      assert.include((yield* status("open-sesame")).stdout, "requests  0\n")
      const plain = yield* start([ORIGIN])
      assert.deepStrictEqual(yield* statuses(plain.url), [200, 200, 403])
      assert.notInclude(guarded.printed(), "open-sesame")
    }))
})
