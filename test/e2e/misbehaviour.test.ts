import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { gzipSync } from "node:zlib"
import { temporaryDirectory } from "../support/disks.ts"
import {
  after,
  AT,
  breaks,
  breaksInChunks,
  type Case,
  CHUNK,
  contentRange,
  halfHead,
  only,
  play,
  redirects,
  Running,
  says,
  type Seen,
  SIZE,
  spoilt,
  startBefore,
  when,
  withClose,
  withFields,
  withLine
} from "../support/play.ts"
import { eventually, view } from "../support/Program.ts"
import {
  headOf,
  inChunks,
  makeScriptedOrigin,
  type Script,
  type Step,
  stepsOf,
  text
} from "../support/ScriptedOrigin.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

/** Whatever is visible. */
const FAILURE = ["cut", 502, 504] as const
const FEW = [1, 4] as const
/** The first request and three retries, each sent twice at most: once more if an idle connection ended under it (RFC 9110 §9.2.2). */
const RETRIED = [2, 8] as const

const whole = { as: ["whole"] } as const
/** Only the header matters. */
const small = { as: ["whole"], size: 100_000 } as const
const range = { as: ["range"] } as const
const forever = { forever: true } as const
const ten = { viewers: 10 } as const

const beforeTheHeader: ReadonlyArray<Case> = ([
  ["a reset", only("reset")],
  ["a close", only("close")],
  ["half a header and a close", halfHead("close")],
  ["half a header and a reset", halfHead("reset")]
] as const).flatMap(([name, script]) => [
  when(`${name}, once`, script, "all", 2),
  when(`${name}, without end`, script, 502, RETRIED, { ...forever, ...whole }),
  when(`${name}, without end, before ten`, script, 502, RETRIED, { ...forever, ...ten, ...whole })
]).concat(
  when("a pause of 800 ms", after(800, stepsOf), "all", 1, { takes: 790 })
)

const freshness = { "cache-control": "max-age=3600" }
const fresh = { fields: { ...freshness, etag: "\"fresh\"" } }

const trickle: Script = (answer) => [
  headOf(answer),
  ...[...answer.body].flatMap((byte): Array<Step> => [{ pause: 50 }, Buffer.of(byte)])
]

const inMidBody: ReadonlyArray<Case> = [
  ...(["reset", "close"] as const).flatMap((how) => [
    when(`a ${how}`, breaks(how), "all", 2, { resumes: "at the byte" }),
    when(`a ${how}, with If-Range on the way on`, breaks(how), "all", 2, { resumes: "with If-Range" }),
    when(`a ${how} of a connection that was to end anyway`, withClose(breaks(how)), "all", 2, {
      resumes: "at the byte"
    }),
    when(`a ${how}, before ten`, breaks(how), "all", 2, { ...ten, resumes: "at the byte" }),
    when(`a ${how}, and no byte after it`, [breaks(how), only(how)], "cut", [3, 9], forever),
    when(`a ${how}, and no byte after it, before ten`, [breaks(how), only(how)], "cut", [3, 9], {
      ...forever,
      ...ten,
      ...whole
    })
  ]),
  when(
    "a close after each 500 000 bytes",
    (answer) => [headOf(answer), answer.body.subarray(0, 500_000), { pause: 50 }, "close"],
    "all",
    [3, 8],
    forever
  ),
  when("a byte each 50 ms", trickle, "all", 1, { ...whole, size: 24 }),
  ...["403 Forbidden", "404 Not Found", "410 Gone", "412 Precondition Failed"].map((status) =>
    when(`a reset, and then ${status}, before ten`, [breaks("reset"), says(status, "gone")], "cut", 2, {
      ...forever,
      ...ten,
      ...whole,
      file: fresh,
      // Who says that the file is gone is asked what there is by the next viewer.
      changes: status.startsWith("403") ? undefined : "afterwards"
    })
  ),
  ...["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"].flatMap(
    (status) => [
      when(`a reset, and then ${status} once`, [breaks("reset"), says(status, "no")], "all", 3),
      when(`a reset, and then ${status} for ever`, [breaks("reset"), says(status, "no")], "cut", [3, 5], {
        ...forever,
        ...whole
      })
    ]
  ),
  ...["429 Too Many Requests", "503 Service Unavailable"].map((status) => {
    const later = says(status, "later", { "retry-after": "1" })
    return when(`a reset, and then ${status} with Retry-After`, [breaks("reset"), later], "all", 3, {
      takes: 950
    })
  }),
  when("a reset, and then a redirect", [breaks("reset"), redirects(1, (hop) => `?hop=${hop}`)], ["all", "cut"], [2, 4])
]

