import { NodeHttpClient } from "@effect/platform-node"
import { Config, Console, Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { SpillwayApi } from "../http/admin/api/SpillwayApi.ts"
import { one } from "../services/config/makeSetting.ts"
import type { SettingType } from "../services/config/settingTypes.ts"
import { StartupError } from "./StartupError.ts"

/**
 * Talking to a running server.
 */

const DEFAULT_SERVER = "http://127.0.0.1:8080"

/** How long a server may take to answer, in milliseconds: it may have to ask the origin. */
const ANSWER_MILLIS = 60_000

const SERVER: SettingType<URL> = {
  unit: "URL",
  expected: `a URL such as ${DEFAULT_SERVER}`,
  parse: (text) =>
    Option.filter(
      Option.fromNullishOr(URL.parse(text)),
      ({ pathname, protocol, search }) => /^https?:$/.test(protocol) && pathname === "/" && search === ""
    )
}

export const serverFlag = one("server", SERVER, DEFAULT_SERVER, "URL of the server").flag

/** A file, in any of the ways that `toTarget` knows. */
export const urlArgument = Argument.String("url").pipe(
  Argument.withDescription("The URL at the origin, the URL at this server, or the path there")
)

export const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Print what the server says, as one line of JSON")
)

/** A URL as the API takes it: one that is at the server itself is a path there, all others are at an origin. */
export const toTarget = (server: URL, text: string): string => {
  const url = URL.parse(text)
  return url?.origin === server.origin ? url.pathname + url.search : text
}

const adminToken = Config.option(Config.String("SPILLWAY_ADMIN_TOKEN"))

const makeClient = Effect.fnUntraced(function*(server: URL) {
  const token = Option.getOrUndefined(yield* Effect.orDie(adminToken))
  return yield* HttpApiClient.make(SpillwayApi, {
    baseUrl: server.origin,
    transformResponse: Effect.timeout(ANSWER_MILLIS),
    transformClient: (client) =>
      token === undefined ? client : HttpClient.mapRequest(client, HttpClientRequest.bearerToken(token))
  })
})

/** What the API offers. */
export type Client = Effect.Success<ReturnType<typeof makeClient>>

/** In one line, what went wrong between here and the server. */
const explain = (server: URL, error: unknown): string => {
  const { _tag, message, reason } = error as {
    readonly _tag?: string
    readonly message?: string
    readonly reason?: { readonly _tag: string; readonly response?: { readonly status: number } }
  }
  const status = reason?.response?.status
  if (reason?._tag === "TransportError") return `no server answers at ${server.origin}; is it running?`
  if (status === 401) return `${server.origin} wants its admin token: set SPILLWAY_ADMIN_TOKEN`
  if (status === 403) {
    return `${server.origin} is available from its own machine only: run the command there, or start the server with an admin token`
  }
  if (_tag === "TimeoutError") return `${server.origin} does not answer in time`
  if (status === 404 || _tag === "SchemaError" || reason !== undefined) {
    return `what listens at ${server.origin} does not answer like a Spillway of this version`
  }
  return message ?? String(error)
}

/** Does `work` with a client for `server`; a failure is one line. */
export const withServer = <A, E>(
  server: URL,
  work: (client: Client) => Effect.Effect<A, E>
): Effect.Effect<A, StartupError> =>
  makeClient(server).pipe(
    Effect.flatMap(work),
    Effect.provide(NodeHttpClient.layerUndici),
    Effect.mapError((error) => new StartupError({ message: explain(server, error) }))
  )

/** One line of JSON where that is wanted, else what `describe` makes of it. */
export const show = <A>(json: boolean, value: A, describe: (value: A) => string): Effect.Effect<void> =>
  Console.log(json ? JSON.stringify(value) : describe(value))
