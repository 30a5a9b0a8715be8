import { assert, describe, it } from "@effect/vitest"
import { linesOf, type View } from "../../../src/cli/topScreen.ts"
import type { RunningStream, Snapshot } from "../../../src/http/admin/api/model.ts"

const MiB = 1024 ** 2
const NOW = Date.parse("2030-01-01T00:01:00.000Z")

const totals = (requests: number, origin: number): Snapshot["totals"] => ({
  requests: { hit: requests / 2, miss: requests / 2, partial: 0, stale: 0, bypass: 0, other: 0 },
  bytes: { memory: 0, disk: 0, peer: 0, origin, passthrough: 0 },
  originRequests: 3,
  originBytes: origin,
  coalesced: 0,
  evictions: 0,
  droppedChunks: 0
})

const stream = (id: number, bytesPerSecond: number): RunningStream => ({
  id: String(id),
  url: `https://media.example.org/${id}`,
  resource: String(id),
  start: 0,
  end: 100,
  position: 50,
  size: 100,
  source: "origin",
  bytesPerSecond,
  startedAt: "2030-01-01T00:00:00.000Z"
})

const snapshot = (
  streams: ReadonlyArray<RunningStream>,
  more: Partial<Snapshot["status"]> = {}
): View["snapshot"] => ({
  status: {
    version: "1.0.0",
    startedAt: "2030-01-01T00:00:00.000Z",
    uptime: 60,
    cache: {
      state: "usable",
      directory: "/cache",
      bytes: MiB,
      chunkBytes: MiB,
      maxBytes: 10 * MiB,
      chunks: 1,
      resources: 1,
      indexed: true
    },
    memory: { bytes: 0, maxBytes: MiB, chunks: 0 },
    disk: {
      status: "healthy",
      freeBytes: MiB,
      totalBytes: 2 * MiB,
      minFreeBytes: 0,
      freeNodes: 0,
      totalNodes: 0,
      thresholds: { info: 0, warning: 0, critical: 0 }
    },
    backlog: { bytes: 0, maxBytes: MiB },
    totals: totals(60, 60 * MiB),
    connections: streams.length,
    streams: streams.length,
    origins: [],
    ...more
  },
  streams,
  failures: [],
  totals: totals(60, 60 * MiB)
})

const view = (snapshot: View["snapshot"], before?: View["before"]): View => ({ snapshot, before, now: NOW })

const row = (lines: ReadonlyArray<string>, name: string) =>
  lines.find((line) => line.startsWith(`${name} `))!.slice(name.length).trim().split(/ {2,}/)

describe("the screen of top", () => {
  it("has rates now and on average, and totals", () => {
    const lines = linesOf(view(snapshot([]), { totals: totals(50, 40 * MiB), millis: NOW - 2000 }), 80)
    assert.deepStrictEqual(row(lines, "requests"), ["5.0", "1.0", "60"])
    assert.deepStrictEqual(row(lines, "from origins"), ["10 MiB", "1 MiB", "60 MiB"])
    assert.include(lines[0], "50 % hits")
  })

  it("has no rates now before the second snapshot", () => {
    assert.deepStrictEqual(row(linesOf(view(snapshot([])), 80), "requests"), ["-", "1.0", "60"])
  })

  it("has the fastest streams first, as many as there is room for, and the number of the others", () => {
    const streams = Array.from({ length: 50 }, (_, i) => stream(i, i * MiB))
    const lines = linesOf(view(snapshot(streams)), 80, 30)
    assert.lengthOf(lines, 30)
    const shown = lines.filter((line) => line.includes("https://media.example.org/"))
    assert.match(shown[0]!, /^49 MiB\/s +50 % +origin +- +https:\S+\/49$/)
    assert.strictEqual(lines.at(-1), `and ${50 - shown.length} other streams`)
    assert.lengthOf(linesOf(view(snapshot(streams)), 80).filter((line) => line.includes("https:")), 50)
  })

  it("has what is wrong now, with its cause and advice, and not what has passed", () => {
    const failure = { at: "2030-01-01T00:00:00.000Z", kind: "OriginUnreachable", message: "connection refused" }
    const lines = linesOf(
      view({
        ...snapshot([], { origins: [{ url: "https://a.example.org/", state: "down", trouble: "unreachable" }] }),
        failures: [
          { ...failure, advice: "Start the origin" },
          { ...failure, message: "timed out", recoveredAt: "2030-01-01T00:00:01.000Z" }
        ]
      }),
      80
    )
    assert.includeMembers([...lines], [
      "origin https://a.example.org/ is down: unreachable",
      "! connection refused (1 min ago)",
      "  > Start the origin"
    ])
    assert.notInclude(lines.join("\n"), "timed out")
  })

  it("fits into narrow terminals, and passes no control characters on", () => {
    const hostile = { ...stream(1, 1), viewer: "\u001b[2J\u009b" }
    const lines = linesOf(view(snapshot([hostile])), 40, 30)
    assert.isTrue(lines.every((line) => line.length < 40))
    assert.notMatch(linesOf(view(snapshot([hostile])), 200).join(""), /\p{Cc}/u)
  })

  it("says since when the server is gone, above what was last known", () => {
    const gone = { server: "http://127.0.0.1:8080", since: NOW - 12_000 }
    const [first, second, third] = linesOf({ snapshot: snapshot([]), before: undefined, now: NOW, gone }, 120, 30)
    assert.match(
      first!,
      /^http:\/\/127\.0\.0\.1:8080 has been GONE since \d\d:\d\d:48 \(12 s ago\); trying to connect again$/
    )
    assert.strictEqual(second, "")
    assert.match(third!, /^spillway 1\.0\.0, up/)
  })
})
