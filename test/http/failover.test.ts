import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { makeRoute } from "../../src/domain/Route.ts"
import { defaultPolicy, type RouteOrigin, type RoutePolicy } from "../../src/domain/RoutePolicy.ts"
import type { Status } from "../../src/http/admin/api/model.ts"
import {
  headOf,
  inChunks,
  makeScriptedOrigin,
  type Script,
  type ScriptedFile,
  type ScriptedOrigin,
  type Step
} from "../support/ScriptedOrigin.ts"
import { randomBytes } from "../support/TestOrigin.ts"
import { maxAge, until, withTime } from "./Site.ts"
import { ask, CHUNK_BYTES, exchange, makeTestProxy, type TestProxyOptions } from "./TestProxy.ts"

const SIZE = 5 * CHUNK_BYTES + 1234
const path = "/film.mp4"
const film = randomBytes(SIZE)
const otherFilm = randomBytes(SIZE, 2)

/** Last modified long ago, so that the date is a strong validator. */
const date = (day: number) => `Tue, 0${day} Jan 2019 00:00:00 GMT`

const fileOf = (fields: ScriptedFile["fields"], more: Partial<ScriptedFile> = {}): ScriptedFile => ({
  bytes: film,
  fields: { "content-type": "video/mp4", ...maxAge(3600), ...fields },
  ...more
})

interface MirrorOptions extends TestProxyOptions {
  readonly policy?: Partial<RoutePolicy>
}

/** A proxy before a route of as many mirrors as there are `files`, each with its file. */
const begin = Effect.fnUntraced(function*(
  files: ReadonlyArray<ScriptedFile>,
  { policy, ...options }: MirrorOptions = {}
) {
  yield* TestClock.setTime(Date.parse("Tue, 01 Jan 2030 12:00:00 GMT"))
  const mirrors = yield* Effect.forEach(
    files,
    (file) => Effect.tap(makeScriptedOrigin, ({ files }) => Effect.sync(() => files.set(path, file)))
  )
  const origins = mirrors.map(({ url }): RouteOrigin => ({ url: new URL(url), weight: 1, access: {} }))
  const [first, ...others] = origins as [RouteOrigin, ...Array<RouteOrigin>]
  const route = makeRoute({ _tag: "All" }, first.url, {
    ...defaultPolicy(first.url),
    origins: [first, ...others],
    ...policy
  })
  const proxy = yield* makeTestProxy({
    ...options,
    origins: { origins: { routes: [route], urlHosts: [], allowPrivate: false }, ...options.origins }
  })
  return { ...proxy, mirrors: mirrors as [ScriptedOrigin, ScriptedOrigin], get: ask(proxy.url, path) }
})

/** The answer up to `after` bytes of its body, and then `last`. */
const upTo = (after: number, last: Step): Script => (answer) => {
  const part = answer.body.subarray(0, after)
  return [headOf(answer), answer.fields["transfer-encoding"] === undefined ? part : inChunks(part), last]
}

const unavailable: Script = () => [headOf({ status: "503 Service Unavailable", fields: { "content-length": "0" } })]

/** What a file is told by, how the rest of it is requested, and what the operator says of it. */
const kinds: ReadonlyArray<readonly [string, ScriptedFile, "range" | "whole", TestProxyOptions?]> = [
  ["an ETag", fileOf({ etag: "\"1\"" }), "range"],
  ["a date", fileOf({ "last-modified": date(1) }), "range"],
  ["an ETag and no ranges", fileOf({ etag: "\"1\"" }, { ranges: false }), "range"],
  ["a weak ETag", fileOf({ etag: "W/\"1\"" }), "whole"],
  ["nothing", fileOf({}), "whole"],
  ["nothing, but is assumed not to change", fileOf({}), "range", { cache: { assumeUnchanged: ["*"] } }]
]

