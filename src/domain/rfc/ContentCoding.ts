import { LruMap } from "../../effects/LruMap.ts"
import type { HeaderFields } from "./HeaderFields.ts"

/**
 * Content codings (RFC 9110 §8.4.1), and which of them requests accept (§12.5.3).
 */

/** The codings of stored responses, in the order in which requests to the origin name them. */
const CODINGS = ["zstd", "br", "gzip"] as const

/** A content coding of stored responses; `identity` if they have no coding. */
export type Coding = "identity" | typeof CODINGS[number]

/**
 * The codings that a request accepts, of those that are stored. There are 16 such sets, each of them one object, so that they can be
 * compared and be keys.
 */
export interface AcceptedCodings {
  /** The set as a value of `Accept-Encoding`. */
  readonly field: string
  readonly codings: ReadonlySet<Coding>
}

const setOf = (codings: ReadonlySet<Coding>): AcceptedCodings => {
  const named: ReadonlyArray<string> = CODINGS.filter((coding) => codings.has(coding))
  if (!codings.has("identity")) return { field: [...named, "identity;q=0"].join(", "), codings }
  return { field: named.length === 0 ? "identity" : named.join(", "), codings }
}

/** All sets: the bits of an index stand for `CODINGS`, and the last one for `identity`. */
export const everyAccepted: ReadonlyArray<AcceptedCodings> = Array.from(
  { length: 2 ** (CODINGS.length + 1) },
  (_, bits) => {
    const all = [...CODINGS, "identity"] as const
    return setOf(new Set(all.filter((_, i) => (bits & (1 << i)) !== 0)))
  }
)

const acceptedIf = (accepts: (coding: Coding) => boolean): AcceptedCodings => {
  let bits = accepts("identity") ? 1 << CODINGS.length : 0
  for (const [i, coding] of CODINGS.entries()) if (accepts(coding)) bits |= 1 << i
  return everyAccepted[bits]!
}

/** No coding at all: what Spillway requests for itself, and with a range. */
export const UNCODED: AcceptedCodings = acceptedIf((coding) => coding === "identity")

/** `coding` alone. An origin that can't apply it may send the response without a coding. */
export const only = (coding: Coding): AcceptedCodings => acceptedIf((other) => other === coding || other === "identity")

const WEIGHT = /^[\t ]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[\t ]*$/i

const nameOf = (name: string): string => {
  const lower = name.trim().toLowerCase()
  return lower === "x-gzip" ? "gzip" : lower
}

/** The weight of each name in `Accept-Encoding`. One that is malformed is 0, and of several for a name, the least counts. */
const weightsOf = (field: string): ReadonlyMap<string, number> => {
  const weights = new Map<string, number>()
  for (const item of field.split(",")) {
    const [name, weight, ...more] = item.split(";")
    const found = weight === undefined ? 1 : more.length > 0 ? 0 : Number(WEIGHT.exec(weight)?.[1] ?? 0)
    const key = nameOf(name!)
    weights.set(key, Math.min(found, weights.get(key) ?? 1))
  }
  return weights
}

/** How many fields are remembered, and how long they may be, in characters. Clients send few different ones, and each with every request. */
const REMEMBERED = 256
const REMEMBERED_LENGTH = 256

const remembered = new LruMap<string, AcceptedCodings>(REMEMBERED)

/**
 * The codings that `Accept-Encoding` accepts. Weights decide only whether a coding is refused, or is worse than `identity` by the client's
 * own word. A request without the field gets no coding, although it accepts all (RFC 9110 §12.5.3): such clients often decode none.
 */
export const acceptedBy = (field: string | undefined): AcceptedCodings => {
  if (field === undefined) return UNCODED
  const known = remembered.get(field)
  if (known !== undefined) return known
  const accepted = parse(field)
  if (field.length <= REMEMBERED_LENGTH) remembered.set(field, accepted)
  return accepted
}

const parse = (field: string): AcceptedCodings => {
  const weights = weightsOf(field)
  const ofOthers = weights.get("*")
  const identity = weights.get("identity")
  return acceptedIf((coding) => {
    if (coding === "identity") return identity === undefined ? ofOthers !== 0 : identity > 0
    const weight = weights.get(coding) ?? ofOthers ?? 0
    return weight > 0 && weight >= (identity ?? 0)
  })
}

/** Whether each coding in `some` is in `all`. */
export const isSubset = (some: AcceptedCodings, all: AcceptedCodings): boolean => {
  for (const coding of some.codings) if (!all.codings.has(coding)) return false
  return true
}

/** The coding of a response with `headers`; `undefined` if it is another one, or if there are several. */
export const codingOf = (headers: HeaderFields): Coding | undefined => {
  const field = headers["content-encoding"]
  if (field === undefined) return "identity"
  const name = nameOf(field)
  if (name === "" || name === "identity") return "identity"
  return CODINGS.find((coding) => coding === name)
}

/** Whether a response with `headers` may be sent to a viewer who accepts these codings. */
export const isAcceptable = (headers: HeaderFields, { codings }: AcceptedCodings): boolean => {
  const coding = codingOf(headers)
  return coding !== undefined && codings.has(coding)
}

/** Whether a response with `headers` has a content coding, be it stored or not. */
export const isCoded = (headers: HeaderFields): boolean => codingOf(headers) !== "identity"

const namesAcceptEncoding = ({ vary }: HeaderFields): boolean =>
  vary !== undefined && vary.toLowerCase().split(",").some((name) => name.trim() === "accept-encoding")

/** Whether a response depends on `Accept-Encoding`: its `Vary` says so, or it has a content coding. */
export const dependsOnAccepted = (headers: HeaderFields): boolean => isCoded(headers) || namesAcceptEncoding(headers)

/** The fields of a coded response with `Accept-Encoding` in `Vary`, which its origin may have left out. Others as they are. */
export const withCodingInVary = (headers: HeaderFields): HeaderFields => {
  if (!isCoded(headers) || namesAcceptEncoding(headers)) return headers
  const { vary } = headers
  return { ...headers, vary: vary === undefined ? "Accept-Encoding" : `${vary}, Accept-Encoding` }
}