/** Answers of 206 that are not what was asked for. */
const wrongRanges: ReadonlyArray<readonly [string, Script, (ReadonlyArray<Seen>)?]> = [
  [
    "a Content-Range that starts later than its bytes",
    withFields(({ body, file, start }) => contentRange(start + 10, start + body.length, file.length))
  ],
  ["no Content-Range", withFields(() => ({ "content-range": undefined }))],
  ["a Content-Range that contradicts itself", withFields(() => ({ "content-range": "bytes 9-5/4" }))],
  [
    "several parts",
    withFields(() => ({ "content-range": undefined, "content-type": "multipart/byteranges; boundary=x" }))
  ],
  [
    "other bytes than asked for, announced as such",
    spoilt(({ body, fields, file, start }) => ({
      fields: { ...fields, ...contentRange(start + 10, start + body.length, file.length) },
      body: body.subarray(10)
    }))
  ],
  [
    "fewer bytes than in its Content-Range",
    spoilt(({ body, fields }) => {
      const length = Math.min(body.length, 500_000)
      return { fields: { ...fields, "content-length": String(length) }, body: body.subarray(0, length) }
    }),
    ["all", ...FAILURE]
  ],
  [
    "more bytes than in its Content-Range, and wrong ones",
    spoilt(({ body, fields, file, start }) => {
      const half = body.length >> 1
      const announced = contentRange(start, start + half, file.length)
      return {
        fields: { ...fields, ...announced, "content-length": String(body.length) },
        body: Buffer.concat([body.subarray(0, half), randomBytes(body.length - half, 77)])
      }
    }),
    ["all", ...FAILURE]
  ]
]

const instead: Script = spoilt(({ fields, file }) => ({
  status: "200 OK",
  fields: { ...fields, "content-range": undefined, "content-length": String(file.length) },
  body: file
}))

const LAST_CHUNK = Math.floor(SIZE / CHUNK) * CHUNK
const unsatisfiable = says("416 Range Not Satisfiable", "no")
const noLastChunk: Script = (answer, request) =>
  answer.start >= LAST_CHUNK
    ? unsatisfiable(answer, request)
    : [headOf(answer), answer.body.subarray(0, LAST_CHUNK - answer.start), { pause: 50 }, "close"]

const ranges: ReadonlyArray<Case> = [
  ...wrongRanges.flatMap(([name, script, sees = FAILURE]) => [
    when(name, script, sees, [1, 8], { ...forever, ...range }),
    when(`a reset, and then ${name}`, [breaks("reset"), script], sees, [2, 8], forever)
  ]),
  ...[SIZE + 10, SIZE - 10].map((size) => {
    const script = withFields(({ body, start }) => contentRange(start, Math.min(start + body.length, size), size))
    return when(`a reset, and then a size of ${size}, not ${SIZE}`, [breaks("reset"), script], "cut", [2, 5], {
      ...forever,
      ...whole
    })
  }),
  when(
    "a size that is not told",
    withFields(({ body, start }) => ({ "content-range": `bytes ${start}-${start + body.length - 1}/*` })),
    "all",
    [1, 2],
    { ...forever, ...range }
  ),
  when("the whole file", [], "all", 1, { ...range, file: { ranges: false } }),
  when("a reset, and the whole file for a range", breaks("reset"), "all", 2, { file: { ranges: false } }),
  when("a reset, and only then the whole file for a range", [breaks("reset"), instead], "all", 2),
  when("416 for the last chunk", noLastChunk, "cut", FEW, { ...forever, ...whole }),
  when("416", unsatisfiable, [416, 502], FEW, { ...forever, ...range }),
  when("a reset, and then 416", [breaks("reset"), unsatisfiable], "cut", 2, forever)
]

/** The first request, the one after the reset, and two more in case another server of that name has the version. */
const CHANGED = 4

