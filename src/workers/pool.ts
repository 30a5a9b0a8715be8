import { Deferred, Effect, Layer, type Scope } from "effect"
import cluster from "node:cluster"
import { Readiness } from "../http/admin/Readiness.ts"
import type { CacheIndex } from "../services/cache/CacheIndex.ts"
import type { Catalog } from "../services/cache/Catalog.ts"
import { Replicas } from "../services/cache/Replicas.ts"
import { connections, refusals } from "../services/observe/connections.ts"
import type { Counters } from "../services/observe/Counters.ts"
import * as Metrics from "../services/observe/pullMetrics.ts"
import type { ResponseMetrics } from "../services/observe/ResponseMetrics.ts"
import { WorkerUsage } from "../services/observe/WorkerUsage.ts"
import { LocalUrls } from "../services/origin/LocalUrls.ts"
import { heeding } from "./heeding.ts"
import { Member, replicasOf, usageOf } from "./members.ts"
import { type ConfigSource, ORDERS, type Orders } from "./messages.ts"
import * as OwnerMessages from "./ownerMessages.ts"
import * as Supervision from "./supervision.ts"

/** The interval of messages that show workers that this process responds. */
const HEARTBEAT = "1 second"

/** A worker could not start. */
interface WorkerFailed {
  readonly _tag: "WorkerFailed"
  readonly message: string
}

/** Tells the workers at each `HEARTBEAT` that this process responds. */
const beat = (members: ReadonlySet<Member>): Effect.Effect<never> =>
  Effect.sync(() => members.forEach((member) => member.send({ _tag: "Alive" }))).pipe(
    Effect.andThen(Effect.sleep(HEARTBEAT)),
    Effect.forever
  )

/**
 * The `count` processes that serve clients from the cache that this process owns, or this process alone if `count` is 1. The services of
 * `layer` tell the workers about changes of the cache; `start` starts the workers.
 */
export const make = (count: number) => {
  const members = new Set<Member>()
  let restarts = 0
  let source: ConfigSource | undefined

  const metrics = Effect.gen(function*() {
    yield* Metrics.gauge("spillway_workers", "Processes that serve viewers", () => count === 1 ? 1 : members.size)
    yield* Metrics.counter("spillway_worker_restarts_total", "Workers that ended unasked", () => restarts)
  })

  const isEverybodyListening = () => members.size === count && [...members].every(({ isListening }) => isListening)

  /** Starts the workers, and replaces those that end, until the scope closes. Returns the address where all of them listen. */
  const start = Effect.fnUntraced(function*(
    orders: Orders
  ): Effect.fn.Return<
    string,
    WorkerFailed,
    CacheIndex | Catalog | Readiness | LocalUrls | ResponseMetrics | Scope.Scope | Counters
  > {
    const { drain } = yield* Readiness
    const { serveAt } = yield* LocalUrls
    const context = yield* Effect.context()
    const heed = yield* heeding
    const listening = yield* Deferred.make<string, WorkerFailed>()

    const countConnections = () =>
      connections.updateUnsafe([...members].reduce((sum, { connections }) => sum + connections, 0), context)

    countConnections()
    refusals.updateUnsafe(0, context)

    const hear = yield* OwnerMessages.make({
      onListening: (member, address) => {
        Deferred.doneUnsafe(member.listening, Effect.void)
        if (isEverybodyListening()) Deferred.doneUnsafe(listening, Effect.succeed(address))
      },
      onFailed: (message) => Deferred.doneUnsafe(listening, Effect.fail({ _tag: "WorkerFailed", message })),
      onReport: countConnections
    })

    const fork = Effect.sync(() => {
      const process = cluster.fork({ [ORDERS]: JSON.stringify(orders) })
      const member: Member = new Member(process, heed((message) => hear(member, message)))
      member.send({ _tag: "Configure", source })
      members.add(member)
      return member
    })

    const keep = Supervision.keep(fork, {
      onEnd: (member) => {
        members.delete(member)
        countConnections()
      },
      onRestart: () => restarts += 1
    })

    // Workers accept connections themselves: this process isn't needed for what they serve alone, and no connection is on its way to a
    // worker that ends.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({ serialization: "advanced" })
    yield* Effect.forkScoped(beat(members))
    yield* Effect.forkScoped(Effect.all(Array.from({ length: count }, () => keep), { concurrency: "unbounded" }))
    yield* Effect.addFinalizer(() => drain)
    const address = yield* Deferred.await(listening)
    serveAt(address)
    return address
  })

  /** Sets the configuration of all workers. One that doesn't confirm it is replaced. */
  const configure = (next: ConfigSource | undefined): Effect.Effect<void> =>
    Effect.suspend(() => {
      source = next
      members.forEach((member) => member.send({ _tag: "Configure", source }))
      return Effect.forEach(members, ({ settle }) => settle, { concurrency: "unbounded", discard: true })
    })

  const layer = Layer.mergeAll(
    // Without workers, nobody has to be notified.
    count === 1 ? Layer.empty : Layer.succeed(Replicas, replicasOf(members)),
    Layer.succeed(WorkerUsage, () => usageOf(members)),
    Layer.effectDiscard(metrics)
  )

  return { configure, layer, start }
}
