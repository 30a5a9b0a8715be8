import { Clock, Deferred, Duration, Effect, Layer, type Scope } from "effect"
import cluster from "node:cluster"
import { ANONYMOUS } from "../domain/Asker.ts"
import { isFresh } from "../domain/rfc/Freshness.ts"
import { Readiness } from "../http/admin/Readiness.ts"
import { CacheIndex } from "../services/cache/CacheIndex.ts"
import { Catalog, freshnessFor } from "../services/cache/Catalog.ts"
import { Replicas } from "../services/cache/Replicas.ts"
import { connections, refusals } from "../services/observe/connections.ts"
import { Counters } from "../services/observe/Counters.ts"
import * as Metrics from "../services/observe/pullMetrics.ts"
import { WorkerUsage } from "../services/observe/WorkerUsage.ts"
import { LocalUrls } from "../services/origin/LocalUrls.ts"
import { heeding } from "./heeding.ts"
import { Member, replicasOf, usageOf } from "./members.ts"
import { type Known, ORDERS, type Orders, type ToOwner } from "./messages.ts"
import { patience, silence } from "./silence.ts"

/** How long a worker may take until it listens, in milliseconds. */
const START_MILLIS = 60_000

/** How long it may say nothing from then on, in milliseconds: one that hangs is ended, and its viewers come again to another. */
const SILENCE_MILLIS = 10_000

/** How long it may take to end, in milliseconds; its viewers have had their time by then. */
const END_MILLIS = 12_000

/** How often workers get a heartbeat from this process. */
const HEARTBEAT = "1 second"

/**
 * The pause before another worker is started. It doubles from the first to the second of these as long as workers end before they take
 * requests. A worker that did is replaced after the first: its end must not be a way to keep viewers out.
 */
const RESTART = { shortest: Duration.millis(100), longest: Duration.seconds(10) }

/** A worker could not do what it was started for. */
export interface WorkerFailed {
  readonly _tag: "WorkerFailed"
  readonly message: string
}

/**
 * The `count` processes that serve viewers from a cache that this one owns, or this one where it is one. `layer` has the services of
 * the owner notify them of changes; `start` starts them.
 */
