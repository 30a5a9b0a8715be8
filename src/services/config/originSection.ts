import { Effect, Option, Redacted, Schema, SchemaGetter, SchemaIssue } from "effect"
import { createPrivateKey, X509Certificate } from "node:crypto"
import { homedir } from "node:os"
import { join } from "node:path"
import { bucketIn, bucketUrl } from "../../domain/bucketUrl.ts"
import type { Authorization, AwsKeys, AwsProfile, OriginAccess, OriginTls } from "../../domain/OriginAccess.ts"
import type { RouteOrigin } from "../../domain/RoutePolicy.ts"
import { redactedOf, valueOf } from "./fileValues.ts"
import * as RouteType from "./routeTypes.ts"
import { SecretSource } from "./SecretSource.ts"
import { optional, required, section } from "./section.ts"
import * as Type from "./settingTypes.ts"

/**
 * An origin of a route in a configuration file, as a table: its URL, and how it is reached.
 */

const OriginKeys = section({
  url: required(
    valueOf(RouteType.ORIGIN_OR_BUCKET),
    "URL that paths are appended to: that of a server, a directory such as `file:///mnt/films`, or a bucket such as `s3://films/old`"
  ),
  weight: optional(
    valueOf(Type.WEIGHT),
    "Share of the files that come from this origin, compared with the others of the list; 1 if omitted, 0 if it only replaces others that fail"
  ),
  host: optional(valueOf(RouteType.HOST_FIELD), "`Host` field of requests, instead of the host of the URL"),
  user: optional(redactedOf(RouteType.USER), "User for HTTP basic authentication"),
  password: optional(redactedOf(RouteType.PASSWORD), "Password of this user"),
  token: optional(redactedOf(RouteType.BEARER), "Token for HTTP bearer authentication"),
  ca: optional(
    redactedOf(RouteType.CERTIFICATES),
    "Certificates of the authorities that may sign the server's, in PEM, such as `${file:ca.pem}`; those that Node trusts if omitted"
  ),
  certificate: optional(redactedOf(RouteType.CERTIFICATES), "Client certificate, in PEM"),
  "certificate-key": optional(redactedOf(RouteType.PRIVATE_KEY), "Key of the client certificate, in PEM"),
  "server-name": optional(
    valueOf(RouteType.SERVER_NAME),
    "Name that TLS asks for and that the server's certificate has to have, instead of the host of the URL"
  ),
  region: optional(
    valueOf(RouteType.REGION),
    "Region of a bucket; `AWS_REGION`, `AWS_DEFAULT_REGION` or `us-east-1` if omitted"
  ),
  endpoint: optional(
    valueOf(RouteType.ENDPOINT),
    "URL of the S3 server that has a bucket; Amazon's of the region if omitted"
  ),
  "path-style": optional(
    valueOf(Type.BOOLEAN),
    "Whether a bucket is named in the path and not in the host; `true` with `endpoint` or a name with dots, if omitted"
  ),
  "access-key": optional(redactedOf(Type.TOKEN), "Id of the key for a bucket; see [Buckets](#buckets) if omitted"),
  "secret-key": optional(redactedOf(Type.TOKEN), "Secret of this key"),
  "session-token": optional(redactedOf(Type.TOKEN), "Session token of this key, if it is temporary"),
  profile: optional(
    valueOf(RouteType.PROFILE),
    "Profile of the file with credentials for a bucket; `AWS_PROFILE` or `default` if omitted"
  ),
  "credentials-file": optional(
    valueOf(Type.FILE),
    "File with credentials for a bucket; `AWS_SHARED_CREDENTIALS_FILE` or `~/.aws/credentials` if omitted"
  )
})

type OriginKeys = typeof OriginKeys.Type

/** What the table of an origin says. */
export interface OriginEntry extends Omit<RouteOrigin, "weight"> {
  readonly weight: number | undefined
}

const invalid = (message: string) => new SchemaIssue.InvalidValue({ message })

/** The keys that are for some origins only. */
const HTTP_KEYS = ["host", "user", "password", "token"] as const
const TLS_KEYS = ["ca", "certificate", "certificate-key", "server-name"] as const
const BUCKET_KEYS = [
  "region",
  "endpoint",
  "path-style",
  "access-key",
  "secret-key",
  "session-token",
  "profile",
  "credentials-file"
] as const

/** The keys that must be together. */
const PAIRS = [["user", "password"], ["certificate", "certificate-key"], ["access-key", "secret-key"]] as const

/** What is wrong with keys that are right by themselves. */
const contradictionOf = (keys: OriginKeys): string | undefined => {
  const { endpoint, url } = keys
  const has = (name: keyof OriginKeys) => keys[name] !== undefined
  const [scheme] = url.protocol.split(":")
  const isSecure = (endpoint ?? url).protocol === "https:" || (scheme === "s3" && endpoint === undefined)
  const wrong = scheme === "s3"
    ? (["user", "password", "token"] as const).find(has)
    : [...BUCKET_KEYS, ...(scheme === "file" ? HTTP_KEYS : [])].find(has)
  if (wrong !== undefined) return `${wrong} isn't possible with a URL that begins with ${scheme}:`
  const needsTls = TLS_KEYS.find(has)
  if (needsTls !== undefined && !isSecure) return `${needsTls} is possible with TLS only`
  const alone = PAIRS.find(([first, second]) => has(first) !== has(second))
  if (alone !== undefined) return `${alone.join(" and ")} belong together`
  if (has("token") && has("user")) return "expected either token or user and password, not both"
  return has("session-token") && !has("access-key") ? "session-token belongs to access-key and secret-key" : undefined
}

