import type { Authorization } from "../../domain/OriginAccess.ts"
import { defaultPolicy, type FieldChanges, type RouteOrigin, type RoutePolicy } from "../../domain/RoutePolicy.ts"
import { SECRET_TEXT } from "./makeSetting.ts"
import * as Type from "./settingTypes.ts"
import type { WrittenValue } from "./writtenValues.ts"

/**
 * What the section of a route would say that an application has made in code: its values that aren't defaults, without secrets.
 */

const value = (name: string, text: string | undefined): ReadonlyArray<WrittenValue> =>
  text === undefined ? [] : [{ name, values: [text] }]

const list = (name: string, values: ReadonlyArray<string>): ReadonlyArray<WrittenValue> =>
  values.length === 0 ? [] : [{ name, values }]

/** Set fields may have secrets. */
const changes = (name: string, { remove, set }: FieldChanges): ReadonlyArray<WrittenValue> => [
  ...Object.keys(set).flatMap((field) => value(`${name}.set.${field}`, SECRET_TEXT)),
  ...list(`${name}.remove`, remove)
]

const duration = (millis: number | undefined): string | undefined =>
  millis === undefined ? undefined : Type.DURATION.print!(millis)

/** The values of a policy, besides its origins. */
export const policyValues = (policy: RoutePolicy): ReadonlyArray<WrittenValue> => {
  const defaults = defaultPolicy(policy.origins[0].url)
  const unlessDefault = <Key extends keyof RoutePolicy>(
    name: string,
    key: Key,
    print: (value: RoutePolicy[Key]) => string
  ) => value(name, policy[key] === defaults[key] ? undefined : print(policy[key]))
  return [
    ...value("check.path", policy.check?.path),
    ...value("check.every", duration(policy.check?.every)),
    ...list("key.fields", policy.keyFields),
    ...changes("request-fields", policy.requestFields),
    ...changes("response-fields", policy.responseFields),
    ...unlessDefault("redirects", "redirects", String),
    ...unlessDefault("forwarded", "forwarded", String),
    ...unlessDefault("upgrades", "upgrades", String),
    ...unlessDefault("long-polls", "longPolls", String),
    ...value("first-byte-timeout", duration(policy.firstByteTimeout)),
    ...value("silence-timeout", duration(policy.silenceTimeout)),
    ...unlessDefault("read-ahead", "readAhead", Type.READ_AHEAD.print!),
    ...unlessDefault("finish", "finish", String),
    ...unlessDefault("parallel", "parallel", String),
    ...unlessDefault("hedge-after", "hedgeAfter", Type.HEDGE_AFTER.print!)
  ]
}

const secret = (name: string, held: unknown): ReadonlyArray<WrittenValue> =>
  value(name, held === undefined ? undefined : SECRET_TEXT)

const credentials = (authorization: Authorization): ReadonlyArray<WrittenValue> => {
  switch (authorization._tag) {
    case "Basic":
      return [...secret("user", authorization.user), ...secret("password", authorization.password)]
    case "Bearer":
      return secret("token", authorization.token)
    case "SigV4": {
      const { keys, region } = authorization
      return [
        ...value("region", region),
        ...keys._tag === "Profile"
          ? [...value("profile", keys.profile), ...value("credentials-file", keys.file)]
          : [
            ...secret("access-key", keys.accessKeyId),
            ...secret("secret-key", keys.secretAccessKey),
            ...secret("session-token", keys.sessionToken)
          ]
      ]
    }
  }
}

/** The values of one origin of a policy, besides its URL. Weights mean nothing if origins are asked in order. */
export const originValues = (
  { access, weight }: RouteOrigin,
  { choice }: Pick<RoutePolicy, "choice">
): ReadonlyArray<WrittenValue> => {
  const { authorization, host, tls = {} } = access
  return [
    ...value("weight", choice === "weighted" ? String(weight) : undefined),
    ...value("host", host),
    ...(authorization === undefined ? [] : credentials(authorization)),
    ...secret("ca", tls.ca),
    ...secret("certificate", tls.certificate),
    ...secret("certificate-key", tls.key),
    ...value("server-name", tls.serverName)
  ]
}
