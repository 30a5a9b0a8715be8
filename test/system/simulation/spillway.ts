import { Context, Effect, Exit, type Fiber, type FileSystem, Layer, Path, Scope } from "effect"
import { HttpClient } from "effect/http"
import { makeRoute } from "../../../src/domain/Route.ts"
import { defaultPolicy, type RouteOrigin } from "../../../src/domain/RoutePolicy.ts"
import { ReusedBuffers } from "../../../src/effects/ReusedBuffers.ts"
import { Reuse } from "../../../src/http/proxy/get.ts"
import type { Proxy } from "../../../src/http/proxy/Proxy.ts"
import type { Bans } from "../../../src/services/cache/Bans.ts"
import type { CacheIndex } from "../../../src/services/cache/CacheIndex.ts"
import { ChunkMemory } from "../../../src/services/cache/ChunkMemory.ts"
import type { ChunkWriter } from "../../../src/services/cache/ChunkWriter.ts"
import type { IndexScan } from "../../../src/services/cache/IndexScan.ts"
import { CacheConfig } from "../../../src/services/config/CacheConfig.ts"
import { OriginConfig } from "../../../src/services/config/OriginConfig.ts"
import { ChunkStore } from "../../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../../src/services/disk/DirectoryLock.ts"
import type { DiskBreaker } from "../../../src/services/disk/DiskBreaker.ts"
import { DiskLimiter } from "../../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../../../src/services/disk/DiskMonitor.ts"
import type { FleetPurger } from "../../../src/services/operate/FleetPurger.ts"
import type { Purger } from "../../../src/services/operate/Purger.ts"
import type { Sweeper } from "../../../src/services/operate/Sweeper.ts"
import { Origin } from "../../../src/services/origin/Origin.ts"
import { OriginResolver } from "../../../src/services/origin/OriginResolver.ts"
import { layerNoDeps } from "../../../src/spillway.ts"
import * as FaultyFileSystem from "../../../src/testing/FaultyFileSystem.ts"
import * as MemoryFileSystem from "../../../src/testing/MemoryFileSystem.ts"
import * as MemoryOrigin from "../../../src/testing/MemoryOrigin.ts"
import type { Machine, Process } from "./machine.ts"
import { mirrorOf, ORIGIN } from "./origin.ts"
import type { Random } from "./random.ts"
import type { Schedule } from "./schedule.ts"

/** What the simulation uses of a process. */
export type Services =
  | DiskBreaker
  | CacheIndex
  | DiskLimiter
  | DiskMonitor
  | FaultyFileSystem.Faults
  | Bans
  | FleetPurger
  | Purger
  | Sweeper
  | Proxy
  | ChunkWriter
  | IndexScan

/** What outlives a process: the disk, and the origin. */
export interface Surroundings {
  readonly disk: MemoryFileSystem.MemoryDisk["Service"]
  readonly origin: MemoryOrigin.MemoryOrigin["Service"]
  readonly context: Context.Context<FileSystem.FileSystem | Origin>
  /** The network, where the origin is asked through a client. */
  client: HttpClient.HttpClient | undefined
}

export const makeSurroundings = (): Surroundings => {
  const layer = Layer.merge(MemoryFileSystem.layer, MemoryOrigin.layer)
  const context = Effect.runSync(Layer.buildWithScope(layer, Scope.makeUnsafe()))
  return {
    disk: Context.get(context, MemoryFileSystem.MemoryDisk),
    origin: Context.get(context, MemoryOrigin.MemoryOrigin),
    context,
    client: undefined
  }
}

export const DIRECTORY = "/cache"

// `DiskLimiter` lets as many calls through as this says, and a seed is to be the same on every machine.
process.env["UV_THREADPOOL_SIZE"] = "4"

/** Spillway, from its start to its end. */
export interface Spillway {
  readonly process: Process
  /** `undefined` while it starts. */
  readonly services: () => Context.Context<Services> | undefined
  /** Runs `effect` in its process. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E, Services>) => Fiber.Fiber<A, E>
  readonly use: <K, S, A>(tag: Context.Key<K & Services, S>, f: (service: S) => A) => A
  /** Closes everything in order; `done` is called at the end of that. */
  readonly close: (done: () => void) => void
}