const tlsOf = (keys: OriginKeys): OriginTls | undefined => {
  if (!TLS_KEYS.some((name) => keys[name] !== undefined)) return undefined
  const { ca, certificate, "certificate-key": key, "server-name": serverName } = keys
  return {
    ...(ca !== undefined && { ca: Redacted.value(ca) }),
    ...(certificate !== undefined && { certificate: Redacted.value(certificate) }),
    ...(key !== undefined && { key }),
    ...(serverName !== undefined && { serverName })
  }
}

/** Whether the key is that of the certificate. */
const isPair = ({ certificate, key }: OriginTls): boolean =>
  certificate === undefined || key === undefined ||
  new X509Certificate(certificate).checkPrivateKey(createPrivateKey(Redacted.value(key)))

const variable = Effect.fnUntraced(function*(...names: ReadonlyArray<string>) {
  const { read } = yield* SecretSource
  for (const name of names) {
    const value = yield* Effect.option(read({ kind: "env", name }))
    if (Option.isSome(value)) return value.value
  }
  return undefined
})

/** Where the keys for a bucket come from: the table, or else Amazon's usual variables, or else the file with credentials. */
const keysOf = Effect.fnUntraced(
  function*(keys: OriginKeys): Effect.fn.Return<AwsKeys | AwsProfile, never, SecretSource> {
    const { "access-key": id, "credentials-file": file, profile, "secret-key": secret, "session-token": token } = keys
    if (id !== undefined && secret !== undefined) {
      return { _tag: "Keys", accessKeyId: Redacted.value(id), secretAccessKey: secret, sessionToken: token }
    }
    const accessKeyId = yield* variable("AWS_ACCESS_KEY_ID")
    const secretAccessKey = yield* variable("AWS_SECRET_ACCESS_KEY")
    if (file === undefined && profile === undefined && accessKeyId !== undefined && secretAccessKey !== undefined) {
      const sessionToken = yield* variable("AWS_SESSION_TOKEN")
      return {
        _tag: "Keys",
        accessKeyId,
        secretAccessKey: Redacted.make(secretAccessKey),
        sessionToken: sessionToken === undefined ? undefined : Redacted.make(sessionToken)
      }
    }
    return {
      _tag: "Profile",
      file: file ?? (yield* variable("AWS_SHARED_CREDENTIALS_FILE")) ?? join(homedir(), ".aws", "credentials"),
      profile: profile ?? (yield* variable("AWS_PROFILE")) ?? "default"
    }
  }
)

/** The URL of a bucket, and what signs its requests. */
const bucketOf = Effect.fnUntraced(function*(keys: OriginKeys) {
  const { endpoint, "path-style": pathStyle, url } = keys
  const region = keys.region ?? (yield* variable("AWS_REGION", "AWS_DEFAULT_REGION")) ?? "us-east-1"
  const authorization: Authorization = { _tag: "SigV4", region, keys: yield* keysOf(keys) }
  return { url: bucketUrl({ ...bucketIn(url), region, endpoint, pathStyle }), authorization }
})

const authorizationOf = ({ password, token, user }: OriginKeys): Authorization | undefined => {
  if (token !== undefined) return { _tag: "Bearer", token }
  return user === undefined || password === undefined
    ? undefined
    : { _tag: "Basic", user: Redacted.value(user), password }
}

const originOf = Effect.fnUntraced(function*(
  keys: OriginKeys
): Effect.fn.Return<OriginEntry, SchemaIssue.Issue, SecretSource> {
  const contradiction = contradictionOf(keys)
  if (contradiction !== undefined) return yield* Effect.fail(invalid(contradiction))
  const tls = tlsOf(keys)
  if (tls !== undefined && !isPair(tls)) {
    return yield* Effect.fail(invalid("certificate-key is not the key of certificate"))
  }
  const { url, authorization } = keys.url.protocol === "s3:"
    ? yield* bucketOf(keys)
    : { url: keys.url, authorization: authorizationOf(keys) }
  const access: OriginAccess = {
    ...(tls !== undefined && { tls }),
    ...(keys.host !== undefined && { host: keys.host }),
    ...(authorization !== undefined && { authorization })
  }
  return { url, weight: keys.weight, access }
})

/** The table of an origin. */
export const OriginSection = OriginKeys.pipe(
  Schema.decodeTo(Schema.declare<OriginEntry>((value): value is OriginEntry => value !== undefined), {
    decode: SchemaGetter.transformEffect(originOf),
    encode: SchemaGetter.forbidden(() => "a configuration is not written")
  })
)
