/**
 * The `Cache-Status` response field (RFC 9211).
 */

/**
 * What the cache did for one response. `hit`: answered without asking the origin. Otherwise `fwd` says why it was asked,
 * `fwdStatus` what it answered where that is not the status sent on, `stored` that its bytes are being kept, and
 * `collapsed` that the request shared another one's transfer. `ttl` is how long the response is still fresh, in whole
 * seconds, negative once it is stale; `key` what it is stored under. `detail` is Spillway's own, such as `DISK_FULL`. `node` is
 * the name of this node of a fleet.
 */
export interface CacheStatus {
  readonly hit?: boolean
  readonly fwd?: "bypass" | "method" | "uri-miss" | "vary-miss" | "miss" | "request" | "stale" | "partial"
  readonly fwdStatus?: number
  readonly ttl?: number
  readonly stored?: boolean
  readonly collapsed?: boolean
  readonly key?: string
  readonly detail?: string
  readonly node?: string
}

/** How Spillway names itself in the field. */
const NAME = "spillway"

const token = /^[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*$/

/** What needs no escaping, as most do not. */
const plain = /^[\w.-]*$/

/** A string as in RFC 8941 §3.3.3, which has no characters beyond ASCII: `?` stands for them. */
const quote = (text: string): string =>
  plain.test(text) ? `"${text}"` : `"${text.replace(/[^ -~]/gu, "?").replace(/["\\]/g, "\\$&")}"`

/** Writes the field's value, Spillway as the only member of the list. */
export const format = (status: CacheStatus): string => {
  let text = status.node === undefined ? NAME : `${NAME}/${status.node}`
  if (status.hit) text += "; hit"
  if (status.fwd !== undefined) text += `; fwd=${status.fwd}`
  if (status.fwdStatus !== undefined) text += `; fwd-status=${status.fwdStatus}`
  if (status.ttl !== undefined) text += `; ttl=${status.ttl}`
  if (status.stored) text += "; stored"
  if (status.collapsed) text += "; collapsed"
  if (status.key !== undefined) text += `; key=${quote(status.key)}`
  if (status.detail !== undefined) {
    text += `; detail=${token.test(status.detail) ? status.detail : quote(status.detail)}`
  }
  return text
}

/**
 * Writes the field's value after `received`, the one that came with the origin's answer: the cache nearest to the origin
 * is the first in the list, the one nearest to the viewer the last (RFC 9211 §2).
 */
export const append = (received: string | undefined, status: CacheStatus): string => {
  const before = received?.trim() ?? ""
  return before === "" ? format(status) : `${before}, ${format(status)}`
}

/** A member of a list, which may have commas in strings. */
const MEMBER = /(?:[^",]|"(?:[^"\\]|\\.)*")+/g

/** The field without what the nodes `names` of a fleet say, apart from the last member. Other caches stay in it. */
export const withLastNode = (field: string, names: ReadonlySet<string>): string => {
  const members = (field.match(MEMBER) ?? []).map((member) => member.trim())
  return members.filter((member, i) => {
    const node = /^spillway\/([\w.-]+)/.exec(member)?.[1]
    return i === members.length - 1 || node === undefined || !names.has(node)
  }).join(", ")
}

/** What became of a request, for counting. `miss`: fetched; `partial`: in part; `stale`: used or asked about since it was stale. */
export type Outcome = "hit" | "miss" | "partial" | "stale" | "bypass" | "other"

/** The outcome that `status` describes. */
export const outcomeOf = ({ detail, fwd, hit }: CacheStatus): Outcome => {
  if (fwd === "partial" || fwd === "stale" || fwd === "bypass") return fwd
  if (fwd === "method") return "other"
  if (fwd !== undefined) return "miss"
  if (hit !== true) return "other"
  return detail === "OFFLINE" || detail === "ORIGIN_UNREACHABLE" ? "stale" : "hit"
}

/** The outcome that a received field reports for Spillway, the last in its list; `other` if Spillway is not there. */
export const parseOutcome = (field: string | undefined): Outcome => {
  const own = field?.match(/.*(?:^|, )spillway(?:\/[\w.-]+)?(;.*)/s)?.[1] ?? ""
  const detail = /; detail=([\w-]+)/.exec(own)?.[1]
  const told = detail === undefined ? {} : { detail }
  if (own.startsWith("; hit")) return outcomeOf({ hit: true, ...told })
  const fwd = /; fwd=([\w-]+)/.exec(own)?.[1] as CacheStatus["fwd"]
  return outcomeOf(fwd === undefined ? told : { fwd, ...told })
}