const changes: ReadonlyArray<Case> = [false, true].flatMap((grows) => {
  const as = grows ? "a longer one" : "one of its size"
  const options = { grows, changes: 1, file: fresh } as const
  const beforeTheBody: Script = (answer) => [headOf(answer), { pause: 50 }, "reset"]
  return [
    when(`between two views to ${as}`, [], "all", [1, 2], { grows, changes: 0, seenBefore: true }),
    when(`between header and body to ${as}`, beforeTheBody, "all", [2, 6], options),
    when(`in mid-body to ${as}`, breaks("reset"), "cut", CHANGED, options),
    when(`in mid-body to ${as}, before ten`, breaks("reset"), "cut", CHANGED, { ...options, ...ten, ...whole }),
    when(`in mid-body to ${as}, If-Range ignored`, breaks("reset"), "cut", CHANGED, {
      ...options,
      file: { ...fresh, ifRange: false }
    })
  ]
})

const modified = { "last-modified": "Tue, 02 Jan 2024 03:04:05 GMT" }
const gzipped = { "content-encoding": "gzip" }
const inChunksOnly = { ...fresh, chunked: true }
const gzipFile = { fields: { ...freshness, ...gzipped, etag: "\"1\"" }, bytes: gzipSync(randomBytes(SIZE, 5)) }

const withoutValidator: ReadonlyArray<Case> = [
  ...([
    ["a weak ETag alone", { fields: { ...freshness, etag: "W/\"1\"" } }],
    ["no validator", { fields: freshness }]
  ] as const).flatMap(([name, file]) => [
    when(name, [], "all", [1, 2], { file }),
    // The beginning is compared, so the whole file is requested again.
    when(`${name}, and a reset`, breaks("reset"), "all", 2, { ...whole, file }),
    when(`${name}, and a reset each time`, breaks("reset"), "cut", [4, 6], { ...forever, ...whole, file })
  ]),
  when("gzip though identity was asked for", [], "all", [1, 2], { file: gzipFile, uncached: true, fields: gzipped }),
  when("gzip though identity was asked for, and a reset", breaks("reset"), "cut", [1, 2], {
    ...forever,
    ...whole,
    file: gzipFile,
    uncached: true
  }),
  when("chunks instead of a length", [], "all", [1, 2], { ...whole, file: inChunksOnly }),
  when("chunks instead of a length, and a reset", breaksInChunks("reset"), "cut", [1, 2], {
    ...forever,
    ...whole,
    file: inChunksOnly,
    uncached: true
  }),
  // Its Content-Range tells the size.
  when("chunks of a range", [], "all", [1, 2], { ...range, file: inChunksOnly }),
  when("a weak ETag with Last-Modified", [], "all", [1, 2], { file: { fields: { ...modified, etag: "W/\"1\"" } } }),
  when("Last-Modified alone, and a reset", breaks("reset"), "all", 2, { file: { fields: modified } })
]

const old = (...then: ReadonlyArray<Step>): Script => (answer) => [
  text("HTTP/1.0 200 OK\r\n\r\n"),
  ...then.length === 0 ? [answer.body, "close"] as const : [answer.body.subarray(0, AT), "wait", ...then] as const
]

const FORGED = text("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")

const tooMuch: ReadonlyArray<Case> = [
  ...([["bytes", randomBytes(1000, 6)], ["an answer", FORGED]] as const).flatMap(([what, extra]) =>
    [0, 50].map((pause) =>
      when(`${what} after the body, ${pause} ms later`, (answer) => [...stepsOf(answer), { pause }, extra], "all", 1, {
        rest: 2 * pause
      })
    )
  ),
  when(
    "a body longer than announced",
    withFields(() => ({ "etag": "\"short\"", "content-length": "1000000" })),
    "all",
    1,
    { ...whole, announced: 1_000_000 }
  )
]

