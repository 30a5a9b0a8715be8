import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { FleetNode, FleetView, ResourceDetail, ResourceSummary, Status, Why } from "../http/admin/api/model.ts"
import { RESOURCES_LISTED } from "../http/admin/api/SpillwayApi.ts"
import { jsonFlag, serverFlag, show, toTarget, urlArgument, withServer } from "./client.ts"
import { ago, counted, duration, map, percent, size, table } from "./text.ts"

/**
 * The commands that show the state of a running server.
 */

const describeCache = ({ cache }: Status, now: number): string => {
  const { bytes, chunks, directory, error, errno, indexed, maxBytes, operation, resources, since, state } = cache
  const held = `${size(bytes)} of ${size(maxBytes)} in ${counted(chunks, "chunk")} of ${counted(resources, "file")}`
  const counting = indexed ? "" : ", still counting"
  return state === "usable"
    ? `usable, ${held}${counting} (${directory})`
    : `unusable since ${ago(since ?? "", now)}: ${error} (${errno} on ${operation}); ${held}${counting} (${directory})`
}

const describeEngine = ({ name, up }: FleetView["engine"]): string => up ? name : `${name}, which does not respond`

const describeFleet = ({ engine, node, peers }: NonNullable<Status["fleet"]>): string => {
  const { different, here, leaving, lost } = peers
  const others = Object.entries({ lost, leaving, different }).filter(([, count]) => count > 0)
  const all = [`${here} other ${here === 1 ? "node" : "nodes"}`, ...others.map(([state, count]) => `${count} ${state}`)]
  return `node ${node}, ${all.join(", ")}, by ${describeEngine(engine)}`
}

const describeOrigin = (
  { firstByteSeconds, since, state, trouble, url }: Status["origins"][number],
  now: number
): string => {
  if (state !== "up") return `${url} ${state}${since === undefined ? "" : ` since ${ago(since, now)}`}: ${trouble}`
  return firstByteSeconds === undefined
    ? `${url} not asked yet`
    : `${url} up, first byte after ${Math.round(firstByteSeconds * 1000)} ms`
}

const describeStatus = (status: Status, now: number): string => {
  const { backlog, connections, disk, memory, origins, streams, totals, uptime, version } = status
  const { bytes, requests } = totals
  const all = Object.values(requests).reduce((sum, count) => sum + count, 0)
  const sent = bytes.memory + bytes.disk + bytes.peer + bytes.origin + bytes.passthrough
  return table([
    [
      "server",
      `version ${version}, up ${duration(uptime)}, ${counted(connections, "connection")}, ${counted(streams, "stream")}`
    ],
    ["cache", describeCache(status, now)],
    [
      "disk",
      `${disk.status}, ${size(disk.freeBytes)} of ${size(disk.totalBytes)} free, ${size(disk.minFreeBytes)} kept free` +
      (disk.totalNodes === 0 ? "" : `, ${disk.freeNodes} of ${disk.totalNodes} file nodes free`)
    ],
    ["memory", `${size(memory.bytes)} of ${size(memory.maxBytes)} in ${counted(memory.chunks, "chunk")}`],
    ["backlog", `${size(backlog.bytes)} of ${size(backlog.maxBytes)} waiting to be written`],
    ["requests", all === 0 ? "0" : `${all}, ${percent(requests.hit, all)} hits; ${requests.bypass} bypassed the cache`],
    [
      "bytes",
      `${size(sent)} sent: ${size(bytes.memory)} from memory, ${size(bytes.disk)} from disk, ` +
      (status.fleet === undefined ? "" : `${size(bytes.peer)} from other nodes, `) +
      `${size(bytes.origin)} from the origin, ${size(bytes.passthrough)} bypassing the cache`
    ],
    [
      "origin",
      `${counted(totals.originRequests, "request")}, ${size(totals.originBytes)}; ${
        counted(totals.coalesced, "viewer")
      } shared a request`
    ],
    ...origins.map((origin, i) => [i === 0 ? "origins" : "", describeOrigin(origin, now)]),
    ...status.fleet === undefined ? [] : [["fleet", describeFleet(status.fleet)]]
  ])
}

export const status = Command.make(
  "status",
  { server: serverFlag, json: jsonFlag },
  ({ json, server }) =>
    Effect.flatMap(withServer(server, (client) => client.status()), (value) => show(json, value, describeStatus))
).pipe(Command.withDescription("Show the cache, disk, memory and traffic of a server"))

const STATES: Record<FleetNode["state"], string> = {
  self: "this node",
  here: "here",
  lost: "lost",
  leaving: "leaving",
  different: "other configuration"
}

const describeNode = (now: number) => ({ address, name, report, state, weight }: FleetNode): ReadonlyArray<string> => [
  name,
  address,
  String(Math.round(weight * 100) / 100),
  STATES[state],
  ...report === undefined ? Array.from({ length: 8 }, () => "-") : [
    duration((now - Date.parse(report.startedAt)) / 1000),
    report.version,
    `${size(report.cache.bytes)} of ${size(report.cache.maxBytes)}${
      report.cache.state === "usable" ? "" : ", unusable"
    }`,
    size(report.memory.bytes),
    String(report.peers.requests),
    String(report.peers.served),
    size(report.peers.receivedBytes),
    size(report.peers.sentBytes)
  ]
]

const NODE_HEADING = "name address weight state up version disk memory asked served in out".split(" ")

const describeNodes = ({ engine, nodes }: FleetView, now: number): string =>
  `${table([NODE_HEADING, ...nodes.map(describeNode(now))], new Set([2, 7, 8, 9, 10, 11]))}\n` +
  `${counted(nodes.length, "node")}, by ${describeEngine(engine)}`