describe("a mirror that is killed in the middle of a body", () => {
  // The clock stands still, so a pause before the next mirror would never end.
  for (const [how, last] of [["reset", "reset"], ["closed", "close"]] as const) {
    it.effect.each(kinds)(`whose connection is ${how} is replaced at the exact byte at once, for a file with %s`, ([
      ,
      file,
      rest,
      options
    ]) =>
      Effect.gen(function*() {
        const { get, mirrors: [a, b] } = yield* begin([file, file], options)
        const after = 2 * CHUNK_BYTES + 777
        a.scripts.set(path, () => upTo(after, last))
        const { body, status } = yield* get
        assert.strictEqual(status, 200)
        assert.isTrue(body.equals(film), `${body.length} bytes`)
        assert.lengthOf(a.gets(path), 1)
        assert.lengthOf(b.gets(path), 1)
        const { range } = b.gets(path)[0]!.fields
        if (rest === "whole") assert.isUndefined(range)
        // After a reset, bytes that have been sent may be lost.
        else if (last === "close") assert.match(range!, new RegExp(`^bytes=${after}-`))
        else assert.match(range!, /^bytes=\d+-/)
      }))
  }

  it.effect("is replaced by each mirror in turn, without a pause", () =>
    Effect.gen(function*() {
      const file = fileOf({ etag: "\"1\"" })
      const { get, mirrors } = yield* begin([file, file, file])
      mirrors.forEach(({ scripts }, i) => {
        if (i < 2) scripts.set(path, () => upTo(CHUNK_BYTES + 100, "close"))
      })
      assert.isTrue((yield* get).body.equals(film))
      assert.deepStrictEqual(mirrors.map((mirror) => mirror.gets(path).length), [1, 1, 1])
    }))

  it.effect.each<readonly [string, ScriptedFile]>([
    ["an ETag", fileOf({ etag: "\"1\"" })],
    ["a weak ETag", fileOf({ etag: "W/\"1\"" })],
    ["nothing, not even a length", fileOf({}, { chunked: true })]
  ])(
    "is replaced by one that was down rather than by one that fails again, for a file with %s",
    ([, file]) =>
      Effect.gen(function*() {
        const { get, mirrors, url } = yield* begin([file, file, file])
        for (const { files, scripts } of mirrors) {
          files.set("/other", file)
          scripts.set("/other", () => unavailable)
        }
        yield* withTime(ask(url, "/other"))
        mirrors.forEach(({ scripts }, i) => {
          if (i < 2) scripts.set(path, () => upTo(100, "close"))
        })
        assert.isTrue((yield* withTime(get)).body.equals(film))
        assert.lengthOf(mirrors.at(-1)!.gets(path), 1)
      })
  )

  it.effect("is asked after the others that have failed, too", () =>
    Effect.gen(function*() {
      const file = fileOf({ etag: "\"1\"" })
      const { get, mirrors: [a, b] } = yield* begin([file, file])
      a.scripts.set(path, (nth) => upTo(nth === 0 ? 100_000 : 0, "close"))
      b.scripts.set(path, (nth) => nth === 0 ? upTo(100_000, "close") : undefined)
      assert.isTrue((yield* withTime(get)).body.equals(film))
      assert.deepStrictEqual([a.gets(path).length, b.gets(path).length], [2, 2])
    }))

  it.effect("is replaced by itself if the others have another version, and continues from the exact byte", () =>
    Effect.gen(function*() {
      const { get, mirrors: [a, b] } = yield* begin([
        fileOf({ etag: "\"1\"" }),
        fileOf({ etag: "\"2\"" }, { bytes: otherFilm })
      ])
      a.scripts.set(path, (nth) => nth === 0 ? upTo(100_000, "close") : undefined)
      const { body, headers } = yield* withTime(get)
      assert.isTrue(body.equals(film))
      assert.strictEqual(headers.etag, "\"1\"")
      assert.isAbove(b.gets(path).length, 0)
      assert.match(a.gets(path)[1]!.fields["range"]!, /^bytes=100000-/)
    }))

  it.effect("ends the stream visibly if it doesn't come back and the others have another version, and then that is sent", () =>
    Effect.gen(function*() {
      const { get, mirrors: [a] } = yield* begin([
        fileOf({ etag: "\"1\"" }),
        fileOf({ etag: "\"2\"" }, { bytes: otherFilm })
      ])
      a.scripts.set(path, (nth) => nth === 0 ? upTo(100_000, "close") : unavailable)
      assert.strictEqual((yield* Effect.exit(withTime(get)))._tag, "Failure")
      const { body, headers } = yield* withTime(get)
      assert.isTrue(body.equals(otherFilm))
      assert.strictEqual(headers.etag, "\"2\"")
    }))

  it.effect("shows in the metrics and the API", () =>
    Effect.gen(function*() {
      const file = fileOf({ etag: "\"1\"" })
      const { get, mirrors: [a, b], url } = yield* begin([file, file])
      a.scripts.set(path, () => upTo(1000, "close"))
      yield* get
      const metrics = (yield* ask(url, "/_spillway/metrics")).body.toString()
      assert.include(metrics, `spillway_origin_up{origin="${a.url}/"} 0`)
      assert.match(metrics, /spillway_origin_failovers_total\{reason="body"\} [1-9]/)
      const { origins } = JSON.parse((yield* ask(url, "/_spillway/api/status")).body.toString()) as Status
      assert.deepStrictEqual(origins, [
        { url: `${a.url}/`, state: "down", trouble: "body", since: "2030-01-01T12:00:00.000Z", firstByteSeconds: 0 },
        { url: `${b.url}/`, state: "up", firstByteSeconds: 0 }
      ])
    }))
})