const framing: ReadonlyArray<Case> = [
  when("HTTP/1.0 and a close", old(), "all", [1, 2], { ...forever, ...whole }),
  when("HTTP/1.0 and a reset", old("reset"), "cut", [1, 2], { ...forever, ...whole }),
  when("chunks and a close", breaksInChunks("close"), "cut", [1, 2], { ...forever, ...whole }),
  when(
    "garbage instead of chunks",
    (answer) => [headOf({ ...answer, fields: { "transfer-encoding": "chunked" } }), text("xyz\r\nxyz\r\n")],
    // What fails before the head has left takes that with it.
    [502, "cut", "none"],
    [1, 2],
    { ...forever, ...whole }
  ),
  when("chunks and garbage", breaksInChunks(text("xyz\r\nxyz\r\n")), "cut", [1, 2], { ...forever, ...whole }),
  when(
    "chunks and trailers",
    (answer) => [
      headOf({ ...answer, fields: { "transfer-encoding": "chunked", "trailer": "x-sum" } }),
      inChunks(answer.body),
      text("0\r\nx-sum: 1\r\nx-injected: 2\r\n\r\n")
    ],
    "all",
    [1, 2],
    { ...forever, ...whole }
  ),
  when(
    "102 and 103 first",
    (answer) => [
      text("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-injected: 1\r\n\r\n"),
      ...stepsOf(answer)
    ],
    "all",
    1
  ),
  when("100 first", (answer) => [text("HTTP/1.1 100 Continue\r\n\r\n"), ...stepsOf(answer)], "all", 1, {
    ...forever,
    ...whole
  }),
  ...[
    "SSH-2.0-OpenSSH_9.6\r\n",
    "<!doctype html><p>hello",
    "\0\0\0\0",
    "HTTP/1.1 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
  ].map((bytes) =>
    when(JSON.stringify(bytes), only(text(bytes), { pause: 50 }, "close"), 502, FEW, { ...forever, ...small })
  ),
  ...["5", "-1", "1e3", "9".repeat(30), "12, 13", ""].map((length) =>
    when(`a second Content-Length "${length}"`, withLine(`content-length: ${length}`), 502, FEW, {
      ...forever,
      ...small
    })
  ),
  when("chunks and Content-Length", withLine("transfer-encoding: chunked"), FAILURE, FEW, { ...forever, ...small }),
  when("a field of 100 KiB", withLine(`x-long: ${"x".repeat(100 * 1024)}`), 502, FEW, { ...forever, ...small }),
  when(
    "fields of 100 KiB together",
    withLine(Array.from({ length: 1024 }, (_, i) => `x-${i}: ${"x".repeat(90)}`).join("\r\n")),
    502,
    FEW,
    { ...forever, ...small }
  )
]

/** These do no harm: the line is left out, or the answer is not used. */
const fieldLines: ReadonlyArray<Case> = [
  "x-a: 1\nx-injected: 2",
  "x-a: 1\rx-injected: 2",
  "x-a: 1\r\n x-injected: 2",
  "x-a: a\0b",
  "x-a: a\x01b",
  "x-a: a\x0bb",
  "x-a: a\x7fb",
  "x-a: \xe9\xff",
  "x a: 1",
  "x-\xe9: 1",
  ": 1",
  "no colon",
  "x-a:"
].map((line) => when(JSON.stringify(line), withLine(line), ["all", 502], FEW, { ...forever, ...small }))

const redirections: ReadonlyArray<Case> = [
  when("to a path", redirects(1, (hop, path) => `${path}?hop=${hop}`), "all", 2, forever),
  when("to a query", redirects(1, (hop) => `?hop=${hop}`), "all", 2, forever),
  when("to a whole URL", redirects(1, (hop, path, host) => `http://${host}${path}?hop=${hop}`), "all", 2, forever),
  when("five times", redirects(5, (hop) => `?hop=${hop}`), "all", 6, forever),
  when("six times", redirects(6, (hop) => `?hop=${hop}`), [302, 502], [1, 7], { ...forever, ...whole }),
  when("to itself", redirects(99, (_, path) => path), [302, 502], [1, 7], { ...forever, ...whole }),
  when("to itself, before ten", redirects(99, (_, path) => path), [302, 502], [1, 7], {
    ...forever,
    ...whole,
    ...ten
  }),
  when("once, before ten", redirects(1, (hop) => `?hop=${hop}`), "all", 2, { ...forever, ...ten })
]

