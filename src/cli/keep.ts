import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { Purged, PurgeRequest, PurgeState, ResourceSummary } from "../http/admin/api/model.ts"
import { type Client, jsonFlag, serverFlag, show, toTarget, urlArgument, withServer } from "./client.ts"
import { invalidInvocation, StartupError } from "./StartupError.ts"
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

/** The interval between two requests for the progress, in milliseconds. */
const POLL_MILLIS = 250

/** What the server has done, and what it has removed if the command waited for that. */
interface Outcome extends Purged, Partial<Pick<PurgeState, "bytes" | "resources">> {}

const describePurged = ({ bytes, missing = [], resources }: Outcome): string =>
  (resources === undefined || bytes === undefined
    ? "purged; files are removed in the background"
    : `${counted(resources, "file")} removed, ${size(bytes)}`) +
  (missing.length === 0 ? "" : `; not confirmed by ${missing.join(", ")}`)

/** The exit code of a purge that not all nodes have confirmed, with `--strict`. */
const UNCONFIRMED = 3

/** Fails if a node has not confirmed a purge. */
const confirmed = ({ missing = [] }: Purged): Effect.Effect<void, StartupError> => {
  if (missing.length === 0) return Effect.void
  const message = `the purge is not confirmed by ${missing.join(", ")}, which may still serve what it removes`
  return Effect.fail(new StartupError({ message, exitCode: UNCONFIRMED }))
}

/** What is purged. A URL with `*` at its end is a prefix. */
const requestOf = (
  server: URL,
  { all, prefix, tag, url }: {
    readonly all: boolean
    readonly prefix: Option.Option<string>
    readonly tag: Option.Option<string>
    readonly url: Option.Option<string>
  }
): PurgeRequest | undefined => {
  const ofUrl = (text: string): PurgeRequest =>
    text.endsWith("*") ? { prefix: toTarget(server, text.slice(0, -1)) } : { url: toTarget(server, text) }
  const wanted = [
    ...Option.toArray(Option.map(url, ofUrl)),
    ...Option.toArray(Option.map(prefix, (prefix): PurgeRequest => ({ prefix }))),
    ...Option.toArray(Option.map(tag, (tag): PurgeRequest => ({ tag }))),
    ...all ? [{ all: true } satisfies PurgeRequest] : []
  ]
  return wanted.length === 1 ? wanted[0] : undefined
}

/** Waits until the server has removed the files of a purge. A purge that is no longer listed is part of a later one. */
const removed = Effect.fnUntraced(function*(client: Client, purged: Purged) {
  for (;;) {
    const { purges } = yield* client.purges()
    const found = purges.find(({ id }) => id === purged.id)
    if (found === undefined || found.state === "done") {
      return { ...purged, resources: found?.resources ?? 0, bytes: found?.bytes ?? 0 } satisfies Outcome
    }
    yield* Effect.sleep(POLL_MILLIS)
  }
})

export const purge = Command.make("purge", {
  url: Argument.optional(
    Argument.String("url").pipe(
      Argument.withDescription(
        "The URL at the origin, or the URL or path at the server; with * at its end, all that begin so"
      )
    )
  ),
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription("Files whose URL at the origin starts with this"),
    Flag.optional
  ),
  tag: Flag.String("tag").pipe(
    Flag.withDescription("Files with this tag in Surrogate-Key or Cache-Tag"),
    Flag.optional
  ),
  all: Flag.Boolean("all").pipe(Flag.withDefault(false), Flag.withDescription("All files")),
  strict: Flag.Boolean("strict").pipe(
    Flag.withDefault(false),
    Flag.withDescription("Failure unless all nodes of the fleet confirm")
  ),
  soft: Flag.Boolean("soft").pipe(
    Flag.withDefault(false),
    Flag.withDescription("Mark as stale: may be served while the origin is asked, or fails")
  ),
  wait: Flag.Boolean("wait").pipe(
    Flag.withDefault(false),
    Flag.withDescription("Wait until the files are removed")
  ),
  server: serverFlag,
  json: jsonFlag
}, (flags) => {
  const request = requestOf(flags.server, flags)
  if (request === undefined) {
    return Effect.fail(invalidInvocation("specify exactly one of URL, --prefix, --tag or --all"))
  }
  const payload: PurgeRequest = flags.soft ? { ...request, soft: true } : request
  return withServer(flags.server, (client) =>
    Effect.flatMap(
      client.purge({ payload }),
      (purged): Effect.Effect<Outcome, unknown> => flags.wait ? removed(client, purged) : Effect.succeed(purged)
    )).pipe(
      Effect.tap((value) => show(flags.json, value, describePurged)),
      Effect.flatMap((value) => flags.strict ? confirmed(value) : Effect.void)
    )
}).pipe(Command.withDescription("Make cached files out of date; running streams continue from the origin"))
