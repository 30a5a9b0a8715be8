import type { RunningStream, Snapshot, Totals } from "../http/admin/api/model.ts"
import { ago, counted, duration, fit, percent, size, table } from "./text.ts"

/**
 * The screen of `spillway top`, as lines.
 */

/** What a screen shows: the present, and for rates a moment before it. */
export interface View {
  readonly snapshot: Pick<Snapshot, "status" | "streams" | "failures" | "totals">
  readonly before: { readonly totals: Totals; readonly millis: number } | undefined
  /** The time of `snapshot`, or that of the screen if the server is gone; in milliseconds since 1970. */
  readonly now: number
  /** The server doesn't respond, and since when. What is shown is from then. */
  readonly gone?: { readonly server: string; readonly since: number }
}

/** Something that only grows, such as a number of requests. */
interface Counter {
  readonly name: string
  readonly of: (totals: Totals) => number
  readonly format: (value: number) => string
}

const rounded = (value: number): string => value >= 100 ? value.toFixed(0) : value.toFixed(1)

const requests = (name: string, of: (totals: Totals) => number): Counter => ({ name, of, format: rounded })

const bytes = (name: string, of: (totals: Totals) => number): Counter => ({ name, of, format: size })

const allRequests = ({ requests }: Totals): number => Object.values(requests).reduce((sum, count) => sum + count, 0)

const COUNTERS: ReadonlyArray<Counter> = [
  requests("requests", allRequests),
  requests("hits", (totals) => totals.requests.hit),
  bytes("from memory", (totals) => totals.bytes.memory),
  bytes("from disk", (totals) => totals.bytes.disk),
  bytes("from other nodes", (totals) => totals.bytes.peer),
  bytes("from origins", (totals) => totals.bytes.origin),
  bytes("bypassing the cache", (totals) => totals.bytes.passthrough),
  requests("requests to origins", (totals) => totals.originRequests),
  requests("evicted chunks", (totals) => totals.evictions),
  requests("dropped chunks", (totals) => totals.droppedChunks)
]

/** The counters per second: now, on average since the start, and in all. */
const describeCounters = ({ before, now, snapshot: { status, totals } }: View): string => {
  const seconds = before === undefined ? 0 : (now - before.millis) / 1000
  const rows = COUNTERS.map(({ format, name, of }) => {
    const total = of(totals)
    return [
      name,
      before === undefined || seconds <= 0 ? "-" : format(Math.max(0, total - of(before.totals)) / seconds),
      status.uptime <= 0 ? "-" : format(total / status.uptime),
      format === rounded ? String(total) : format(total)
    ]
  })
  return table([["per second", "now", "average", "total"], ...rows], new Set([1, 2, 3]))
}

const describeCache = ({ now, snapshot: { status: { cache } } }: View): string => {
  const held = `${size(cache.bytes)} of ${size(cache.maxBytes)} in ${counted(cache.resources, "file")}`
  return cache.state === "usable"
    ? `usable, ${held}`
    : `UNUSABLE since ${ago(cache.since ?? "", now)}: ${cache.error} (${cache.errno} on ${cache.operation}); ${held}`
}

/** Where a stream is in its file, and how fast it goes there. */
const describeStream = (
  { bytesPerSecond, detail, position, size: whole, source, url, viewer }: RunningStream
): ReadonlyArray<string> => [
  `${size(bytesPerSecond)}/s`,
  percent(position, whole),
  detail === undefined ? source : `${source} (${detail})`,
  viewer ?? "-",
  url
]

/** At most `room` lines about the streams, the fastest first. */
const describeStreams = ({ snapshot: { status, streams } }: View, room: number): ReadonlyArray<string> => {
  if (status.streams === 0) return ["no streams"]
  const shown = streams.toSorted((a, b) => b.bytesPerSecond - a.bytesPerSecond).slice(0, Math.max(0, room - 2))
  const heading = ["rate", "at", "source", "viewer", "url"]
  const rest = status.streams - shown.length
  return [
    ...table([heading, ...shown.map(describeStream)], new Set([0, 1])).split("\n"),
    ...rest > 0 ? [`and ${counted(rest, "other stream")}`] : []
  ]
}

const describeTrouble =
  (now: number) => ({ advice, at, message }: Snapshot["failures"][number]): ReadonlyArray<string> => {
    const line = `! ${message} (${ago(at, now)})`
    return advice === undefined ? [line] : [line, `  > ${advice}`]
  }

const describeTroubles = ({ now, snapshot: { failures, status } }: View): ReadonlyArray<string> => [
  ...status.origins.filter(({ state }) => state !== "up")
    .map(({ state, trouble, url }) => `origin ${url} is ${state}: ${trouble}`),
  ...failures.filter(({ recoveredAt }) => recoveredAt === undefined).slice(0, MAX_TROUBLES).flatMap(
    describeTrouble(now)
  )
]

/** That the server is gone, and since when by the clock of this terminal. */
const describeAbsence = ({ gone, now }: View): ReadonlyArray<string> => {
  if (gone === undefined) return []
  const since = new Date(gone.since)
  return [
    `${gone.server} has been GONE since ${since.toLocaleTimeString("en-GB")} (${
      ago(since.toISOString(), now)
    }); trying to connect again`,
    ""
  ]
}

/** How many failures are shown. */
const MAX_TROUBLES = 3

/** The lines of a screen of `rows` lines of `columns` characters. Without `rows`, all streams are shown. */
export const linesOf = (view: View, columns: number, rows = Number.POSITIVE_INFINITY): ReadonlyArray<string> => {
  const { backlog, connections, disk, memory, streams, totals, uptime, version } = view.snapshot.status
  const top = [
    ...describeAbsence(view),
    `spillway ${version}, up ${duration(uptime)}, ${counted(connections, "connection")}, ${
      counted(streams, "stream")
    }, ` +
    `${percent(totals.requests.hit, allRequests(totals))} hits`,
    ...table([
      ["cache", describeCache(view)],
      ["disk", `${disk.status}, ${size(disk.freeBytes)} of ${size(disk.totalBytes)} free`],
      [
        "memory",
        `${size(memory.bytes)} of ${size(memory.maxBytes)}; ${size(backlog.bytes)} of ${
          size(backlog.maxBytes)
        } to write`
      ]
    ]).split("\n"),
    ...describeTroubles(view),
    "",
    ...describeCounters(view).split("\n"),
    ""
  ]
  const lines = [...top, ...describeStreams(view, rows - top.length)]
  // URLs and messages come from elsewhere: they must not control the terminal.
  return lines.slice(0, rows).map((line) => fit(line.replace(CONTROLS, "?"), columns))
}

const CONTROLS = /\p{Cc}/gu
