import type { CacheStatus } from "../../domain/rfc/CacheStatus.ts"
import { ttlSeconds } from "../../domain/rfc/Freshness.ts"
import type { Current } from "./LookupResult.ts"

/** What `cacheStatusOf` has to know besides the result of the lookup. */
interface Circumstances {
  /** Milliseconds since 1970. */
  readonly now: number
  /** Whether new chunks are being written to the cache. */
  readonly isStoring: boolean
}

/**
 * The `Cache-Status` of a response (RFC 9211) from a representation that was found. `transfer` is what the cache does for its bytes.
 * If the origin had to be asked about the representation, that comes first.
 */
export const cacheStatusOf = (
  { asked, collapsed, body, entry, means }: Current,
  transfer: CacheStatus,
  { isStoring, now }: Circumstances
): CacheStatus => {
  const { freshness, representation } = entry
  const common = { ttl: ttlSeconds(freshness, now), key: representation.resource }
  const reason = asked?.reason ?? "miss"
  const fwdStatus = asked?.status === undefined ? {} : { fwdStatus: asked.status }
  const lost = asked?.hasLostPeer === true ? { detail: "PEER_LOST" } : {}
  if (body !== undefined) {
    // Bytes at hand are of an error or a redirect that isn't stored.
    const detail = body instanceof Uint8Array ? { detail: "STATUS" } : lost
    return { fwd: reason, ...fwdStatus, ...(collapsed && { collapsed }), ...detail }
  }
  switch (means) {
    case "fresh":
      return { ...transfer, ...common }
    case "revalidating":
      return { ...transfer, detail: transfer.detail ?? "REVALIDATING", ...common }
    case "validated":
      return { fwd: reason, fwdStatus: asked?.status ?? 304, ...common, ...lost, ...(collapsed && { collapsed }) }
    case "described":
      return { fwd: reason, ...fwdStatus, ...common, ...lost }
    case "fetched":
      if (transfer.fwd === "bypass" && reason !== "request") return { ...transfer, ...common }
      return { fwd: reason, ...fwdStatus, stored: isStoring, ...common, ...lost, ...(collapsed && { collapsed }) }
    case "stale":
      if (asked === undefined) return { hit: true, detail: "OFFLINE", ...common }
      if (asked.status !== undefined) return { fwd: reason, ...fwdStatus, detail: "ORIGIN_ERROR", ...common }
      return { ...(transfer.hit ? { hit: true } : { fwd: reason }), detail: "ORIGIN_UNREACHABLE", ...common }
  }
}