/** What makes a process a node of a fleet. */
export type FleetLayer = Layer.Layer<never, never, CacheConfig | FileSystem.FileSystem | OriginConfig | Path.Path>

const serverAt = (url: string): RouteOrigin => ({ url: new URL(url), weight: 1, access: {} })

/** The policy of a route with so many mirrors besides the first origin. */
const policyWith = (mirrors: number) => ({
  ...defaultPolicy(new URL(ORIGIN)),
  origins: [serverAt(ORIGIN), ...Array.from({ length: mirrors }, (_, i) => serverAt(mirrorOf(i + 1)))] as const
})

/** What viewers may not have been sent yet when they ask for more, in bytes. */
export const UNSENT_BYTES = 500

/** Memory that is overwritten at once when nobody holds it any more, so that viewers who still need it notice. */
const overwritten = () => new ReusedBuffers(UNSENT_BYTES, (buffer) => buffer.fill(0xdb))

/** Starts a process on `machine`: all services but the lock are the real ones. */
export const start = (
  machine: Machine,
  { client, context, disk }: Surroundings,
  { chunkSize, maxSize, memory, minFree, mirrors = 0, places, policy }: Omit<Schedule, "steps">,
  random: Random,
  onError: (message: string) => void,
  fleet: FleetLayer = Layer.empty
): Spillway => {
  const at = new URL(ORIGIN)
  const process = machine.startProcess(random, onError)
  const scope = Scope.makeUnsafe()
  const asked = client === undefined
    ? Layer.succeed(Origin, Context.get(context, Origin))
    : Layer.provide(Origin.layerNoDeps, Layer.succeed(HttpClient.HttpClient, client))
  const layer = layerNoDeps.pipe(
    Layer.provideMerge(asked),
    Layer.provideMerge(ChunkStore.layer),
    Layer.provideMerge(fleet),
    Layer.provideMerge(FaultyFileSystem.layer),
    Layer.provideMerge(DirectoryLock.layerNone),
    Layer.provideMerge(Layer.sync(ChunkMemory, overwritten)),
    Layer.provideMerge(Layer.succeed(Reuse, () => true)),
    Layer.provideMerge(DiskMonitor.layerUsage(Effect.sync(disk.usage))),
    Layer.provideMerge(Layer.mergeAll(
      DiskLimiter.layer,
      Path.layer,
      OriginResolver.layer
    )),
    Layer.provideMerge(CacheConfig.layer({ directory: DIRECTORY, chunkSize, maxSize, memory, minFree })),
    Layer.provideMerge(OriginConfig.layer({
      origins: {
        routes: [makeRoute({ _tag: "All" }, at, { ...policyWith(mirrors), ...policy })],
        urlHosts: [],
        allowPrivate: false
      },
      ...(places !== undefined && { maxRequests: places }),
      // `MemoryOrigin` itself ends what takes 30 s, and tells that it did.
      firstByteTimeout: 31_000,
      silenceTimeout: 31_000
    })),
    Layer.provide(Layer.succeedContext(context))
  )
  let services: Context.Context<Services> | undefined
  const started = Effect.runForkWith(process.context)(Layer.buildWithScope(layer, scope))
  started.addObserver((exit) => {
    if (Exit.isSuccess(exit)) services = exit.value
    else onError(`did not start: ${String(exit.cause)}`)
  })
  return {
    process,
    services: () => services,
    fork: (effect) => Effect.runForkWith(Context.merge(process.context, services!))(effect),
    use: (tag, f) => f(Context.get(services!, tag as Context.Key<Services, Parameters<typeof f>[0]>)),
    close: (done) => {
      Effect.runForkWith(process.context)(Scope.close(scope, Exit.void)).addObserver((exit) => {
        if (Exit.isFailure(exit)) onError(`did not stop: ${String(exit.cause)}`)
        done()
      })
    }
  }
}