export const make = (count: number) => {
  const members = new Set<Member>()
  let restarts = 0

  const metrics = Effect.gen(function*() {
    yield* Metrics.gauge("spillway_workers", "Processes that serve viewers", () => count === 1 ? 1 : members.size)
    yield* Metrics.counter("spillway_worker_restarts_total", "Workers that ended unasked", () => restarts)
  })

  /** Starts the workers, and others for those that end, until the scope closes. Returns where they listen, all of them. */
  const start = Effect.fnUntraced(function*(
    orders: Orders
  ): Effect.fn.Return<
    string,
    WorkerFailed,
    CacheIndex | Catalog | Readiness | LocalUrls | Scope.Scope | Counters
  > {
    const catalog = yield* Catalog
    const index = yield* CacheIndex
    const counters = yield* Counters
    const { drain } = yield* Readiness
    const { serveAt } = yield* LocalUrls
    const clock = yield* Clock.Clock
    const context = yield* Effect.context()
    const heed = yield* heeding
    const listening = yield* Deferred.make<string, WorkerFailed>()

    const known = (resource: { readonly id: string; readonly url: string }): Known | undefined => {
      const entry = catalog.varies(resource) ? undefined : catalog.known(resource.id)
      if (entry === undefined) return undefined
      const freshness = freshnessFor(entry, ANONYMOUS)
      if (freshness === undefined || !isFresh(freshness, clock.currentTimeMillisUnsafe())) return undefined
      // The owner keeps what depends on cookies to itself.
      const { audience: _, ...told } = entry
      return { ...told, freshness, chunks: index.stretches(resource.id, entry.representation.id) }
    }

    const isEverybodyListening = () => members.size === count && [...members].every(({ isListening }) => isListening)

    const hear = (member: Member, message: ToOwner): void => {
      switch (message._tag) {
        case "Listening":
          Deferred.doneUnsafe(member.listening, Effect.void)
          if (isEverybodyListening()) Deferred.doneUnsafe(listening, Effect.succeed(message.address))
          return
        case "Failed":
          return void Deferred.doneUnsafe(listening, Effect.fail({ _tag: "WorkerFailed", message: message.message }))
        case "Ask": {
          const { resource } = message
          const answer = known(resource)
          if (answer !== undefined) member.share(resource.id)
          return member.send({ _tag: "Answer", resource: resource.id, ...(answer !== undefined && { known: answer }) })
        }
        case "Used":
          return index.touch(message.key)
        case "Settled":
          return member.settled(message.number)
        case "Report":
          member.take(message.report)
          counters.add(message.report)
          refusals.updateUnsafe(message.report.refused, context)
          countConnections()
      }
    }

    const countConnections = () =>
      connections.updateUnsafe([...members].reduce((sum, { connections }) => sum + connections, 0), context)

    countConnections()
    refusals.updateUnsafe(0, context)

    const fork = Effect.sync(() => {
      const process = cluster.fork({ [ORDERS]: JSON.stringify(orders) })
      const member: Member = new Member(process, heed((message) => hear(member, message)))
      members.add(member)
      return member
    })

    /** Waits until `member` does not do what it should in time. */
    const failing = (member: Member): Effect.Effect<void> =>
      Effect.raceFirst(
        Effect.andThen(Deferred.await(member.listening), silence(SILENCE_MILLIS, () => member.wasHeard())),
        // Over by then for one that listens, which says something each second.
        silence(START_MILLIS, () => member.isListening)
      )

    const killIf = (member: Member, condition: Effect.Effect<void>): Effect.Effect<void> =>
      Effect.andThen(condition, Effect.sync(() => member.kill("SIGKILL")))

    const end = Effect.fnUntraced(function*(member: Member) {
      // One that does not listen yet has no viewers to wait for.
      if (!Deferred.isDoneUnsafe(member.ended)) member.kill(member.isListening ? "SIGTERM" : "SIGKILL")
      yield* Effect.raceFirst(
        Deferred.await(member.ended),
        Effect.interruptible(Effect.andThen(killIf(member, patience(END_MILLIS)), Effect.never))
      )
      members.delete(member)
      countConnections()
    })

    /** One worker, from its start to its end: how it ended, and whether it had come to take requests. */
    const live = Effect.acquireUseRelease(
      fork,
      (member) =>
        Effect.map(
          Effect.raceFirst(
            Deferred.await(member.ended),
            Effect.andThen(killIf(member, failing(member)), Effect.never)
          ),
          (how) => ({ how, hasServed: member.isListening })
        ),
      end
    )

    const keep = Effect.gen(function*() {
      let pause = RESTART.shortest
      while (true) {
        const { hasServed, how } = yield* live
        if (hasServed) pause = RESTART.shortest
        restarts += 1
        yield* Effect.annotateLogs(Effect.logWarning("A worker has ended: another is started"), { how })
        yield* Effect.sleep(pause)
        pause = Duration.min(Duration.times(pause, 2), RESTART.longest)
      }
    })

    // Workers accept by themselves: what they serve alone does not depend on this process, and no connection is on its way to a worker
    // that ends.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({ serialization: "advanced" })
    yield* Effect.sync(() => members.forEach((member) => member.send({ _tag: "Alive" }))).pipe(
      Effect.andThen(Effect.sleep(HEARTBEAT)),
      Effect.forever,
      Effect.forkScoped
    )
    yield* Effect.forkScoped(Effect.all(Array.from({ length: count }, () => keep), { concurrency: "unbounded" }))
    yield* Effect.addFinalizer(() => drain)
    const address = yield* Deferred.await(listening)
    serveAt(address)
    return address
  })

  const layer = Layer.mergeAll(
    // Without workers, nobody has to be notified.
    count === 1 ? Layer.empty : Layer.succeed(Replicas, replicasOf(members)),
    Layer.succeed(WorkerUsage, () => usageOf(members)),
    Layer.effectDiscard(metrics)
  )

  return { layer, start }
}
