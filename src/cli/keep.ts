import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { Purged, PurgeRequest, ResourceSummary } from "../http/admin/api/model.ts"
import { jsonFlag, serverFlag, show, toTarget, urlArgument, withServer } from "./client.ts"
import { StartupError } from "./StartupError.ts"
import { counted, percent, size } from "./text.ts"

/**
 * The commands that pin and purge files of a running server.
 */

const describe = ({ cachedBytes, pinned, size: bytes, url }: ResourceSummary): string =>
  `${pinned ? "pinned" : "not pinned"}: ${url}, ${size(cachedBytes)} (${percent(cachedBytes, bytes)}) cached`

export const pin = Command.make(
  "pin",
  { url: urlArgument, server: serverFlag, json: jsonFlag },
  ({ json, server, url }) =>
    withServer(server, (client) => client.pin({ payload: { url: toTarget(server, url) } })).pipe(
      Effect.flatMap((value) => show(json, value, describe))
    )
).pipe(Command.withDescription("Protect a cached file from eviction, also after restarts"))

export const unpin = Command.make(
  "unpin",
  { url: urlArgument, server: serverFlag, json: jsonFlag },
  ({ json, server, url }) =>
    withServer(server, (client) => client.unpin({ query: { url: toTarget(server, url) } })).pipe(
      Effect.flatMap((value) => show(json, value, describe))
    )
).pipe(Command.withDescription("Allow the eviction of a pinned file again"))

const describePurged = ({ bytes, missing = [], resources }: Purged): string =>
  `${counted(resources, "file")} removed, ${size(bytes)}` +
  (missing.length === 0 ? "" : `; not confirmed by ${missing.join(", ")}`)

/** The exit code of a purge that not all nodes have confirmed, with `--strict`. */
const UNCONFIRMED = 3

/** Fails if a node has not confirmed a purge. */
const confirmed = ({ missing = [] }: Purged): Effect.Effect<void, StartupError> => {
  if (missing.length === 0) return Effect.void
  const message = `the purge is not confirmed by ${missing.join(", ")}, which may still serve what it removes`
  return Effect.fail(new StartupError({ message, exitCode: UNCONFIRMED }))
}

const requestOf = (
  server: URL,
  { all, prefix, url }: {
    readonly all: boolean
    readonly prefix: Option.Option<string>
    readonly url: Option.Option<string>
  }
): PurgeRequest | undefined => {
  const wanted = [
    ...Option.toArray(Option.map(url, (url): PurgeRequest => ({ url: toTarget(server, url) }))),
    ...Option.toArray(Option.map(prefix, (prefix): PurgeRequest => ({ prefix }))),
    ...all ? [{ all: true } satisfies PurgeRequest] : []
  ]
  return wanted.length === 1 ? wanted[0] : undefined
}

export const purge = Command.make("purge", {
  url: Argument.optional(urlArgument),
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription("Files whose URL at the origin starts with this"),
    Flag.optional
  ),
  all: Flag.Boolean("all").pipe(Flag.withDefault(false), Flag.withDescription("All files")),
  strict: Flag.Boolean("strict").pipe(
    Flag.withDefault(false),
    Flag.withDescription("Failure unless all nodes of the fleet confirm")
  ),
  server: serverFlag,
  json: jsonFlag
}, (flags) => {
  const payload = requestOf(flags.server, flags)
  return payload === undefined
    ? Effect.fail(new StartupError({ message: "specify exactly one of URL, --prefix or --all" }))
    : withServer(flags.server, (client) => client.purge({ payload })).pipe(
      Effect.tap((value) => show(flags.json, value, describePurged)),
      Effect.flatMap((value) => flags.strict ? confirmed(value) : Effect.void)
    )
}).pipe(Command.withDescription("Remove cached files; running streams continue from the origin"))