const refusals: ReadonlyArray<Case> = [
  ...[403, 404, 410].map((status) =>
    when(`${status} before ten`, says(`${status} No`, "not for you"), status, [1, 2], {
      ...forever,
      ...whole,
      ...ten,
      body: "not for you"
    })
  ),
  ...[500, 502, 503, 504].map((status) =>
    when(`${status}`, says(`${status} No`, "broken"), status, [1, 2], { ...forever, body: "broken" })
  ),
  ...[429, 503].flatMap((status) => {
    const later = (seconds: string) => says(`${status} No`, "later", { "retry-after": seconds })
    return [
      when(`${status} with Retry-After: 1, once`, later("1"), "all", 2, { takes: 950 }),
      when(`${status} with Retry-After: 1, once, before ten`, later("1"), "all", 2, {
        ...whole,
        ...ten,
        takes: 950
      }),
      when(`${status} with Retry-After: 1, for ever`, later("1"), status, FEW, { ...forever, ...whole, body: "later" }),
      when(`${status} with Retry-After: 30`, later("30"), status, [1, 2], {
        ...forever,
        ...whole,
        body: "later",
        fields: { "retry-after": "30" }
      })
    ]
  })
]

/** With a patience of 1.5 s, which is much longer than the pauses of a busy machine. */
const silence: ReadonlyArray<Case> = [
  ...([["nothing", only("silence")], ["half a header", halfHead("silence")]] as const).flatMap(([name, script]) => [
    // Of what is not known to be a file, it may be a long poll, which must not be sent twice.
    when(`${name}, once`, script, 504, 1, { ...whole, takes: 1400 }),
    when(`${name}, once`, script, "all", 2, { ...range, takes: 1400 }),
    when(`${name}, without end`, script, 504, [2, 4], { ...forever, ...range, takes: 2800 }),
    when(`${name}, without end, before ten`, script, 504, 1, { ...forever, ...whole, ...ten, takes: 1400 })
  ]),
  when(
    "a header that does not end",
    only(
      text("HTTP/1.1 200 OK\r\n"),
      ...Array.from({ length: 60 }, (_, i) => [{ pause: 100 }, text(`x-${i}: 1\r\n`)]).flat()
    ),
    504,
    1,
    { ...forever, ...whole }
  ),
  when("a body that stops", breaks("silence"), "all", 2, { resumes: "at the byte", takes: 1400 }),
  when("a body that stops, before ten", breaks("silence"), "all", 2, { ...ten, resumes: "at the byte" }),
  when("a body that stops, and If-Range on the way on", breaks("silence"), "all", 2, { resumes: "with If-Range" }),
  when("a body that stops, and no byte after it", [breaks("silence"), halfHead("silence")], "cut", [3, 5], forever),
  when("a byte each 50 ms", trickle, "all", 1, { ...whole, size: 24 })
]

/** At the same time as the others of its group. */
const together = { concurrent: true }

interface Group {
  readonly name: string
  readonly cases: ReadonlyArray<Case>
  readonly concurrent?: boolean
}

const suite = (name: string, flags: ReadonlyArray<string>, groups: ReadonlyArray<Group>): void =>
  layer(Running.layer(...flags), { excludeTestServices: true })(name, (it) => {
    for (const { cases, concurrent = false, name } of groups) {
      describe(name, { concurrent }, () => {
        for (const spec of cases) {
          for (const kind of spec.as ?? (["whole", "range"] as const)) {
            it.effect(`${spec.name} (${kind})`, () => play(spec, kind))
          }
        }
      })
    }

    it.effect("and the program is as it was", () =>
      Effect.gen(function*() {
        const { program } = yield* Running
        assert.notMatch(program.printed(), /Defect|Unhandled|\n\s+at /)
        assert.strictEqual(yield* program.stop("SIGTERM"), 0)
      }))
  })

suite("an origin that misbehaves", [], [
  { name: "before the header", cases: beforeTheHeader, ...together },
  { name: "in mid-body", cases: inMidBody, ...together },
  { name: "with ranges", cases: ranges, ...together },
  { name: "by changing its file", cases: changes, ...together },
  { name: "with a file without a validator or a length", cases: withoutValidator, ...together },
  { name: "with its framing", cases: framing, ...together },
  { name: "with field lines", cases: fieldLines, ...together },
  { name: "with redirects", cases: redirections, ...together },
  { name: "with refusals", cases: refusals, ...together },
  // What they spoil is the connection of the next request.
  { name: "by sending too much", cases: tooMuch }
])

suite("an origin that is silent", ["--first-byte-timeout", "1500ms", "--silence-timeout", "1500ms"], [
  { name: "with", cases: silence, ...together }
])

