import { make, type Resource } from "../domain/Resource.ts"

/** How long a request target may be, in bytes (RFC 9110 §4.1 recommends at least 8000). */
const MAX_TARGET_BYTES = 8192

/** A target that is refused, with the status that says why. */
export interface Refused {
  readonly status: 400 | 414
  readonly reason: string
}

/** What a URL parser would drop, or take for something else. */
// oxlint-disable-next-line no-control-regex
const MALFORMED = /[\\#\u0000-\u0020\u007f]/

const DOT_SEGMENT = /(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i

/**
 * The resource that a request target names: path and query appended to `origin`. What would name another host, or a place
 * outside the origin's own path, is refused rather than repaired.
 */
export const resourceOf = (origin: URL, target: string): Resource | Refused => {
  if (target.length > MAX_TARGET_BYTES) return { status: 414, reason: "the request target is too long" }
  const path = target.split("?", 1)[0]!
  if (!target.startsWith("/") || MALFORMED.test(target)) {
    return { status: 400, reason: "the request target is malformed" }
  }
  if (DOT_SEGMENT.test(path)) return { status: 400, reason: "the path has dot segments" }
  const url = URL.parse(origin.href.replace(/\/$/, "") + target)
  return url === null || url.origin !== origin.origin
    ? { status: 400, reason: "the request target is malformed" }
    : make(url.origin + url.pathname + url.search)
}

/** How many targets are remembered. */
const REMEMBERED = 4096

/** `resourceOf` for one origin, which remembers the targets that it was asked for last. */
export const resourcesOf = (origin: URL): (target: string) => Resource | Refused => {
  const known = new Map<string, Resource>()
  return (target) => {
    const remembered = known.get(target)
    if (remembered !== undefined) return remembered
    const resource = resourceOf(origin, target)
    if (!("status" in resource)) {
      if (known.size >= REMEMBERED) known.clear()
      known.set(target, resource)
    }
    return resource
  }
}
