import { Option, Schema } from "effect"
import { createHmac, timingSafeEqual } from "node:crypto"
import { NODE_NAME, PROTOCOL } from "./FleetMember.ts"

/**
 * How the nodes of a fleet know each other: by message authentication codes with a secret that they share, and that never travels. They
 * prove who sends a request and who answers it; they hide nothing, and don't cover bodies.
 */

/** The secrets of a fleet. The first one signs; all of them verify, so that a secret can be replaced without a gap. */
export type Secrets = readonly [string, ...ReadonlyArray<string>]

/** The shortest secret, in characters. */
export const MIN_SECRET_LENGTH = 32

/** How far the clocks of two nodes may differ, in milliseconds. */
export const CLOCK_MILLIS = 60_000

/** Parts are single lines, so different lists of parts make different texts. */
const macOf = (secret: string, parts: ReadonlyArray<string>): string =>
  createHmac("sha256", secret).update(parts.join("\n")).digest("base64url")

const isMacOf = (secrets: Secrets, mac: string, parts: ReadonlyArray<string>): boolean => {
  const given = Buffer.from(mac)
  return secrets.some((secret) => {
    const right = Buffer.from(macOf(secret, parts))
    return right.length === given.length && timingSafeEqual(right, given)
  })
}

/** What the signature of a request covers. */
export interface SignedRequest {
  readonly method: string
  readonly target: string
  /** The host that the viewer asked for. */
  readonly host: string
  readonly range: string
  /** Other fields that change the answer, as they are sent. */
  readonly flags: string
}

/** Who sent a request, when, and what tells it from all others. */
export interface RequestSignature {
  readonly name: string
  /** Milliseconds since 1970. */
  readonly time: number
  readonly nonce: string
  readonly mac: string
}

const requestParts = (
  { flags, host, method, range, target }: SignedRequest,
  { name, nonce, time }: Omit<RequestSignature, "mac">
): ReadonlyArray<string> => ["request", PROTOCOL, name, String(time), nonce, method, target, host, range, flags]

/** Signs a request for the node `name` at `time`. `nonce` has no spaces, and is used once. */
export const signRequest = (
  secrets: Secrets,
  request: SignedRequest,
  from: Omit<RequestSignature, "mac">
): RequestSignature => ({ ...from, mac: macOf(secrets[0], requestParts(request, from)) })

/** The field that carries a signature. */
export const formatSignature = ({ mac, name, nonce, time }: RequestSignature): string =>
  `${PROTOCOL} ${name} ${time} ${nonce} ${mac}`

const SIGNATURE = /^(v\d{1,4}) (\S{1,63}) (\d{1,15}) ([\w-]{8,64}) ([\w-]{43})$/

/** The signature in `field` if it is one of the fleet's for `request`, of about `now`. Whether it was used before is for `ReplayWindow`. */
export const verifyRequest = (
  secrets: Secrets,
  request: SignedRequest,
  field: string | undefined,
  now: number
): RequestSignature | undefined => {
  const [, version, name, time, nonce, mac] = SIGNATURE.exec(field ?? "") ?? []
  if (version !== PROTOCOL || name === undefined || !NODE_NAME.test(name)) return undefined
  const signature = { name, time: Number(time), nonce: nonce!, mac: mac! }
  if (Math.abs(now - signature.time) > CLOCK_MILLIS) return undefined
  return isMacOf(secrets, signature.mac, requestParts(request, signature)) ? signature : undefined
}

/** What the proof of an answer covers. */
export interface ProvenResponse {
  readonly status: number
  readonly etag: string | undefined
  readonly contentRange: string | undefined
}

const proofParts = (mac: string, { contentRange = "", etag = "", status }: ProvenResponse): ReadonlyArray<string> => [
  "response",
  PROTOCOL,
  mac,
  String(status),
  etag,
  contentRange
]

/** Proves that a node of the fleet answers the request with the code `mac`. */
export const proveResponse = (secrets: Secrets, mac: string, response: ProvenResponse): string =>
  macOf(secrets[0], proofParts(mac, response))

/** Whether `proof` is that of a node of the fleet for this answer. */
export const isProven = (
  secrets: Secrets,
  mac: string,
  response: ProvenResponse,
  proof: string | undefined
): boolean => proof !== undefined && isMacOf(secrets, proof, proofParts(mac, response))

/** What a record is for. One of one kind, or of another fleet, is not taken for another. */
export interface RecordPurpose {
  readonly kind: "member" | "purge"
  /** The name of the fleet. */
  readonly fleet: string
}

/** A value, and when it was signed, in milliseconds since 1970. */
export interface SignedRecord<A> {
  readonly time: number
  readonly value: A
}

const recordParts = ({ fleet, kind }: RecordPurpose, time: string, json: string) => [kind, PROTOCOL, fleet, time, json]

/** A signed text with a value, for places where strangers can write. */
export const sealRecord = <A>(
  schema: Schema.ConstraintCodec<A, unknown>,
  secrets: Secrets,
  purpose: RecordPurpose,
  { time, value }: SignedRecord<A>
): string => {
  const json = Schema.encodeSync(Schema.fromJsonString(schema))(value)
  return `${macOf(secrets[0], recordParts(purpose, String(time), json))} ${time} ${json}`
}

const RECORD = /^([\w-]{43}) (\d{1,15}) (.*)$/

/** The record in a signed text, if it is one of the fleet's for this purpose. */
export const openRecord = <A>(
  schema: Schema.ConstraintCodec<A, unknown>,
  secrets: Secrets,
  purpose: RecordPurpose,
  text: string
): Option.Option<SignedRecord<A>> => {
  const [, mac = "", time = "", json = ""] = RECORD.exec(text) ?? []
  if (!isMacOf(secrets, mac, recordParts(purpose, time, json))) return Option.none()
  const value = Schema.decodeOption(Schema.fromJsonString(schema))(json)
  return Option.map(value, (value) => ({ time: Number(time), value }))
}
