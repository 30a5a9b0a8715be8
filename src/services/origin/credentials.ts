import { Redacted } from "effect"
import type { Authorization } from "../../domain/OriginAccess.ts"
import type { Hop } from "../../domain/Redirect.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { isSafe } from "../../domain/rfc/Method.ts"
import type { OriginRequest } from "./Origin.ts"

/** The fields that identify Spillway to a server. */
const fieldsOf = (authorization: Authorization): HeaderFields => {
  switch (authorization._tag) {
    case "Basic": {
      const pair = `${authorization.user}:${Redacted.value(authorization.password)}`
      return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` }
    }
    case "Bearer":
      return { authorization: `Bearer ${Redacted.value(authorization.token)}` }
    // Each request has a signature of its own, which `s3Requests` adds.
    case "SigV4":
      return {}
  }
}

/** What of a request tells whether it may change something. */
type Kind = Pick<OriginRequest, "method" | "upgrade">

/** The credentials for a request of `hop`. What may change something has to be allowed by credentials of the viewer. */
export const credentialsFor = ({ method, upgrade }: Kind, { server }: Hop): Authorization | undefined =>
  isSafe(method) && upgrade === undefined ? server?.access.authorization : undefined

/** The hop as its server expects it: with the `Host` field of its route, and its credentials. */
export const introduced = (hop: Hop, request: Kind): Hop => {
  const host = hop.server?.access.host
  const authorization = credentialsFor(request, hop)
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
