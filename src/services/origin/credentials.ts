import { Redacted } from "effect"
import type { Authorization } from "../../domain/OriginAccess.ts"
import type { Hop } from "../../domain/Redirect.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isSafe } from "../../domain/rfc/Method.ts"

/** The fields that identify Spillway to a server. */
const fieldsOf = (authorization: Authorization): HeaderFields => {
  switch (authorization._tag) {
    case "Basic": {
      const pair = `${authorization.user}:${Redacted.value(authorization.password)}`
      return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` }
    }
    case "Bearer":
      return { authorization: `Bearer ${Redacted.value(authorization.token)}` }
    case "SigV4":
      return {}
  }
}

/** The credentials for a request of `hop`. A request that changes something has to be allowed by credentials of its viewer. */
export const credentialsFor = (method: string, { server }: Hop): Authorization | undefined =>
  isSafe(method) ? server?.access.authorization : undefined

/** The hop as its server expects it: with the `Host` field of its route, and its credentials. */
export const introduced = (hop: Hop, method: string): Hop => {
  const host = hop.server?.access.host
  const authorization = credentialsFor(method, hop)
  if (host === undefined && authorization === undefined) return hop
  return {
    ...hop,
    headers: {
      ...hop.headers,
      ...(host !== undefined && { host }),
      ...(authorization !== undefined && fieldsOf(authorization))
    }
  }
}