export const fleet = Command.make(
  "fleet",
  { server: serverFlag, json: jsonFlag },
  ({ json, server }) =>
    Effect.flatMap(withServer(server, (client) => client.fleet()), (value) => show(json, value, describeNodes))
).pipe(
  Command.withDescription("List the nodes of a server's fleet: whether they respond, and what they hold and pass on")
)

const describeFreshness = ({ expiresAt, fresh }: ResourceSummary, now: number): string => {
  if (!fresh) return "stale"
  return expiresAt === undefined ? "fresh" : `fresh for another ${duration((Date.parse(expiresAt) - now) / 1000)}`
}

const describeResources = (
  { bytes, resources, total }: {
    readonly resources: ReadonlyArray<ResourceSummary>
    readonly total: number
    readonly bytes: number
  },
  now: number
): string => {
  const rows = resources.map((resource) => [
    size(resource.size),
    percent(resource.cachedBytes, resource.size),
    resource.lastUsed === undefined ? "-" : ago(resource.lastUsed, now),
    [resource.status, resource.pinned ? "pinned" : undefined].filter((note) => note !== undefined).join(" "),
    resource.url
  ])
  const heading = ["size", "cached", "last used", "", "url"]
  const more = total > resources.length ? `, the last ${resources.length} used` : ""
  return `${table([heading, ...rows], new Set([0, 1]))}\n${counted(total, "file")}, ${size(bytes)}${more}`
}

export const ls = Command.make(
  "ls",
  {
    prefix: Argument.String("prefix").pipe(
      Argument.withDescription("Only files whose URL starts with this"),
      Argument.withDefault("")
    ),
    tag: Flag.String("tag").pipe(
      Flag.withDescription("Only files with this tag in Surrogate-Key or Cache-Tag"),
      Flag.optional
    ),
    limit: Flag.Int("limit").pipe(
      Flag.withDefault(RESOURCES_LISTED.default),
      Flag.withDescription(`Maximum number of files, 1 to ${RESOURCES_LISTED.maximum}`),
      Flag.filter(
        (limit) => limit >= 1 && limit <= RESOURCES_LISTED.maximum,
        (limit) => `expected a number from 1 to ${RESOURCES_LISTED.maximum}; got ${limit}`
      )
    ),
    server: serverFlag,
    json: jsonFlag
  },
  ({ json, limit, prefix, server, tag }) => {
    const query = {
      ...(prefix !== "" && { prefix: toTarget(server, prefix) }),
      ...(Option.isSome(tag) && { tag: tag.value }),
      limit
    }
    return withServer(server, (client) => client.resources({ query })).pipe(
      Effect.flatMap((value) => show(json, value, describeResources))
    )
  }
).pipe(Command.withDescription("List cached files: how much of each is cached, and when it was last used"))

/** The width of a map if that of the terminal is unknown, in characters. */
const MAP_WIDTH = 80

const describeMap = (resource: ResourceDetail, now: number): string => {
  const { cachedBytes, chunks, chunkSize, pinned, ranges, size: bytes, streams, url } = resource
  const width = Math.max(10, (process.stdout.columns ?? MAP_WIDTH) - 1)
  const cached = ranges.map(({ end, start }) => `  bytes ${start}-${end - 1} (${size(end - start)})`)
  const positions = streams.map(({ position }) => `  a stream is at byte ${position} (${percent(position, bytes)})`)
  return [
    url,
    map(ranges, bytes, width),
    `${size(cachedBytes)} of ${size(bytes)} cached (${percent(cachedBytes, bytes)}), ` +
    `${chunks.cached} of ${chunks.total} chunks of ${size(chunkSize)}, ${describeFreshness(resource, now)}` +
    (pinned ? ", pinned" : ""),
    ...cached,
    ...positions
  ].join("\n")
}

export const mapCommand = Command.make(
  "map",
  { url: urlArgument, server: serverFlag, json: jsonFlag },
  ({ json, server, url }) =>
    withServer(server, (client) => client.resource({ query: { url: toTarget(server, url) } })).pipe(
      Effect.flatMap((value) => show(json, value, describeMap))
    )
).pipe(Command.withDescription("Draw which byte ranges of a file are cached"))

const describeWhy = (why: Why): string => {
  const { advice, cached, cachedBytes = 0, freshness, rangeSupport, reasons, size: bytes, storable, store, url } = why
  const held = cached === "no"
    ? "not cached"
    : `${cached === "whole" ? "completely" : "partly"} cached, ${size(cachedBytes)}`
  return [
    url,
    table([
      ["cached", held + (bytes === undefined ? "" : ` of ${size(bytes)}`)],
      ["cacheable", storable ? "yes" : "no"],
      ...freshness === undefined ? [] : [[
        "fresh",
        `${freshness.fresh ? "yes" : "no"}, ${duration(freshness.ageSeconds)} old, ` +
        (freshness.fresh
          ? `fresh for another ${duration(freshness.ttlSeconds)}`
          : `stale for ${duration(-freshness.ttlSeconds)}`) +
        ` (${freshness.source})`
      ]],
      ["disk", store.usable ? "usable" : `unusable: ${store.error}`],
      ...rangeSupport === undefined
        ? []
        : [["ranges", rangeSupport ? "supported by the origin" : "not supported by the origin"]]
    ]),
    ...reasons.map(({ code, message }) => `- ${message} (${code})`),
    ...advice.map((text) => `> ${text}`)
  ].join("\n")
}

export const why = Command.make(
  "why",
  { url: urlArgument, server: serverFlag, json: jsonFlag },
  ({ json, server, url }) =>
    withServer(server, (client) => client.why({ query: { url: toTarget(server, url) } })).pipe(
      Effect.flatMap((value) => show(json, value, describeWhy))
    )
).pipe(Command.withDescription("Explain whether a URL is cached or can be, and why"))
