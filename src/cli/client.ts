import { NodeHttpClient } from "@effect/platform-node"
import { Config, Console, Effect, Option } from "effect"
import { Argument, Flag } from "effect/cli"
import { HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { SpillwayApi } from "../http/admin/api/SpillwayApi.ts"
import { one } from "../services/config/makeSetting.ts"
import type { SettingType } from "../services/config/settingTypes.ts"
import { version } from "../version.ts"
import { StartupError } from "./StartupError.ts"

/**
 * The client of the control API.
 */

const DEFAULT_SERVER = "http://127.0.0.1:8080"

/** The time that a server has to respond, in milliseconds: it may have to ask the origin. */
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

/** A file, in any of the forms that `toTarget` accepts. */
export const urlArgument = Argument.String("url").pipe(
  Argument.withDescription("The URL at the origin, or the URL or path at the server")
)

export const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Print one line of JSON")
)

/** The URL as the API takes it: a path for a URL at the server, and the URL itself for any other. */
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

/** The methods of the API. */
export type Client = Effect.Success<ReturnType<typeof makeClient>>

/** One line that says why the server did not do what was asked. */
const explain = (server: URL, error: unknown): string => {
  const { _tag, message, reason } = error as {
    readonly _tag?: string
    readonly message?: string
    readonly reason?: { readonly _tag: string; readonly response?: { readonly status: number } }
  }
  const status = reason?.response?.status
  if (reason?._tag === "TransportError") {
    return `no server responds at ${server.origin}; start it, or name another one with --server`
  }
  if (status === 401) return `${server.origin} requires its admin token; set SPILLWAY_ADMIN_TOKEN`
  if (status === 403) {
    return `${server.origin} is available from its own machine only; run the command there, or set SPILLWAY_ADMIN_TOKEN on both`
  }
  if (_tag === "TimeoutError") return `${server.origin} did not respond within ${ANSWER_MILLIS / 1000} s`
  if (status === 404 || _tag === "SchemaError" || reason !== undefined) {
    return `${server.origin} is not a Spillway server of this version (${version})`
  }
  return message ?? String(error)
}

/** Runs `work` with a client for `server`. Every failure is one line. */
export const withServer = <A, E>(
  server: URL,
  work: (client: Client) => Effect.Effect<A, E>
): Effect.Effect<A, StartupError> =>
  makeClient(server).pipe(
    Effect.flatMap(work),
    Effect.provide(NodeHttpClient.layerUndici),
    Effect.mapError((error) => new StartupError({ message: explain(server, error) }))
  )

/** Prints `value` as one line of JSON, or as the text of `describe`. */
export const show = <A>(json: boolean, value: A, describe: (value: A) => string): Effect.Effect<void> =>
  Console.log(json ? JSON.stringify(value) : describe(value))
