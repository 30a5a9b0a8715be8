import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, FileSystem, Layer, Path, type PlatformError, type Scope } from "effect"
import { HttpServer, type HttpServerError } from "effect/http"
import type { IncomingMessage } from "node:http"
import { Proxy } from "../http/proxy/Proxy.ts"
import { GuardedServer } from "../http/server/guardedServer.ts"
import { makeOnAnswered } from "../http/server/RequestLog.ts"
import { NodeServer, tellDefects } from "../http/server/Server.ts"
import { ServerConfig } from "../services/config/ServerConfig.ts"
import { NodeName } from "../services/fleet/NodeName.ts"
import type { ResponseMetrics } from "../services/observe/ResponseMetrics.ts"
import { VIEWER_FIELD } from "./messages.ts"

/** A path for a socket in a private directory. Both are removed when the scope closes. */
export const makeSocket: Effect.Effect<
  string,
  PlatformError.PlatformError,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return path.join(yield* fs.makeTempDirectoryScoped({ prefix: "spillway-" }), "owner")
})

/** Takes the viewer's address from the worker's field: the socket has none. A connection carries one request at a time. */
const tellViewer = ({ headers, socket }: IncomingMessage): void => {
  Object.defineProperty(socket, "remoteAddress", { configurable: true, value: headers[VIEWER_FIELD] })
  delete headers[VIEWER_FIELD]
}

/** The owner's server for its workers, at the socket `path`. The workers limit connections and slow clients. */
export const layer = (
  path: string
): Layer.Layer<HttpServer.HttpServer | NodeServer, HttpServerError.ServeError, Proxy | ResponseMetrics> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const { tryReply } = yield* Proxy
      const options = yield* ServerConfig
      const node = new GuardedServer({ ...options, maxConnections: Number.MAX_SAFE_INTEGER }, {
        node: yield* NodeName,
        onConnections: () => {},
        onSurplus: () => {},
        onDefect: tellDefects(yield* Effect.context()),
        onAnswered: yield* makeOnAnswered
      }, tryReply)
      node.on("request", tellViewer).on("checkContinue", tellViewer)
      // The workers have let their responses finish already.
      const server = yield* NodeHttpServer.make(() => node, { path, gracefulShutdownTimeout: "1 second" })
      return Context.make(HttpServer.HttpServer, server).pipe(Context.add(NodeServer, node))
    })
  )
