import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { PurgeRequest, ResourceSummary } from "../http/admin/api/model.ts"
import { jsonFlag, serverFlag, show, toTarget, urlArgument, withServer } from "./client.ts"
import { StartupError } from "./StartupError.ts"
import { counted, percent, size } from "./text.ts"

/**
 * Commands that change what a running server keeps.
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
).pipe(Command.withDescription("Keep a cached file from being evicted, over restarts as well"))

export const unpin = Command.make(
  "unpin",
  { url: urlArgument, server: serverFlag, json: jsonFlag },
  ({ json, server, url }) =>
    withServer(server, (client) => client.unpin({ query: { url: toTarget(server, url) } })).pipe(
      Effect.flatMap((value) => show(json, value, describe))
    )
).pipe(Command.withDescription("Let a pinned file be evicted again"))

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
    Flag.withDescription("All files whose URL at the origin begins with this"),
    Flag.optional
  ),
  all: Flag.Boolean("all").pipe(Flag.withDefault(false), Flag.withDescription("Everything")),
  server: serverFlag,
  json: jsonFlag
}, (flags) => {
  const payload = requestOf(flags.server, flags)
  return payload === undefined
    ? Effect.fail(new StartupError({ message: "purge what? Give one of a URL, --prefix and --all" }))
    : withServer(flags.server, (client) => client.purge({ payload })).pipe(
      Effect.flatMap((value) =>
        show(flags.json, value, ({ bytes, resources }) => `${counted(resources, "file")} removed, ${size(bytes)}`)
      )
    )
}).pipe(Command.withDescription("Remove what is cached; running streams go on from the origin"))