// --- connections ------------------------------------------------------------------------------------------------------

const startAlone = Effect.gen(function*() {
  const origin = yield* makeScriptedOrigin
  const { url } = yield* startBefore(origin, yield* temporaryDirectory)
  const put = (name: string, seed: number) => {
    const bytes = randomBytes(SIZE, seed)
    origin.files.set(`/${name}`, { bytes, fields: { etag: `"${seed}"` } })
    return { path: `/${name}`, url: `${url}/${name}`, sha256: sha256(bytes) }
  }
  return { origin, put, url }
})

const times = <A>(count: number, make: (n: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, n) => make(n))

const views = (urls: ReadonlyArray<string>) => Effect.forEach(urls, (url) => view(url), { concurrency: "unbounded" })

describe("an origin", together, () => {
  it.live("that listens on no port is asked again for a while, and is back then", () =>
    Effect.gen(function*() {
      const { origin, put } = yield* startAlone
      const { sha256, url } = put("a", 1)
      yield* origin.close
      const started = performance.now()
      for (const { status } of yield* views(times(10, () => url))) assert.strictEqual(status, 502)
      assert.isAbove(performance.now() - started, 200)

      const waiting = yield* Effect.forkChild(views(times(10, () => url)))
      yield* Effect.sleep("150 millis")
      yield* origin.listen
      for (const seen of yield* Fiber.join(waiting)) assert.strictEqual(seen.sha256, sha256)
    }))

  it.live("that resets each connection is asked a few times", () =>
    Effect.gen(function*() {
      const { origin, put } = yield* startAlone
      const { sha256, url } = put("a", 1)
      // The program looks at the start whether there is an origin.
      yield* eventually("the first connection", Effect.sync(() => origin.connections() > 0))
      yield* view(put("b", 2).url)
      origin.onConnection = (socket) => void socket.resetAndDestroy()
      yield* origin.close
      yield* origin.listen
      const before = origin.connections()
      for (const { status } of yield* views(times(10, () => url))) assert.strictEqual(status, 502)
      const asked = origin.connections() - before
      assert.isAbove(asked, 1)
      assert.isAtMost(asked, 4)
      origin.onConnection = undefined
      assert.strictEqual((yield* view(url)).sha256, sha256)
    }))

  for (const how of ["close", "reset"] as const) {
    it.live(
      `that ends each connection at its next request by a ${how} is noticed by nobody`,
      () =>
        Effect.gen(function*() {
          const { origin, put } = yield* startAlone
          const files = times(10, (n) => put(`${n}`, n + 1))
          for (const { path } of files) {
            origin.scripts.set(path, () => (answer, request) => request.nthOnConnection > 1 ? [how] : stepsOf(answer))
          }
          for (const { path, sha256, url } of files) {
            const seen = yield* view(url)
            assert.strictEqual(seen.status, 200)
            assert.strictEqual(seen.sha256, sha256)
            assert.isAtMost(origin.gets(path).length, 2)
          }
        })
    )
  }

  it.live("that redirects elsewhere makes nobody connect there", () =>
    Effect.gen(function*() {
      const { origin, put } = yield* startAlone
      const elsewhere = yield* makeScriptedOrigin
      const targets = [
        `${elsewhere.url}/a`,
        elsewhere.url.replace("http:", ""),
        elsewhere.url.replace("http:", "https:"),
        elsewhere.url.replace("127.0.0.1", "localhost"),
        elsewhere.url.replace("http://", "http://user@"),
        origin.url.replace("127.0.0.1", "localhost"),
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://["
      ]
      for (const [n, location] of targets.entries()) {
        const { path, url } = put(`${n}`, n + 1)
        origin.scripts.set(path, () => says("302 Found", "elsewhere", { location }))
        for (const range of ["bytes=0-", "bytes=1000-1999"]) {
          const seen = yield* view(url, { range })
          assert.strictEqual(seen.status, 302, location)
          assert.strictEqual(seen.headers.location ?? "", location)
          assert.strictEqual(seen.sha256, sha256(text("elsewhere")))
        }
        assert.isAtMost(origin.gets(path).length, 4)
      }
      assert.strictEqual(elsewhere.connections(), 0)
    }))
})
