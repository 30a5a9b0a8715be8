import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeCollector, type Span } from "../support/Collector.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, runProgram, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

const TRACE = "0af7651916cd43dd8448eb211c80319c"
const PARENT = "b7ad6b7169203331"

const start = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const origin = yield* makeTestOrigin
  origin.files.set("/film?token=hidden", fileOf(MiB, 1))
  const directory = yield* temporaryDirectory
  const program = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0", ...args])
  const see = view(`${program.url}/film?token=hidden`, { traceparent: `00-${TRACE}-${PARENT}-01` })
  return { origin, program, see }
})

const valueOf = ({ attributes }: Span, key: string): unknown =>
  Object.values(attributes.find((attribute) => attribute.key === key)?.value ?? {})[0]

describe.concurrent("--otlp", () => {
  it.live("sends spans that belong together, and metrics, without secrets", () =>
    Effect.gen(function*() {
      const collector = yield* makeCollector
      const { origin, program, see } = yield* start("--otlp", collector.url)
      yield* see
      yield* eventually("spans", Effect.sync(() => collector.spans().some(({ name }) => name === "GET")))
      assert.strictEqual(yield* program.stop(), 0)
      const served = collector.spans().find(({ name }) => name === "GET")!
      const asked = collector.spans().find(({ name }) => name === "origin GET")!
      assert.deepInclude(served, { traceId: TRACE, parentSpanId: PARENT, kind: 2 })
      assert.deepInclude(asked, { traceId: TRACE, kind: 3 })
      assert.strictEqual(valueOf(served, "url.path"), "/film?…")
      assert.strictEqual(valueOf(served, "spillway.outcome"), "miss")
      assert.strictEqual(Number(valueOf(served, "http.response.status_code")), 200)
      assert.strictEqual(valueOf(asked, "url.full"), `${origin.url}/film?…`)
      // The origin can go on with the trace.
      const request = origin.requests.find(({ method }) => method === "GET")!
      assert.strictEqual(request.headers["traceparent"], `00-${TRACE}-${asked.spanId}-01`)
      // The last ones are sent at the end.
      assert.includeMembers([...collector.metrics()], ["spillway_cache_usable", "spillway_connections"])
      assert.notInclude(collector.received(), "hidden")
    }))

  it.live("is off unless asked for: what a viewer says of its trace goes on as it is", () =>
    Effect.gen(function*() {
      const { origin, see } = yield* start()
      yield* see
      const request = origin.requests.find(({ method }) => method === "GET")!
      assert.strictEqual(request.headers["traceparent"], `00-${TRACE}-${PARENT}-01`)
    }))

  it.live("holds nothing up where there is no collector", () =>
    Effect.gen(function*() {
      const { program, see } = yield* start("--otlp", "http://127.0.0.1:9")
      assert.strictEqual((yield* see).status, 200)
      assert.strictEqual(yield* program.stop(), 0)
    }))

  it.live.each(["collector:4318", "ftp://a", "http://user:hidden@a"])(
    "refuses %s in one line",
    (url) =>
      Effect.gen(function*() {
        const { code, stderr } = yield* runProgram(["serve", "http://127.0.0.1:9", "--otlp", url])
        assert.strictEqual(code, 2)
        assert.match(stderr, /^spillway: [^\n]*--otlp[^\n]+\n$/)
        assert.notInclude(stderr, "hidden")
      })
  )
})