describe("a mirror that can't be used", () => {
  const file = fileOf({ etag: "\"1\"" })

  it.effect("because it responds with 503 is replaced before the first byte, and asked no more for a while", () =>
    Effect.gen(function*() {
      const { ask, get, mirrors: [a, b] } = yield* begin([file, file])
      a.scripts.set(path, () => unavailable)
      const { body, status } = yield* get
      assert.strictEqual(status, 200)
      assert.isTrue(body.equals(film))
      b.files.set("/other", file)
      assert.strictEqual((yield* ask("/other")).status, 200)
      assert.lengthOf(a.requests, 1)
    }))

  it.effect("because nobody listens there is replaced, and so is the last one when all come back", () =>
    Effect.gen(function*() {
      const { ask, mirrors } = yield* begin([file, file])
      const [a, b] = mirrors
      yield* a.close
      yield* b.close
      assert.strictEqual((yield* withTime(ask(path))).status, 502)
      yield* b.listen
      assert.isTrue((yield* withTime(ask(path))).body.equals(film))
      yield* b.close
      yield* a.listen
      a.files.set("/other", file)
      assert.isTrue((yield* withTime(ask("/other"))).body.equals(film))
      // It is asked for the head of what it failed until it works.
      b.files.set("/other", file)
      yield* b.listen
      yield* withTime(Effect.andThen(
        TestClock.adjust("1 minute"),
        until("a question", () => b.requests.some(({ method }) => method === "HEAD"))
      ))
    }))

  it.effect("because it stalls is replaced at the exact byte", () =>
    Effect.gen(function*() {
      const { get, mirrors: [a, b] } = yield* begin([file, file], { origins: { silenceTimeout: 30_000 } })
      a.scripts.set(path, () => upTo(100_000, "silence"))
      assert.isTrue((yield* withTime(get)).body.equals(film))
      assert.match(b.gets(path)[0]!.fields["range"]!, /^bytes=100000-/)
      assert.lengthOf(a.gets(path), 1)
    }))

  it.effect("because it sends no header is replaced", () =>
    Effect.gen(function*() {
      const { get, mirrors: [a] } = yield* begin([file, file], { origins: { firstByteTimeout: 30_000 } })
      a.scripts.set(path, () => () => ["silence"])
      assert.isTrue((yield* withTime(get)).body.equals(film))
    }))

  it.effect("isn't replaced because it has no such file", () =>
    Effect.gen(function*() {
      const { ask, mirrors: [, b] } = yield* begin([file, file])
      b.files.set("/other", file)
      assert.strictEqual((yield* ask("/other")).status, 404)
      assert.lengthOf(b.requests, 0)
    }))
})

describe("weighted mirrors", () => {
  it.effect("are each asked for files of their own, which they confirm, whatever the validators of the others", () =>
    Effect.gen(function*() {
      const { ask, mirrors: [a, b] } = yield* begin([fileOf({}), fileOf({})], { policy: { choice: "weighted" } })
      const files = Array.from({ length: 30 }, (_, i) => `/film${i}.mp4`)
      for (const [mirror, etag] of [[a, "\"a\""], [b, "\"b\""]] as const) {
        for (const path of files) {
          mirror.files.set(path, fileOf({ etag, ...maxAge(0) }, { bytes: film.subarray(0, 100) }))
        }
      }
      for (let round = 0; round < 2; round++) for (const path of files) yield* ask(path)
      for (const path of files) {
        const requests = [...a.gets(path), ...b.gets(path)]
        assert.deepStrictEqual(requests.map(({ fields }) => "if-none-match" in fields), [false, true], path)
      }
      for (const { requests } of [a, b]) assert.isAbove(requests.length, 0)
    }))
})

