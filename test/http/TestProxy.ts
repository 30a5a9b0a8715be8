import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer, type Scope } from "effect"
import { HttpServer } from "effect/http"
import { createServer, type IncomingHttpHeaders, request as httpRequest } from "node:http"
import { connect, type Socket } from "node:net"
import { makeRoute } from "../../src/domain/Route.ts"
import { defaultPolicy, type RoutePolicy } from "../../src/domain/RoutePolicy.ts"
import { Proxy } from "../../src/http/proxy/Proxy.ts"
import { GuardedServer } from "../../src/http/server/guardedServer.ts"
import * as Server from "../../src/http/server/Server.ts"
import { CacheConfig, type CacheOptions } from "../../src/services/config/CacheConfig.ts"
import { OriginConfig, type OriginOptions } from "../../src/services/config/OriginConfig.ts"
import { ServerConfig, type ServerOptions } from "../../src/services/config/ServerConfig.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../src/services/disk/DirectoryLock.ts"
import { DiskMonitor } from "../../src/services/disk/DiskMonitor.ts"
import type { ResponseMetrics } from "../../src/services/observe/ResponseMetrics.ts"
import { Origin } from "../../src/services/origin/Origin.ts"
import { OriginResolver } from "../../src/services/origin/OriginResolver.ts"
import { Spillway } from "../../src/spillway.ts"
import { makeTestOrigin, type TestOrigin } from "../support/TestOrigin.ts"

export const CHUNK_BYTES = 64 * 1024

/** An answer as a viewer sees it. */
export interface Answer {
  readonly status: number
  /** As `node:http` joins them. */
  readonly headers: IncomingHttpHeaders
  /** Each field line on its own, names in lower case. */
  readonly lines: ReadonlyArray<readonly [string, string]>
  readonly body: Buffer
}

export interface Ask {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** Spillway over a real socket, with a store in memory, before a real origin. */
export interface TestProxy {
  readonly url: string
  readonly port: number
  readonly origin: TestOrigin
  /** Sends `path` as it is. Fails when the answer is cut. */
  readonly ask: (path: string, options?: Ask) => Effect.Effect<Answer, Error>
}

/** A whole request and answer on a connection of its own. */
export const ask = (url: string, path: string, { body, headers, method }: Ask = {}): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    const { hostname, port } = new URL(url)
    // Not every method gets one from the platform.
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }
    const request = httpRequest({
      hostname,
      port,
      path,
      method: method ?? "GET",
      headers: { ...length, ...headers },
      agent: false
    })
    const fail = (error: Error) => resume(Effect.fail(error))
    request.on("error", fail)
    request.on("response", (response) => {
      const parts: Array<Buffer> = []
      response.on("data", (part: Buffer) => parts.push(part))
      response.on("error", fail)
      response.on("end", () => {
        const raw = response.rawHeaders
        const lines = raw.flatMap((name, i) => i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1]!] as const] : [])
        resume(Effect.succeed({
          status: response.statusCode!,
          headers: response.headers,
          lines,
          body: Buffer.concat(parts)
        }))
      })
    })
    request.end(body)
    return Effect.sync(() => request.destroy())
  })

/** All that the server sends until it closes, for `bytes` sent as they are; `then` may say more. */
export const exchange = (
  port: number,
  bytes: string | Buffer,
  then: (socket: Socket) => void = () => {}
): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let received = ""
    const socket = connect({ port, host: "127.0.0.1" }, () => {
      socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes)
      then(socket)
    })
    socket.on("data", (data) => received += data.toString("latin1"))
    // A server that has had enough may reset the connection.
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })

const layerDisk = DiskMonitor.layerUsage(
  Effect.succeed({ free: 5e11, total: 1e12, freeNodes: 1e6, totalNodes: 2e6 })
)

const listen = { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true }

/** The server of the program, which answers hits by itself, but at its end it cuts what is open. */
export const layerHttp = Layer.effectContext(Effect.gen(function*() {
  const node = new GuardedServer(yield* ServerConfig, {
    onConnections: () => {},
    onSurplus: () => {},
    onDefect: () => {},
    onAnswered: undefined
  }, (yield* Proxy).tryReply)
  const server = yield* NodeHttpServer.make(() => node, listen)
  return Context.make(HttpServer.HttpServer, server).pipe(Context.add(Server.NodeServer, node))
}))

/** The platform's server, as applications have it: every request goes to the handler. */
export const layerPlainHttp = NodeHttpServer.layer(createServer, listen)

export interface TestProxyOptions {
  /** What goes after the origin's address. */
  readonly path?: string
  /** How the route to the test's own origin differs from the defaults. */
  readonly policy?: Partial<RoutePolicy>
  /** The server to answer on; without it, one that cuts what is open at its end. */
  readonly server?: Layer.Layer<HttpServer.HttpServer, unknown, Proxy | ResponseMetrics>
  readonly cache?: Partial<CacheOptions>
  /** `origins` are the test's own origin unless this says otherwise. */
  readonly origins?: Partial<OriginOptions>
  readonly limits?: Partial<ServerOptions>
  readonly resolver?: (origin: TestOrigin) => Layer.Layer<OriginResolver, never, CacheConfig | OriginConfig>
  /** What another proxy had, so as to go on where that ended: a store and an origin of its own without it. */
  readonly before?: { readonly origin: TestOrigin; readonly store: ChunkStore["Service"] }
}

/** Starts both on free ports of the loopback interface; they end with the scope. */
export const makeTestProxy = (
  {
    before,
    cache,
    limits,
    origins,
    path = "",
    policy = {},
    resolver = () => OriginResolver.layer,
    server = layerHttp
  }: TestProxyOptions = {}
): Effect.Effect<TestProxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const origin = before?.origin ?? (yield* makeTestOrigin)
    const store = before === undefined ? ChunkStore.layerMemory : Layer.succeed(ChunkStore, before.store)
    const at = new URL(origin.url + path)
    const routes = [makeRoute({ _tag: "All" }, at, { ...defaultPolicy(at), ...policy })]
    const config = Layer.mergeAll(
      CacheConfig.layer({ chunkSize: CHUNK_BYTES, ...cache }),
      OriginConfig.layer({ origins: { routes, urlHosts: [], allowPrivate: false }, ...origins }),
      limits === undefined ? Layer.empty : ServerConfig.layer(limits)
    )
    const services = yield* Server.layerProxy.pipe(
      Layer.provideMerge(server),
      Layer.provideMerge(Spillway.layerNoDeps),
      Layer.provideMerge(Layer.mergeAll(DirectoryLock.layerNone, store, layerDisk, Origin.layer)),
      Layer.provideMerge(resolver(origin)),
      Layer.provide(config),
      Layer.build,
      Effect.orDie
    )
    const url = yield* Effect.provideContext(HttpServer.addressFormattedWith(Effect.succeed), services)
    return {
      url,
      port: Number(new URL(url).port),
      origin,
      ask: (path, options) => ask(url, path, options)
    }
  })
