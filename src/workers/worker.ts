import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import { buildConnector } from "@effect/platform-node/Undici"
import { Effect, Layer, References } from "effect"
import { type HttpServer, type HttpServerError, HttpServerRequest } from "effect/http"
import { parseOutcome } from "../domain/rfc/CacheStatus.ts"
import { ofNode } from "../http/proxy/errorResponses.ts"
import { Proxy } from "../http/proxy/Proxy.ts"
import { awaitTurn } from "../http/proxy/turn.ts"
import * as Server from "../http/server/Server.ts"
import type { Bans } from "../services/cache/Bans.ts"
import { type CacheIndex } from "../services/cache/CacheIndex.ts"
import type { Catalog } from "../services/cache/Catalog.ts"
import type { CatalogMemory } from "../services/cache/CatalogMemory.ts"
import type { MemoryTier } from "../services/cache/MemoryTier.ts"
import { TouchInterval } from "../services/cache/touches.ts"
import type { CacheConfig } from "../services/config/CacheConfig.ts"
import { OriginConfig, type OriginOptions } from "../services/config/OriginConfig.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../services/disk/DiskMonitor.ts"
import { NodeName } from "../services/fleet/NodeName.ts"
import { Origin } from "../services/origin/Origin.ts"
import { OriginResolver } from "../services/origin/OriginResolver.ts"
import { layerNoDeps } from "../spillway.ts"
import type { Orders } from "./messages.ts"
import * as Mirror from "./mirror.ts"
import { OwnerLink } from "./OwnerLink.ts"
import * as ReadOnlyCache from "./readOnlyCache.ts"
import * as Relay from "./relay.ts"
import * as Reports from "./reports.ts"

/**
 * A process that serves viewers from a cache that another process owns. It is a Spillway with a read-only cache, whose origin is the
 * owner. It serves fresh cached content from its own memory or from disk, and passes all other requests to the owner unchanged. If
 * reading fails in the middle of a body, the owner's bytes take over at the same byte.
 */

/** The factor of time limits towards the owner, which has its own limits for origins, and retries. */
const PATIENCE = 10

/** The owner as an origin, for missing bytes. It gets the viewer's target and host. */
const layerOwner = (
  { socket }: Orders
): Layer.Layer<Origin | OriginResolver, never, OriginConfig | OriginResolver | OwnerLink> => {
  const patient = (config: OriginOptions): OriginOptions => ({
    ...config,
    // The owner follows redirects.
    origins: { routes: [], urlHosts: [], allowPrivate: false },
    firstByteTimeout: config.firstByteTimeout * PATIENCE,
    silenceTimeout: config.silenceTimeout * PATIENCE,
    maxRequests: Number.MAX_SAFE_INTEGER,
    offline: false
  })
  const connect = buildConnector({ allowH2: false, socketPath: socket })
  const dispatcher = Layer.unwrap(Effect.map(OwnerLink, ({ hold }) =>
    NodeHttpClient.layerDispatcherOptions({
      allowH2: false,
      connect: (options, callback) =>
        connect(options, (...outcome) => {
          if (outcome[1] !== null) hold(outcome[1])
          callback(...outcome)
        })
    })))
  const origin = Origin.layerNoDeps.pipe(
    Layer.provide(NodeHttpClient.layerUndiciNoDispatcher),
    Layer.provide(dispatcher),
    Layer.provide(Layer.effect(OriginConfig, Effect.map(OriginConfig, patient)))
  )
  const resolver = Layer.effect(
    OriginResolver,
    Effect.map(OriginResolver, ({ identify }) =>
      OriginResolver.of({
        identify,
        locate: ({ headers: { host = "spillway" }, target }) =>
          Effect.succeed({ url: `http://${host}${target}`, headers: {} })
      }))
  )
  return Layer.merge(origin, resolver)
}

/** The time that a worker blocks after it has accepted a connection, in milliseconds. */
const ASIDE_MILLIS = 0.02

const nothing = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

/** Leaves the next connection to another worker. All accept from one queue, and the first to wake up would take a whole burst. */
const stepAside = (): void => void Atomics.wait(nothing, 0, 0, ASIDE_MILLIS)

/** A proxy that serves fresh cached content, and passes other requests to the owner. */
const layerProxy = (
  { node, socket }: Orders
): Layer.Layer<
  Proxy,
  never,
  Bans | CacheIndex | Catalog | CatalogMemory | ChunkStore | MemoryTier | OriginResolver | OwnerLink | Proxy
> =>
  Layer.effect(
    Proxy,
    Effect.gen(function*() {
      const proxy = yield* Proxy
      const { identify } = yield* OriginResolver
      const ask = yield* Mirror.make
      const relayed = Relay.make(socket, yield* OwnerLink, ({ headers, method, url }, cacheStatus) => {
        if (method !== "GET" || parseOutcome(cacheStatus) !== "hit") return
        const resource = identify({ target: url, headers })
        if (!("status" in resource)) ask(resource)
      })
      const relay = node === undefined
        ? relayed
        : (request: HttpServerRequest.HttpServerRequest) => Effect.map(relayed(request), ofNode(node))
      const handler = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request) =>
          request.headers["upgrade"] === undefined && proxy.isCachedAndFresh(request)
            ? proxy.handler
            : Effect.andThen(awaitTurn(request), relay(request))
      )
      return Proxy.of({ ...proxy, handler })
    })
  )

/** A worker that listens at `address`, for the owner of `orders`. */
export const layer = (
  address: Server.Address,
  orders: Orders
): Layer.Layer<HttpServer.HttpServer, HttpServerError.ServeError, CacheConfig | OriginConfig> => {
  const store = ReadOnlyCache.layerStore((key) => void Mirror.tellIfRoom({ _tag: "Used", key })).pipe(
    Layer.provide(ChunkStore.layer)
  )
  const edges = Layer.mergeAll(store, ReadOnlyCache.layerLock, DiskMonitor.layer).pipe(
    Layer.provide(DiskLimiter.layer),
    Layer.provideMerge(layerOwner(orders)),
    Layer.provideMerge(OwnerLink.layer),
    Layer.provide(OriginResolver.layer),
    Layer.provide(NodeServices.layer)
  )
  return Layer.unwrap(Effect.map(References.MinimumLogLevel, (level) =>
    Server.layerProxy.pipe(
      Layer.provideMerge(layerProxy(orders)),
      Layer.merge(Reports.layer),
      Layer.merge(Layer.effectDiscard(Effect.map(Server.NodeServer, (node) => node.on("connection", stepAside)))),
      Layer.provideMerge(Layer.provide(Server.layerNode(address), Layer.succeed(References.MinimumLogLevel, level))),
      Layer.provide(layerNoDeps),
      Layer.provide(edges),
      Layer.provide(Layer.succeed(NodeName, orders.node)),
      // So that the owner doesn't evict what is used here.
      Layer.provide(Layer.succeed(TouchInterval, "1 second")),
      // The owner logs the failures of the same disk.
      Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error"))
    )))
}