describe("mirrors with different validators for the same bytes", () => {
  const filesOf = (freshness: number) =>
    ["\"inode-1\"", "\"inode-2\""].map((etag) => fileOf({ etag, ...maxAge(freshness) }))

  const sent = (mirrors: ReadonlyArray<ScriptedOrigin>) =>
    mirrors.flatMap(({ requests }) => requests).reduce((sum, { sent }) => sum + sent, 0)

  it.effect("have the file fetched once while both work", () =>
    Effect.gen(function*() {
      const { get, mirrors } = yield* begin(filesOf(0))
      for (let i = 0; i < 10; i++) {
        assert.isTrue((yield* get).body.equals(film))
        yield* TestClock.adjust("1 minute")
      }
      assert.isBelow(sent(mirrors), SIZE * 1.1)
    }))

  it.effect("have the file fetched twice if one comes and goes", () =>
    Effect.gen(function*() {
      const { get, mirrors } = yield* begin(filesOf(0))
      const [a] = mirrors
      for (let i = 0; i < 10; i++) {
        assert.isTrue((yield* withTime(get)).body.equals(film))
        yield* (i % 2 === 0 ? a.close : a.listen)
        yield* withTime(TestClock.adjust("40 seconds"))
      }
      assert.isAbove(sent(mirrors), SIZE * 2)
      assert.isBelow(sent(mirrors), SIZE * 2.1)
    }))

  it.effect("are asked for the rest of a file where its first part came from", () =>
    Effect.gen(function*() {
      const { ask, mirrors: [a, b] } = yield* begin(filesOf(3600))
      yield* a.close
      const first = yield* withTime(ask(path, { headers: { range: "bytes=0-99" } }))
      assert.strictEqual(first.headers.etag, "\"inode-2\"")
      yield* a.listen
      yield* withTime(TestClock.adjust("1 minute"))
      for (const chunk of [2, 3, 4]) {
        const start = chunk * CHUNK_BYTES
        const { body, status } = yield* ask(path, { headers: { range: `bytes=${start}-${start + 99}` } })
        assert.strictEqual(status, 206)
        assert.isTrue(body.equals(film.subarray(start, start + 100)))
      }
      // It was asked once, and has another version.
      assert.lengthOf(a.gets(path), 1)
      assert.lengthOf(b.gets(path), 4)
    }))
})

/** A response as it came, up to where it broke off. */
const receive = (port: number, start: number, end: number) =>
  Effect.map(
    exchange(port, `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nrange: bytes=${start}-${end - 1}\r\n\r\n`),
    (answer) => {
      const at = answer.indexOf("\r\n\r\n")
      const [head = "", body] = [answer.slice(0, at), answer.slice(at + 4)]
      return { status: head.slice(9, 12), length: Number(/content-length: (\d+)/i.exec(head)?.[1]), body }
    }
  )

/** Pseudo-random numbers below a limit, the same for the same seed. */
const randomOf = (seed: number) => {
  const words = new Uint32Array(randomBytes(4096, seed).buffer)
  let next = 0
  return (limit: number): number => words[next++ % words.length]! % limit
}

describe("mirrors with different versions", () => {
  const pairs: ReadonlyArray<readonly [string, ScriptedFile["fields"], ScriptedFile["fields"]]> = [
    ["ETags", { etag: "\"1\"" }, { etag: "\"2\"" }],
    ["dates", { "last-modified": date(1) }, { "last-modified": date(2) }],
    ["bytes, and no validator", {}, {}],
    ["bytes, and the same weak ETag", { etag: "W/\"1\"" }, { etag: "W/\"1\"" }]
  ]

  it.effect.each(pairs)(
    "and different %s are never mixed in one body, wherever they fail",
    ([, first, second]) =>
      Effect.gen(function*() {
        let cuts = 0
        let wholes = 0
        for (let seed = 1; seed <= 25; seed++) {
          const random = randomOf(seed)
          yield* Effect.scoped(Effect.gen(function*() {
            const { mirrors, port } = yield* begin([fileOf(first), fileOf(second, { bytes: otherFilm })], {
              origins: { silenceTimeout: 2000, firstByteTimeout: 2000 },
              policy: { choice: random(2) === 0 ? "in-order" : "weighted" }
            })
            for (const { scripts } of mirrors) {
              scripts.set(path, () => {
                const after = random(SIZE)
                const faults = [
                  undefined,
                  unavailable,
                  upTo(after, "close"),
                  upTo(after, "reset"),
                  upTo(after, "silence")
                ]
                return faults[random(faults.length)]
              })
            }
            for (let request = 0; request < 3; request++) {
              const start = random(4) === 0 ? random(SIZE) : 0
              const { body, length, status } = yield* withTime(receive(port, start, SIZE))
              if (status !== "206" && status !== "200") continue
              const from = status === "206" ? start : 0
              const received = Buffer.from(body, "latin1")
              const isOneVersion = [film, otherFilm].some((version) =>
                version.subarray(from, from + received.length).equals(received)
              )
              assert.isTrue(isOneVersion, `seed ${seed}, request ${request}: ${received.length} bytes from ${from}`)
              if (received.length === length) wholes += 1
              else cuts += 1
            }
          }))
        }
        assert.isAbove(cuts, 0)
        assert.isAbove(wholes, 0)
      })
  )
})
