/**
 * The `Cache-Status` response field (RFC 9211).
 */

/**
 * What the cache did for one response. `hit`: answered without asking the origin. Otherwise `fwd` says why it was asked,
 * `fwdStatus` what it answered where that is not the status sent on, `stored` that its bytes are being kept, and
 * `collapsed` that the request shared another one's transfer. `detail` is a token of Spillway's own, such as `DISK_FULL`.
 */
export interface CacheStatus {
  readonly hit?: boolean
  readonly fwd?: "miss" | "partial" | "stale" | "bypass"
  readonly fwdStatus?: number
  readonly stored?: boolean
  readonly collapsed?: boolean
  readonly detail?: string
}

/** Writes the field's value, Spillway as the only member of the list. */
export const format = (status: CacheStatus): string => {
  let text = "spillway"
  if (status.hit) text += "; hit"
  if (status.fwd !== undefined) text += `; fwd=${status.fwd}`
  if (status.fwdStatus !== undefined) text += `; fwd-status=${status.fwdStatus}`
  if (status.stored) text += "; stored"
  if (status.collapsed) text += "; collapsed"
  if (status.detail !== undefined) text += `; detail=${status.detail}`
  return text
}
