import { Clock, Effect, Option, Redacted, Schema } from "effect"
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import type { AwsKeys, AwsProfile } from "../../../domain/OriginAccess.ts"
import { OriginFault } from "../../../domain/OriginFault.ts"

/** Keys, and how long they are used before they are read again, in milliseconds. */
export interface CurrentKeys {
  readonly keys: AwsKeys
  readonly lasting: number
}

/** How long the keys in a file are used before it is read again, in milliseconds. */
const REREAD_MILLIS = 60_000

/** How long before their end keys are replaced, and how soon after they were printed at most, in milliseconds. */
const RENEW_MILLIS = 5 * 60_000
const PRINTED_MILLIS = 10_000

/** How long a credentials process may take, in milliseconds. */
const PROCESS_MILLIS = 10_000

/** How much it may print, in bytes. */
const PROCESS_BYTES = 64 * 1024

/** What a credentials process prints: the format of AWS, version 1. */
const Printed = Schema.fromJsonString(Schema.Struct({
  Version: Schema.Literal(1),
  AccessKeyId: Schema.NonEmptyString,
  SecretAccessKey: Schema.NonEmptyString,
  SessionToken: Schema.optionalKey(Schema.String),
  Expiration: Schema.optionalKey(Schema.String)
}))

/** The settings of the section `[profile]` of a file in AWS's format. */
export const settingsOf = (text: string, profile: string): Readonly<Record<string, string>> => {
  const settings: Record<string, string> = {}
  let isInside = false
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*(?:profile\s+)?([^\]]*?)\s*\]/.exec(line)?.[1]
    if (section !== undefined) isInside = section === profile
    const [, name, value] = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (isInside && name !== undefined) settings[name] = value!
  }
  return settings
}

const keysOf = (accessKeyId: string, secretAccessKey: string, sessionToken: string | undefined): AwsKeys => ({
  _tag: "Keys",
  accessKeyId,
  secretAccessKey: Redacted.make(secretAccessKey),
  ...(sessionToken !== undefined && { sessionToken: Redacted.make(sessionToken) })
})

// Neither what the file has nor what the process prints may be in an error.
const unreadable = () => new OriginFault("NO_CREDENTIALS")

const printedBy = (command: string): Effect.Effect<CurrentKeys, OriginFault> =>
  Effect.tryPromise({
    try: (signal) =>
      promisify(execFile)("/bin/sh", ["-c", command], {
        signal,
        timeout: PROCESS_MILLIS,
        maxBuffer: PROCESS_BYTES,
        encoding: "utf8"
      }),
    catch: unreadable
  }).pipe(
    Effect.flatMap(({ stdout }) => Effect.mapError(Schema.decodeEffect(Printed)(stdout), unreadable)),
    Effect.flatMap(({ AccessKeyId, Expiration, SecretAccessKey, SessionToken }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const expires = Expiration === undefined ? Number.NaN : Date.parse(Expiration)
        return {
          keys: keysOf(AccessKeyId, SecretAccessKey, SessionToken),
          lasting: Number.isNaN(expires)
            ? Number.POSITIVE_INFINITY
            : Math.max(PRINTED_MILLIS, expires - now - RENEW_MILLIS)
        }
      })
    )
  )

/** The keys that a profile has now: those in its file, or those that the process prints that it names as `credential_process`. */
export const readProfile = Effect.fnUntraced(function*({ file, profile }: AwsProfile) {
  const text = yield* Effect.tryPromise({ try: () => readFile(file, "utf8"), catch: unreadable })
  const settings = settingsOf(text, profile)
  const id = settings["aws_access_key_id"]
  const secret = settings["aws_secret_access_key"]
  if (id !== undefined && secret !== undefined) {
    return { keys: keysOf(id, secret, settings["aws_session_token"]), lasting: REREAD_MILLIS } satisfies CurrentKeys
  }
  const command = Option.fromNullishOr(settings["credential_process"])
  return yield* Option.match(command, { onNone: () => Effect.fail(unreadable()), onSome: printedBy })
})
