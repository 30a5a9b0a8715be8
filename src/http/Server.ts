import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpServer } from "effect/http"
import { createServer } from "node:http"
import { Proxy } from "./Proxy.ts"

/** Where to listen. Port 0 is any free one. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** How long the end of the program waits for running streams; then they are cut. */
const DRAIN_TIMEOUT = "10 seconds"

/** How long an idle connection is kept for the viewer's next request, in milliseconds. */
const KEEP_ALIVE_MILLIS = 65_000

/**
 * A server to which a request that offers an upgrade (as `curl --http2` does) is a request like any other: Node takes it for
 * one as long as nobody listens for upgrades, which the platform does.
 */
const createServerWithoutUpgrades = () => {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MILLIS })
  server.on("newListener", (event, listener) => {
    if (event === "upgrade") queueMicrotask(() => server.off("upgrade", listener))
  })
  return server
}

/** A Node HTTP server. Closing it lets running responses end, for at most `DRAIN_TIMEOUT`. */
export const layerNode = ({ host, port }: Address) =>
  NodeHttpServer.layerServer(createServerWithoutUpgrades, { host, port, gracefulShutdownTimeout: DRAIN_TIMEOUT })

/** Serves `origin` through the proxy on the `HttpServer` in context. */
export const layerProxy = (origin: URL): Layer.Layer<never, never, Proxy | HttpServer.HttpServer> =>
  Layer.unwrap(Effect.map(Proxy, (proxy) => HttpServer.serve(proxy.to(origin))))
