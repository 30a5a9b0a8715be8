import { NodeHttpClient } from "@effect/platform-node"
import { Clock, Config, Console, Effect, Option } from "effect"
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
  expected: `a URL such as ${DEFAULT_SERVER}, or http://127.0.0.1:3000/media if an application serves Spillway there`,
  parse: (text) =>
    Option.filter(
      Option.fromNullishOr(URL.parse(text)),
      ({ protocol, search }) => /^https?:$/.test(protocol) && search === ""
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

/** The URL of a server without the last slash, such as `http://127.0.0.1:8080`. */
export const baseOf = (server: URL): string => server.href.replace(/\/+$/, "")

/** The URL as the API takes it: a path for a URL at the server, and the URL itself for any other. */
export const toTarget = (server: URL, text: string): string => {
  const base = baseOf(server)
  const href = URL.parse(text)?.href
  return href?.startsWith(`${base}/`) ? href.slice(base.length).replace(/#.*$/, "") : text
}

const adminToken = Config.option(Config.String("SPILLWAY_ADMIN_TOKEN"))

const makeClient = Effect.fnUntraced(function*(server: URL) {
  const token = Option.getOrUndefined(yield* Effect.orDie(adminToken))
  return yield* HttpApiClient.make(SpillwayApi, {
    baseUrl: baseOf(server),
    transformResponse: Effect.timeout(ANSWER_MILLIS),
    transformClient: (client) =>
      token === undefined ? client : HttpClient.mapRequest(client, HttpClientRequest.bearerToken(token))
  })
})

/** The methods of the API. */
export type Client = Effect.Success<ReturnType<typeof makeClient>>

/** What errors of `Client` may have. */
interface ClientFailure {
  readonly _tag?: string
  readonly message?: string
  readonly reason?: { readonly _tag: string; readonly response?: { readonly status: number } }
}

/** Whether asking again won't help: the server refuses, or isn't one of this version. */
export const isLasting = (error: unknown): boolean => {
  const { _tag, reason } = error as ClientFailure
  return _tag === "SchemaError" ||
    (reason?.response !== undefined && reason.response.status < 500 && reason.response.status >= 400)
}

/** One line that says why the server did not do what was asked. */
const explain = (server: URL, hasToken: boolean, error: unknown): string => {
  const { _tag, message, reason } = error as ClientFailure
  const status = reason?.response?.status
  const base = baseOf(server)
  if (reason?._tag === "TransportError") {
    return `no server responds at ${base}; start it, or name another one with --server`
  }
  if (status === 401) {
    return hasToken
      ? `${base} has another admin token than that in SPILLWAY_ADMIN_TOKEN; set the server's`
      : `${base} requires its admin token; set SPILLWAY_ADMIN_TOKEN`
  }
  if (status === 403) {
    return `${base} is available from its own machine only; run the command there, or set SPILLWAY_ADMIN_TOKEN on both`
  }
  if (_tag === "TimeoutError") return `${base} did not respond within ${ANSWER_MILLIS / 1000} s`
  if (status === 404 || _tag === "SchemaError" || reason !== undefined) {
    return `${base} is not a Spillway server of this version (${version})`
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
    Effect.catch((error) =>
      Effect.flatMap(Effect.orDie(adminToken), (token) =>
        Effect.fail(new StartupError({ message: explain(server, Option.isSome(token), error) })))
    )
  )

/** Prints `value` as one line of JSON, or as the text of `describe`, which gets the time too, in milliseconds since 1970. */
export const show = <A>(json: boolean, value: A, describe: (value: A, now: number) => string): Effect.Effect<void> =>
  Effect.flatMap(
    Clock.currentTimeMillis,
    (now) => Console.log(json ? JSON.stringify(value) : describe(value, now))
  )
