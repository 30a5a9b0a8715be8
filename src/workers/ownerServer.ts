import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, FileSystem, Layer, Path, type PlatformError, type Scope } from "effect"
import { HttpServer, type HttpServerError } from "effect/http"
import type { IncomingMessage } from "node:http"
import { Proxy } from "../http/proxy/Proxy.ts"
import { GuardedServer } from "../http/server/guardedServer.ts"
import { exchangeOf, RequestLog } from "../http/server/RequestLog.ts"
import { NodeServer, tellDefects } from "../http/server/Server.ts"
import { ServerConfig } from "../services/config/ServerConfig.ts"
import { VIEWER_FIELD } from "./messages.ts"

/** A name for a socket in a directory that nobody else may enter. Both are removed when the scope closes. */
export const makeSocket: Effect.Effect<
  string,
  PlatformError.PlatformError,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return path.join(yield* fs.makeTempDirectoryScoped({ prefix: "spillway-" }), "owner")
})

/** The socket shows nothing about the viewer, so the worker reports it. There is one viewer at a time on it. */
const tellViewer = ({ headers, socket }: IncomingMessage): void => {
  Object.defineProperty(socket, "remoteAddress", { configurable: true, value: headers[VIEWER_FIELD] })
  delete headers[VIEWER_FIELD]
}

/** Where the owner answers what its workers hand on, at `path`. They bound how many requests come in, and how slowly. */
export const layer = (
  path: string
): Layer.Layer<HttpServer.HttpServer | NodeServer, HttpServerError.ServeError, Proxy> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const { tryReply } = yield* Proxy
      const options = yield* ServerConfig
      const log = yield* RequestLog
      const node = new GuardedServer({ ...options, maxConnections: Number.MAX_SAFE_INTEGER }, {
        onConnections: () => {},
        onSurplus: () => {},
        onDefect: tellDefects(yield* Effect.context()),
        onAnswered: log === undefined ? undefined : (response) => log(exchangeOf(response))
      }, tryReply)
      node.on("request", tellViewer).on("checkContinue", tellViewer)
      // The workers have waited for their viewers already.
      const server = yield* NodeHttpServer.make(() => node, { path, gracefulShutdownTimeout: "1 second" })
      return Context.make(HttpServer.HttpServer, server).pipe(Context.add(NodeServer, node))
    })
  )
