import { ByteSize, Context, Effect, Layer, type Scope } from "effect"
import { HttpIncomingMessage, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiBuilder, HttpApiMiddleware, OpenApi } from "effect/http-api"
import * as Configuring from "./configuring.ts"
import { BadRequest } from "./errors.ts"
import * as Inspection from "./inspection.ts"
import * as Keeping from "./keeping.ts"
import { API_PATH, Requests, SpillwayApi } from "./SpillwayApi.ts"
import * as Warming from "./warming.ts"

type Response = HttpServerResponse.HttpServerResponse

/** `SpillwayApi` as a handler of requests below `API_PATH`. Whom it answers is for `AdminGuard` to say. */
export class ControlApi extends Context.Service<ControlApi, {
  /** Every error is answered with `{ message }`. */
  readonly answer: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<Response, never, Scope.Scope>
}>()("spillway/http/admin/api/ControlApi") {
  static readonly layer = Layer.effect(ControlApi, Effect.suspend(() => make))
}

/** How long the body of a request may be. */
const MAX_BODY = ByteSize.kibibytes(64)

const MAX_BODY_BYTES = ByteSize.toNumberUnsafe(MAX_BODY)

const headers = { "cache-control": "no-store" }

const refused = (status: number, message: string, more: Record<string, string> = {}): Response =>
  HttpServerResponse.jsonUnsafe({ message }, { status, headers: { ...headers, ...more } })

const tooLong = refused(413, `The body may have ${MAX_BODY_BYTES} bytes`, { connection: "close" })

const withBody = new Set(["POST", "PUT", "PATCH"])

/** The methods that each path takes. */
const methods = Object.entries(OpenApi.fromApi(SpillwayApi).paths).map(([path, item]) => ({
  path: new RegExp(`^${path.replace(/\{[^}]*\}/g, "[^/]+")}$`),
  allow: Object.keys(item).map((method) => method.toUpperCase()).join(", ")
}))

/** What no endpoint is for. */
const notFound = (url: string): Response => {
  const path = url.split("?", 1)[0]!
  const known = methods.find((one) => one.path.test(path))
  return known === undefined
    ? refused(404, `There is nothing at ${path}; see ${API_PATH}/openapi.json`)
    : refused(405, `Use ${known.allow} here`, { allow: known.allow })
}

const Described = HttpApiMiddleware.layerSchemaErrorTransform(
  Requests,
  (error) => Effect.fail(new BadRequest({ message: error.cause.message }))
)

const Routes = HttpApiBuilder.layer(SpillwayApi, { openapiPath: `${API_PATH}/openapi.json` }).pipe(
  Layer.provide([Inspection.layer, Keeping.layer, Warming.layer, Configuring.layer]),
  Layer.provide(Described),
  // Nothing of the API is a file.
  Layer.provide(HttpServer.layerServices)
)

const make = Effect.gen(function*() {
  const routes = yield* HttpRouter.toHttpEffect(Routes)

  /** Reads the body, which is remembered with the request: why it is refused. */
  const refusalOf = ({ headers, method, text }: HttpServerRequest.HttpServerRequest) => {
    if (!withBody.has(method)) return Effect.undefined
    const type = headers["content-type"]?.split(";", 1)[0]!.trim().toLowerCase() ?? "application/json"
    if (type !== "application/json") return Effect.succeed(refused(415, "Send JSON, as application/json"))
    if (Number(headers["content-length"] ?? 0) > MAX_BODY_BYTES) return Effect.succeed(tooLong)
    return Effect.match(text, { onFailure: () => tooLong, onSuccess: () => undefined })
  }

  return ControlApi.of({
    answer: (request) =>
      Effect.suspend(() => refusalOf(request)).pipe(
        Effect.flatMap((refusal) => refusal === undefined ? routes : Effect.succeed(refusal)),
        Effect.catch((error) =>
          error.reason._tag === "RouteNotFound"
            ? Effect.succeed(notFound(request.url))
            : Effect.as(Effect.logError("The control API failed", error), refused(500, "Internal error"))
        ),
        Effect.map(HttpServerResponse.setHeaders(headers)),
        Effect.provideService(HttpServerRequest.HttpServerRequest, request),
        Effect.provideService(HttpIncomingMessage.MaxBodySize, MAX_BODY)
      )
  })
})
