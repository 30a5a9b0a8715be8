import { identify } from "./Resource.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * Who asks, as far as an origin may answer one viewer otherwise than others.
 */
export interface Asker {
  /** A hash of the cookies of the request, `ANONYMOUS` without any. */
  readonly cookie: string
  /** A hash of its credentials, `""` without any. */
  readonly credential: string
}

/** The `cookie` of those who have none. */
export const ANONYMOUS = ""

/** The fields besides `Authorization` by which clients authenticate with media servers and APIs: names in lower case. */
export const CREDENTIAL_FIELDS: ReadonlyArray<string> = [
  "api-key",
  "apikey",
  "job-token",
  "private-token",
  "x-access-token",
  "x-amz-security-token",
  "x-api-key",
  "x-auth-key",
  "x-auth-token",
  "x-emby-authorization",
  "x-emby-token",
  "x-jfrog-art-api",
  "x-mediabrowser-token",
  "x-plex-token",
  "x-session-token",
  "x-vault-token"
]

/** Whether a request has credentials: `Authorization`, or one of the fields `names`. */
export const hasCredential = (fields: HeaderFields, names: ReadonlyArray<string>): boolean => {
  if (fields["authorization"] !== undefined) return true
  for (const name of names) if (fields[name] !== undefined) return true
  return false
}

const credentialOf = (fields: HeaderFields, names: ReadonlyArray<string>): string => {
  if (!hasCredential(fields, names)) return ""
  return identify(
    fields["authorization"] ?? "",
    ...names.flatMap((name) => {
      const value = fields[name]
      return value === undefined ? [] : [name, value]
    })
  )
}

/** The hash of the cookies of a request. */
export const cookieOf = ({ cookie }: HeaderFields): string => cookie === undefined ? ANONYMOUS : identify(cookie)

/** Who sends a request with `fields`; `names` are the fields that are credentials besides `Authorization`. */
export const askerOf = (fields: HeaderFields, names: ReadonlyArray<string>): Asker => ({
  cookie: cookieOf(fields),
  credential: credentialOf(fields, names)
})
