import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer, type Scope } from "effect"
import { HttpMiddleware, HttpServer, type HttpServerError } from "effect/http"
import { rateLimited } from "../../effects/rateLimited.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { ServerConfig } from "../../services/config/ServerConfig.ts"
import { NodeName } from "../../services/fleet/NodeName.ts"
import { connections, refusals } from "../../services/observe/connections.ts"
import * as Metrics from "../../services/observe/pullMetrics.ts"
import type { ResponseMetrics } from "../../services/observe/ResponseMetrics.ts"
import { LocalUrls } from "../../services/origin/LocalUrls.ts"
import { Readiness } from "../admin/Readiness.ts"
import { SnapshotFeed } from "../admin/SnapshotFeed.ts"
import { Proxy } from "../proxy/Proxy.ts"
import { GuardedServer } from "./guardedServer.ts"
import { logged, makeOnAnswered } from "./RequestLog.ts"
import { withRequestSpan } from "./requestSpan.ts"

/**
 * Where to listen. Port 0 is any free one.
 *
 * @since 0.1.0
 * @category options
 */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * The server of `layerNode`. It sends hits without the platform's request fiber, which costs more than the hit.
 *
 * @since 0.1.0
 * @category services
 */
export class NodeServer
  extends Context.Service<NodeServer, GuardedServer>()("spillway/http/server/Server/NodeServer")
{}

/** How long the end of the program waits for running streams; then they are cut. */
export const DRAIN_TIMEOUT = "10 seconds"

/** What a `GuardedServer` does with defects of its listeners: they are logged. */
export const tellDefects = (context: Context.Context<never>) => (event: string, defect: unknown): void =>
  void Effect.runForkWith(context)(
    Effect.logError("Defect while serving a connection", defect).pipe(Effect.annotateLogs({ event }))
  )

/** Cuts what is open at the end of its scope, and when the process ends: a body without a length must not look whole then. */
const cutAtEnd = (node: GuardedServer): Effect.Effect<void, never, Scope.Scope> => {
  const cut = () => node.closeAllConnections()
  return Effect.acquireRelease(
    Effect.sync(() => void process.on("exit", cut)),
    () =>
      Effect.sync(() => {
        process.off("exit", cut)
        cut()
      })
  )
}

/**
 * A Node HTTP server for Spillway alone, with the bounds of `ServerConfig`. It sends hits in memory by itself, before any other
 * handler sees the request. Closing it lets running responses end, for at most `DRAIN_TIMEOUT`.
 *
 * @example
 * ```ts
 * import { NodeServices } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { Server, Spillway } from "spillway"
 *
 * const server = Server.layerProxy.pipe(
 *   Layer.provide(Server.layerNode({ host: "127.0.0.1", port: 8080 })),
 *   Layer.provide(Spillway.layer({ origins: ["https://media.example.org"] })),
 *   Layer.provide(NodeServices.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNode = (
  { host, port }: Address
): Layer.Layer<HttpServer.HttpServer | NodeServer, HttpServerError.ServeError, Proxy | ResponseMetrics> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const { tryReply } = yield* Proxy
      const options = yield* ServerConfig
      const onAnswered = yield* makeOnAnswered
      const context = yield* Effect.context()
      const warn = rateLimited(
        Effect.annotateLogs(Effect.logWarning("Too many connections: more are refused"), {
          limit: options.maxConnections
        })
      )
      connections.updateUnsafe(0, context)
      refusals.updateUnsafe(0, context)
      const node = new GuardedServer(options, {
        node: yield* NodeName,
        onConnections: (count) => connections.updateUnsafe(count, context),
        onSurplus: () => {
          refusals.updateUnsafe(1, context)
          Effect.runForkWith(context)(warn)
        },
        onDefect: tellDefects(context),
        onAnswered: (response) => {
          if (!response.isRelayed) onAnswered(response)
        }
      }, tryReply)
      yield* Metrics.gauge(
        "spillway_unsent_bytes",
        "Bytes of answers that viewers have not taken yet from this process",
        () => node.unsentBytes()
      )
      const server = yield* NodeHttpServer.make(() => node, { host, port, gracefulShutdownTimeout: DRAIN_TIMEOUT })
      yield* cutAtEnd(node)
      return Context.make(HttpServer.HttpServer, server).pipe(Context.add(NodeServer, node))
    })
  )

/**
 * Serves the proxy on the `HttpServer` in context. Its end begins with a 503 at `/_spillway/ready`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProxy: Layer.Layer<
  never,
  never,
  SnapshotFeed | Proxy | Readiness | HttpServer.HttpServer | LocalUrls
> = Layer
  .effectDiscard(
    Effect.gen(function*() {
      const { handler } = yield* Proxy
      const { drain } = yield* Readiness
      const feed = yield* SnapshotFeed
      const { serveAt } = yield* LocalUrls
      yield* HttpServer.addressFormattedWith((address) => Effect.sync(() => serveAt(address)))
      const observed = yield* withRequestSpan(logged(handler))
      yield* withoutServices(HttpServer.serveEffect(Effect.map(observed, ({ response }) => response)))
      yield* Effect.addFinalizer(() => drain)
      // They go on without end otherwise, and the end of the server waits for them.
      yield* Effect.addFinalizer(() => feed.end)
    })
  ).pipe(Layer.provide(Layer.succeed(HttpMiddleware.TracerDisabledWhen, () => true)))
