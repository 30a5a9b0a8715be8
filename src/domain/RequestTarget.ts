/** How long a request target may be, in bytes (RFC 9110 §4.1 recommends at least 8000). */
const MAX_TARGET_BYTES = 8192

/**
 * A request that is refused, with the status that says why.
 *
 * @since 0.1.0
 * @category errors
 */
export interface TargetError {
  readonly status: 400 | 403 | 404 | 414
  readonly reason: string
}

const MALFORMED: TargetError = { status: 400, reason: "the request target is malformed" }

/** What a URL parser drops, or reads as something else: a backslash is a slash to it, but only in a path. */
// oxlint-disable-next-line no-control-regex
const MISLEADING = /[#\u0000-\u0020\u007f]|^[^?]*\\/

/** A `.` segment as clients write it who append to the URL of a directory, such as apt for `deb URL ./`. */
const PLAIN_DOT = /\/\.(?=\/)|(?<=\/)\.$/g

/** Also where the separators are encoded, since an origin may decode them, and with the parameters that some take off a segment. */
const DOT_SEGMENT = /(?:^|\/|%2f|%5c)(?:\.|%2e){1,2}(?:\/|%2f|%5c|;|%3b|$)/i

/** Why a target is refused, wherever it would lead. */
export const refusalOf = (target: string): TargetError | undefined => {
  if (target.length > MAX_TARGET_BYTES) return { status: 414, reason: "the request target is too long" }
  return target.startsWith("/") && !MISLEADING.test(target) ? undefined : MALFORMED
}

/** The path of a target, without its query. */
export const pathOf = (target: string): string => target.split("?", 1)[0]!

/** `target` without the plain `.` segments of its path, which name the same place (RFC 3986 §5.2.4). */
export const withoutDots = (target: string): string => {
  const path = pathOf(target)
  return path.includes("/.") ? path.replace(PLAIN_DOT, "") + target.slice(path.length) : target
}

/**
 * The URL that a target, a path with its query, names below `base`. What would name another host, or a place outside the path
 * of `base`, is refused rather than repaired.
 */
export const urlBelow = (base: URL, target: string): URL | TargetError => {
  if (DOT_SEGMENT.test(pathOf(target))) return { status: 400, reason: "the path has dot segments" }
  const url = URL.parse(base.href.replace(/\/$/, "") + target)
  return url === null || url.origin !== base.origin ? MALFORMED : url
}
