import { Effect, type Scope } from "effect"
import { createServer, request as httpRequest, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import type {
  Failure,
  FleetNode,
  FleetView,
  ResourceMap,
  RunningStream,
  Snapshot,
  Status,
  StreamSource,
  Totals
} from "../../src/http/admin/api/model.ts"

/**
 * Made-up states of a server, for the looks of the dashboard: more kinds of streams, failures and names at once than a real server
 * has when one wants them.
 */

const MB = 1e6
const GB = 1e9
const CHUNK = 1024 ** 2

/** When the scene begins, in milliseconds since 1970. */
const BEGIN = Date.now()

const timeAt = (second: number) => new Date(BEGIN + second * 1000).toISOString()

/** While the disk is full, in seconds of the scene. */
export const FULL = { from: 62, to: 84 }

const isFull = (second: number) => second >= FULL.from && second < FULL.to

/** Bytes per second at a second of the scene. */
const ratesAt = (second: number) => {
  const wave = Math.sin(second / 9) * 4 + Math.sin(second / 2.3) * 1.5
  const cached = (26 + wave + (second > 40 ? 9 : 0)) * MB
  const peer = (7 + Math.sin(second / 4) * 2) * MB
  const origin = (11 + Math.sin(second / 5) * 3) * MB
  return isFull(second) ? { cached, peer, origin: 0, passthrough: origin } : { cached, peer, origin, passthrough: 0 }
}

const totalsAt = (second: number): Totals => {
  const bytes = { memory: 9.1 * GB, disk: 31.4 * GB, peer: 2.9 * GB, origin: 5.2 * GB, passthrough: 0.05 * GB }
  for (let at = 1; at <= second; at++) {
    const { cached, origin, passthrough, peer } = ratesAt(at)
    bytes.memory += cached * 0.3
    bytes.disk += cached * 0.7
    bytes.peer += peer
    bytes.origin += origin
    bytes.passthrough += passthrough
  }
  return {
    requests: { hit: 18_204 + second * 7, miss: 1_240, partial: 377 + second, stale: 31, bypass: 12, other: 44 },
    bytes,
    originRequests: 1_702 + second,
    originBytes: bytes.origin + bytes.passthrough,
    coalesced: 211,
    evictions: 96,
    droppedChunks: 22
  }
}

interface Show {
  readonly url: string
  readonly size: number
  readonly from: number
  readonly rate: number
  readonly source: StreamSource
  readonly viewer: string
  readonly start?: number
}

const shows: ReadonlyArray<Show> = [
  {
    url: "/films/the-long-river.mp4",
    size: 734 * MB,
    from: 40 * MB,
    rate: 4.1 * MB,
    source: "origin",
    viewer: "192.0.2.17"
  },
  {
    url: "/films/the-long-river.mp4",
    size: 734 * MB,
    from: 12 * MB,
    rate: 2.2 * MB,
    source: "disk",
    viewer: "2001:db8::8:1f"
  },
  {
    url: "/series/s02/e05/episode-with-a-rather-long-name-that-nobody-would-type-1080p-h264-aac.mkv?session=9f1c",
    size: 96 * MB,
    from: 2 * MB,
    rate: 0.6 * MB,
    source: "origin",
    viewer: "192.0.2.90"
  },
  {
    url: "/concerts/schubert-d-956.flac",
    size: 41 * MB,
    from: 4 * MB,
    rate: 0.25 * MB,
    source: "memory",
    viewer: "192.0.2.4",
    start: 3 * MB
  },
  {
    url: "/downloads/image-24.04.iso",
    size: 5.8 * GB,
    from: 1.1 * GB,
    rate: 22 * MB,
    source: "disk",
    viewer: "198.51.100.33"
  }
]

const streamsAt = (second: number): ReadonlyArray<RunningStream> =>
  shows.map(({ from, rate, size, source, start = 0, url, viewer }, index) => {
    const passes = isFull(second) && source === "origin"
    return {
      id: String(index),
      url: `https://media.example.org${url}`,
      resource: url,
      start,
      end: size,
      position: Math.min(size, from + rate * second),
      size,
      source: passes ? "passthrough" : source,
      bytesPerSecond: rate * (1 + Math.sin(second + index) * 0.05),
      startedAt: timeAt(-30 - index * 47),
      viewer,
      ...(passes && { detail: "DISK_FULL" })
    }
  })

const chunkFloor = (offset: number) => Math.floor(offset / CHUNK) * CHUNK

const mapsAt = (second: number): ReadonlyArray<ResourceMap> => {
  const streams = streamsAt(second)
  const of = (url: string, ranges: ResourceMap["ranges"]): ResourceMap => {
    const own = streams.filter(({ resource }) => resource === url)
    const { size, url: whole } = own[0]!
    return { url: whole, resource: url, size, chunkSize: CHUNK, ranges, streams: own }
  }
  const cachedUpTo = (index: number) => chunkFloor(streams[index]!.position)
  // What passed while the disk was full is not there.
  const lost = {
    start: chunkFloor(shows[0]!.from + shows[0]!.rate * FULL.from),
    end: chunkFloor(shows[0]!.from + shows[0]!.rate * FULL.to)
  }
  const reached = cachedUpTo(0)
  const river = second < FULL.from
    ? [{ start: 0, end: reached }]
    : [{ start: 0, end: lost.start }, ...(reached > lost.end ? [{ start: lost.end, end: reached }] : [])]
  return [
    of(shows[0]!.url, [...river, { start: 690 * CHUNK, end: shows[0]!.size }]),
    of(shows[2]!.url, [{ start: 0, end: cachedUpTo(2) }, { start: 88 * CHUNK, end: 90.4 * CHUNK }]),
    of(shows[3]!.url, [{ start: 0, end: shows[3]!.size }]),
    of(shows[4]!.url, [{ start: 0, end: 2.9 * GB }, { start: 3.3 * GB, end: 3.9 * GB }])
  ]
}

const failuresAt = (second: number): ReadonlyArray<Failure> => [
  ...(second < FULL.from ? [] : [{
    at: timeAt(FULL.from),
    kind: "DiskFull",
    errno: "ENOSPC",
    operation: "write",
    message: "No space left on device",
    ...(second >= FULL.to && { recoveredAt: timeAt(FULL.to) })
  }]),
  {
    at: timeAt(-1312),
    kind: "OriginTimeout",
    message: "The origin was silent for 30 s in the middle of a body",
    url: "https://media.example.org/films/the-long-river.mp4",
    recoveredAt: timeAt(-1311.6)
  }
]

const nodeAt = (second: number, name: string, state: FleetNode["state"], bytes: number): FleetNode => ({
  name,
  address: `10.20.0.${Number(/\d+/.exec(name))}:8471`,
  weight: 200,
  state,
  ...(state !== "lost" && {
    report: {
      version: "0.1.0",
      startedAt: timeAt(-90_061),
      cache: { state: "usable", bytes, maxBytes: 200 * GB },
      memory: { bytes: 241 * MB, maxBytes: 268.4 * MB },
      peers: {
        requests: 81_623 + second,
        served: 79_011 + second,
        receivedBytes: 214 * GB + second * 9 * MB,
        sentBytes: 206 * GB + second * 8 * MB
      }
    }
  })
})

const fleetAt = (second: number): FleetView => ({
  engine: { name: "redis://redis.internal:6379", up: !isFull(second) },
  nodes: [
    nodeAt(second, "n1", "self", 148.2 * GB),
    nodeAt(second, "media-cache-02.fra.example.org", "here", 151.1 * GB),
    nodeAt(second, "n3", isFull(second) ? "lost" : "leaving", 140 * GB),
    nodeAt(second, "n4", "different", 3 * GB)
  ]
})

const originsAt = (second: number): Status["origins"] => [
  { url: "https://media.example.org/", state: "up", firstByteSeconds: 0.041 },
  isFull(second)
    ? { url: "https://mirror.example.net/pub/films/", state: "down", trouble: "unreachable", since: timeAt(FULL.from) }
    : { url: "https://mirror.example.net/pub/films/", state: "slow", trouble: "slow", since: timeAt(FULL.to) },
  { url: "https://spare.example.com/", state: "up" }
]

/** The scene at a second. */
export const sceneAt = (second: number): Snapshot => {
  const totals = totalsAt(second)
  const streams = streamsAt(second)
  return {
    status: {
      version: "0.1.0",
      startedAt: timeAt(-90_061),
      uptime: 90_061 + second,
      listening: "http://127.0.0.1:8080",
      cache: {
        ...(isFull(second)
          ? { state: "unusable", error: "DiskFull", errno: "ENOSPC", operation: "write", since: timeAt(FULL.from) }
          : { state: "usable" }),
        directory: "/var/cache/spillway",
        bytes: 148.2 * GB,
        maxBytes: 200 * GB,
        chunkBytes: CHUNK,
        chunks: 141_337,
        resources: 418,
        indexed: true
      },
      memory: { bytes: 241 * MB, maxBytes: 268.4 * MB, chunks: 230 },
      disk: {
        status: isFull(second) ? "critical" : "info",
        freeBytes: isFull(second) ? 0.3 * GB : 74 * GB,
        totalBytes: 480 * GB,
        minFreeBytes: 1.07 * GB,
        freeNodes: 50_000_000,
        totalNodes: 61_000_000,
        thresholds: { info: 96 * GB, warning: 48 * GB, critical: 24 * GB }
      },
      backlog: { bytes: isFull(second) ? 0 : 3 * CHUNK, maxBytes: 128 * CHUNK },
      totals,
      connections: 9,
      streams: streams.length,
      origins: originsAt(second)
    },
    lastMinute: {
      at: timeAt(second),
      bytesPerSecond: { memory: 0, disk: 0, peer: 0, origin: 0, passthrough: 0 },
      responsesPerSecond: 8.2,
      errorsPerSecond: 0.1,
      firstByte: { p50: 0.0025, p95: 0.25 },
      cache: isFull(second) ? "unusable" : "usable"
    },
    streams,
    failures: failuresAt(second),
    totals,
    resources: mapsAt(second),
    fleet: fleetAt(second)
  }
}

/** What answers in place of the control API, and may be silenced. */
export interface Stage {
  readonly url: string
  /** What is said from now on. */
  readonly show: (snapshot: () => Snapshot) => void
  /** Ends all connections and refuses new ones, or not any more. */
  readonly setGone: (gone: boolean) => Effect.Effect<void>
  /** Refuses to let one more watch, or not any more. */
  readonly setFull: (full: boolean) => void
  /** Says nothing on the connections that there are, or speaks again. */
  readonly setSilent: (silent: boolean) => void
}

/** Answers for the control API, each `everyMillis` with what there is to show; all else is answered at `behind`. */
export const makeStage = (behind: string, everyMillis: number): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.gen(function*() {
    let snapshot = () => sceneAt(0)
    let gone = false
    let silent = false
    let full = false
    const listeners = new Set<ServerResponse>()
    const send = (response: ServerResponse) =>
      response.write(`event: snapshot\ndata: ${JSON.stringify(snapshot())}\n\n`)
    const server = createServer((request, response) => {
      if (gone) return request.socket.destroy()
      if (request.url === "/_spillway/api/events") {
        if (full) return response.writeHead(503).end()
        response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" })
        response.flushHeaders()
        listeners.add(response)
        response.on("close", () => listeners.delete(response))
        return silent || send(response)
      }
      const passed = httpRequest(
        behind + request.url,
        { method: request.method!, headers: request.headers },
        (answer) => {
          response.writeHead(answer.statusCode!, answer.headers)
          answer.pipe(response)
        }
      )
      passed.on("error", () => response.destroy())
      return request.pipe(passed)
    })
    const timer = setInterval(() => {
      if (!silent) listeners.forEach(send)
    }, everyMillis)
    yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        clearInterval(timer)
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
    )
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      show: (next) => void (snapshot = next),
      setGone: (value) =>
        Effect.sync(() => {
          gone = value
          if (gone) server.closeAllConnections()
        }),
      setFull: (value) => void (full = value),
      setSilent: (value) => void (silent = value)
    }
  })
