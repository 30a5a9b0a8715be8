import { count } from "../../../domain/Chunk.ts"
import { isFresh } from "../../../domain/rfc/Freshness.ts"
import * as HttpDate from "../../../domain/rfc/HttpDate.ts"
import type { ConfigView, EffectiveRoute as Route } from "../../../services/config/EffectiveConfig.ts"
import type { OriginReport } from "../../../services/mirrors/OriginHealth.ts"
import type { Running } from "../../../services/observe/ActiveStreams.ts"
import type { Explanation } from "../../../services/operate/explanations.ts"
import type * as Failures from "../../../services/operate/FailureLog.ts"
import type { FleetPurged } from "../../../services/operate/FleetPurger.ts"
import type { Cached } from "../../../services/operate/Inventory.ts"
import type { Removal } from "../../../services/operate/Sweeper.ts"
import type * as Traffic from "../../../services/operate/TrafficHistory.ts"
import type { Job } from "../../../services/operate/Warmer.ts"
import type {
  EffectiveConfig,
  EffectiveRoute,
  Failure,
  OriginStatus,
  Purged,
  PurgeState,
  ResourceDetail,
  ResourceMap,
  ResourceSummary,
  RunningStream,
  TrafficSample,
  WarmJob,
  Why
} from "./model.ts"

/**
 * From what the services tell to what the API tells.
 */

/** A time as the API has it; `millis` since 1970. */
export const time = (millis: number): string => new Date(millis).toISOString()

/** `{ [key]: value }`, or nothing where there is no value. */
export const optional = <K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } =>
  value === undefined ? {} : { [key]: value } as { readonly [P in K]: V }

export const streamOf = ({ detail, startedAt, viewer, ...stream }: Running): RunningStream => ({
  ...stream,
  startedAt: time(startedAt),
  ...optional("viewer", viewer),
  ...optional("detail", detail)
})

export const originOf = ({ firstByteMillis, since, standing, trouble, url }: OriginReport): OriginStatus => ({
  url,
  state: standing,
  ...optional("trouble", trouble),
  ...optional("since", since === undefined ? undefined : time(since)),
  ...optional("firstByteSeconds", firstByteMillis === undefined ? undefined : Math.round(firstByteMillis) / 1000)
})

export const summaryOf = ({ bytes, chunks, entry, lastUsed, pinned }: Cached, now: number): ResourceSummary => {
  const { freshness, representation: { chunkSize, etag, headers, resource, size, status, url } } = entry
  return {
    url,
    resource,
    ...optional("status", status),
    size,
    cachedBytes: bytes,
    chunks: { cached: chunks, total: count(size, chunkSize) },
    pinned,
    ...optional("lastUsed", lastUsed === 0 ? undefined : time(lastUsed)),
    fresh: isFresh(freshness, now),
    expiresAt: time(Math.min(freshness.generatedAt + freshness.lifetime, MAX_TIME)),
    ...optional("contentType", headers["content-type"]),
    ...optional("etag", etag)
  }
}

/** The last time that has a text, in milliseconds since 1970. */
const MAX_TIME = 8.64e15

export const mapOf = ({ entry, ranges }: Cached, streams: ReadonlyArray<Running>): ResourceMap => {
  const { chunkSize, resource, size, url } = entry.representation
  const own = streams.filter((stream) => stream.resource === resource)
  return { url, resource, size, chunkSize, ranges, streams: own.map(({ position }) => ({ position })) }
}

export const detailOf = (cached: Cached, streams: ReadonlyArray<Running>, now: number): ResourceDetail => {
  const { headers } = cached.entry.representation
  const stored = HttpDate.parse(headers["date"])
  return {
    ...summaryOf(cached, now),
    ...mapOf(cached, streams),
    headers,
    ...optional("storedAt", stored === undefined ? undefined : time(stored))
  }
}

export const whyOf = (
  url: string,
  { advice, cached, freshness, rangeSupport, reasons, size, storable }: Explanation,
  storeError: string | undefined
): Why => ({
  url,
  cached: cached === undefined || cached.bytes === 0 ? "no" : cached.bytes === size ? "whole" : "partly",
  ...optional("cachedBytes", cached?.bytes),
  ...optional("size", size),
  storable,
  reasons,
  ...optional("freshness", freshness),
  store: { usable: storeError === undefined, ...optional("error", storeError) },
  ...optional("rangeSupport", rangeSupport),
  advice
})

export const purgeStateOf = ({ ban: { at, target }, ...removal }: Removal): PurgeState => ({
  id: String(at),
  ...(target._tag === "Url" && { url: target.url }),
  ...(target._tag === "Prefix" && { prefix: target.prefix }),
  ...(target._tag === "Tag" && { tag: target.tag }),
  ...(target._tag === "OutdatedTree" && { tree: target.url }),
  soft: target._tag !== "OutdatedTree" && target.soft === true,
  ...removal
})

/** A node that is alone says nothing of others. */
export const purgedOf = ({ bans, missing, nodes }: FleetPurged): Purged => {
  const id = String(bans[0]?.at ?? 0)
  return nodes.length === 0 ? { id } : { id, nodes, missing }
}

export const jobOf = ({ error, files, secondsLeft, size, ...job }: Job): WarmJob => ({
  ...job,
  ...optional("files", files),
  ...optional("size", size),
  ...optional("secondsLeft", secondsLeft),
  ...optional("error", error)
})

export const trafficOf = ({ at, firstByte, isUsable, ...rates }: Traffic.TrafficSample): TrafficSample => ({
  ...rates,
  at: time(at),
  ...optional("firstByte", firstByte),
  cache: isUsable ? "usable" : "unusable"
})

export const failureOf = ({ at, recoveredAt, ...failure }: Failures.Failure): Failure => ({
  ...failure,
  at: time(at),
  ...optional("recoveredAt", recoveredAt === undefined ? undefined : time(recoveredAt))
})

const matchOf = (match: Route["match"]): string => {
  switch (match._tag) {
    case "All":
      return "*"
    case "Path":
      return match.prefix
    case "Host":
      return match.host
  }
}

const routeOf = ({ keys, match, origins, source }: Route): EffectiveRoute => ({
  match: matchOf(match),
  source,
  origins: origins.map(({ keys, url }) => ({ url: url.href, keys })),
  keys
})

export const configOf = ({ file, options, routes }: ConfigView): EffectiveConfig => ({
  ...optional("file", file && { path: file.path, readAt: time(file.readAt) }),
  options,
  routes: routes.map(routeOf)
})
