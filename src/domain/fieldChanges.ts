import { Redacted } from "effect"
import { type HeaderFields, ofConnection } from "./rfc/HeaderFields.ts"
import type { FieldChanges } from "./RoutePolicy.ts"

/**
 * Header fields that a route changes on the way.
 */

/** Fields of requests that Spillway writes or evaluates itself. */
const OWN_REQUEST_FIELDS = new Set([
  "accept-encoding",
  "content-length",
  "expect",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
  "via"
])

/** The same of responses. */
const OWN_RESPONSE_FIELDS = new Set([
  "accept-ranges",
  "age",
  "cache-status",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "date",
  "etag",
  "last-modified",
  "vary",
  "via"
])

const isOfConnection = ofConnection(undefined)

/** Whether a route may change the field `name` of requests. */
export const isRequestFieldFree = (name: string): boolean => !OWN_REQUEST_FIELDS.has(name) && !isOfConnection(name)

/** The same of responses. */
export const isResponseFieldFree = (name: string): boolean => !OWN_RESPONSE_FIELDS.has(name) && !isOfConnection(name)

/** Whether there is nothing to change. */
export const isUnchanged = ({ remove, set }: FieldChanges): boolean =>
  remove.length === 0 && Object.keys(set).length === 0

/** `headers` without the fields that are replaced or removed. */
export const withoutChanged = (headers: HeaderFields, changes: FieldChanges): HeaderFields => {
  if (isUnchanged(changes)) return headers
  const kept: Record<string, string> = { ...headers }
  for (const name of [...changes.remove, ...Object.keys(changes.set)]) delete kept[name]
  return kept
}

/** `headers` with the changes. */
export const withChanges = (headers: HeaderFields, changes: FieldChanges): HeaderFields => {
  if (isUnchanged(changes)) return headers
  const set = Object.entries(changes.set).map(([name, value]) => [name, Redacted.value(value)] as const)
  return { ...withoutChanged(headers, changes), ...Object.fromEntries(set) }
}
