import aws4 from "aws4"
import { Redacted } from "effect"
import type { AwsKeys } from "../../../domain/OriginAccess.ts"
import type { HeaderFields } from "../../../domain/rfc/HeaderFields.ts"

/** A request to be signed. It has no body. */
interface Unsigned {
  readonly method: string
  /** With a path as `canonicalPath` writes it, and without a query. */
  readonly url: URL
  /** The fields to be signed. */
  readonly headers: HeaderFields
  readonly region: string
  /** In milliseconds since 1970. */
  readonly now: number
}

/** `20261127T200000Z`. */
const timestamp = (millis: number): string => new Date(millis).toISOString().replace(/[:-]|\.\d{3}/g, "")

/**
 * The path `path` as S3 writes it in what is signed: each byte that isn't unreserved is encoded. Otherwise servers differ, such as in what a
 * plus sign means. `undefined` if it can't be decoded.
 */
export const canonicalPath = (path: string): string | undefined => {
  try {
    return path.split("/").map((segment) =>
      encodeURIComponent(decodeURIComponent(segment)).replace(
        /[!'()*]/g,
        (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`
      )
    ).join("/")
  } catch {
    return undefined
  }
}

/** The fields of `request`, and those that sign it for S3 with `keys`: AWS Signature Version 4, in the header. */
export const signed = ({ headers, method, now, region, url }: Unsigned, keys: AwsKeys): HeaderFields => {
  const request = {
    service: "s3",
    region,
    method,
    host: headers["host"] ?? url.host,
    path: url.pathname,
    headers: { ...headers, "x-amz-date": timestamp(now) },
    // Otherwise a range could be changed on the way.
    extraHeadersToInclude: { range: true }
  }
  const { headers: fields = {} } = aws4.sign(request, {
    accessKeyId: keys.accessKeyId,
    secretAccessKey: Redacted.value(keys.secretAccessKey),
    ...(keys.sessionToken !== undefined && { sessionToken: Redacted.value(keys.sessionToken) })
  })
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.toLowerCase(), String(value)]))
}
