import { Clock, Context, Effect, Fiber, FiberSet, Layer } from "effect"
import { type Ban, type BanTarget, treeAt } from "../../domain/BanList.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import type { FleetMember } from "../../domain/FleetMember.ts"
import { everything, firstRound, FleetPurge, insteadOfMany, type PurgeTarget } from "../../domain/FleetPurge.ts"
import { PURGE_PATH } from "../../domain/PeerProtocol.ts"
import { make as makeResource, makePublic } from "../../domain/Resource.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { LruMap } from "../../effects/LruMap.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"
import { Bans } from "../cache/Bans.ts"
import { Replicas } from "../cache/Replicas.ts"
import { Fleet } from "../fleet/Fleet.ts"
import { Lookup } from "../media/Lookup.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Purger } from "./Purger.ts"

/** What this node has banned, and which nodes of the fleet have done the same, or have not said so. */
export interface FleetPurged {
  readonly bans: ReadonlyArray<Ban>
  readonly nodes: ReadonlyArray<string>
  readonly missing: ReadonlyArray<string>
}

/** Does a purge in this process. Returns its ban, if it needs one. */
type Local = (target: PurgeTarget) => Effect.Effect<ReadonlyArray<Ban>, CacheError>

/**
 * Purges and invalidations for all nodes of the fleet, or for this one if it is alone. They go to all nodes directly, and into the log for
 * those that don't answer. Between two rounds, no node reads what is purged from another one, which may be about to purge it.
 *
 * @since 0.1.0
 * @category services
 */
export class FleetPurger extends Context.Service<FleetPurger, {
  /** Bans what is cached, here and on all nodes. Fails if the disk of this node does. */
  readonly purge: (target: BanTarget) => Effect.Effect<FleetPurged, CacheError>
  /** Ends the freshness of resources, here and on all nodes, and waits briefly for their disks. */
  readonly outdate: (targets: ReadonlyArray<PurgeTarget>) => Effect.Effect<void>
  /** Does what another node has purged. `false` if the disk fails. */
  readonly receive: (purge: FleetPurge) => Effect.Effect<boolean>
}>()("spillway/services/operate/FleetPurger") {
  static readonly layer: Layer.Layer<FleetPurger, never, Bans | Lookup | Purger> = Layer.effect(
    FleetPurger,
    Effect.suspend(() => make)
  )
}

/** How long each round waits for a node, in milliseconds. */
const ROUND_MILLIS = 2000

/** How many purges are remembered, so that none is done twice. */
const MAX_SEEN = 10_000

/** How many purges wait for a node that doesn't answer. If there are more, it has to revalidate everything. */
const MAX_MISSED = 100

/** How often they are sent again, in milliseconds. */
const RESEND_MILLIS = 1000

/** Makes the function that does a purge in this process. */
const makeLocal = Effect.gen(function*() {
  const bans = yield* Bans
  const lookup = yield* Lookup
  const purger = yield* Purger
  const { settled } = yield* Replicas
  const local: Local = (target) => {
    switch (target._tag) {
      case "Outdated": {
        const both = [makeResource(target.url), makePublic(target.url)]
        return Effect.as(Effect.andThen(Effect.forEach(both, lookup.invalidate, { discard: true }), settled), [])
      }
      // Somebody waits for the answer to the request that has changed it.
      case "OutdatedTree":
        return Effect.map(
          Effect.tap(lookup.ban({ ...target, url: treeAt(target.url) }), Effect.andThen(bans.settled, settled)),
          (ban) => [ban]
        )
      default:
        return Effect.map(purger.purge(target), (ban) => [ban])
    }
  }
  return local
})

/** What one node does to tell the others. */
interface Spread {
  readonly answered: ReadonlyArray<FleetMember>
  readonly missing: ReadonlyArray<FleetMember>
}

/** Makes the function that sends a purge to nodes, and says which of them have done it. Those that are lost aren't waited for. */
const makeSpread = Effect.gen(function*() {
  const fleet = yield* Fleet
  const send = (member: FleetMember, purge: FleetPurge): Effect.Effect<boolean> =>
    Effect.flatMap(fleet.log.seal(purge), (text) => fleet.send(member, PURGE_PATH, text)).pipe(
      Effect.match({ onFailure: () => false, onSuccess: () => true }),
      Effect.timeoutOrElse({ duration: ROUND_MILLIS, orElse: () => Effect.succeed(false) })
    )
  const isLost = ({ name }: FleetMember): boolean =>
    fleet.peers().some(({ member, state }) => member.name === name && state === "Lost")
  const spread = Effect.fnUntraced(function*(purge: FleetPurge, members: ReadonlyArray<FleetMember>) {
    const outcomes = yield* Effect.forEach(
      members,
      (member) =>
        Effect.map(
          isLost(member) ? Effect.succeed(false) : send(member, purge),
          (isDone) => ({ member, isDone })
        ),
      { concurrency: "unbounded" }
    )
    return {
      answered: outcomes.filter(({ isDone }) => isDone).map(({ member }) => member),
      missing: outcomes.filter(({ isDone }) => !isDone).map(({ member }) => member)
    } satisfies Spread
  })
  return { isLost, send, spread }
})

/** Purges that nodes have missed. They are sent again until the node has done them, or isn't a member any more. */
const makeMissed = Effect.fnUntraced(function*(send: Effect.Success<typeof makeSpread>["send"]) {
  const fleet = yield* Fleet
  const missed = new Map<string, Array<FleetPurge>>()

  const resend = Effect.fnUntraced(function*(name: string, purges: Array<FleetPurge>) {
    const peer = fleet.peers().find(({ member }) => member.name === name)
    if (peer === undefined) return void missed.delete(name)
    while (purges.length > 0 && peer.state !== "Lost" && (yield* send(peer.member, purges[0]!))) purges.shift()
    if (purges.length === 0) missed.delete(name)
  })

  yield* keepRunning("FleetPurger")(
    Effect.andThen(
      Effect.sleep(RESEND_MILLIS),
      Effect.suspend(() =>
        Effect.forEach([...missed], ([name, purges]) => resend(name, purges), { concurrency: "unbounded" })
      )
    )
  )

  return (purge: FleetPurge, { name }: FleetMember): void => {
    const purges = missed.get(name) ?? []
    if (purges.length < MAX_MISSED) purges.push(purge)
    else purges.splice(0, purges.length, insteadOfMany(purge))
    missed.set(name, purges)
  }
})

const makeAlone = (local: Local) =>
  FleetPurger.of({
    purge: (target) => Effect.map(local(target), (bans) => ({ bans, nodes: [], missing: [] })),
    outdate: (targets) => Effect.forEach(targets, (target) => Effect.ignore(local(target)), { discard: true }),
    receive: () => Effect.succeed(false)
  })

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const fleet = yield* Fleet
  const local = yield* makeLocal
  const { self, unsettled } = fleet
  if (self === undefined) return makeAlone(local)
  const { isLost, send, spread } = yield* makeSpread
  const addMissed = yield* makeMissed(send)
  const seen = new LruMap<string, true>(MAX_SEEN)
  const { share } = SingleFlight.make<string, boolean, never>()
  const run = yield* FiberSet.makeRuntime<never, FleetPurged, CacheError>()
  let missing = 0
  yield* Metrics.counter(
    "spillway_fleet_purge_missing_total",
    "Nodes that have not confirmed a purge in time",
    () => missing
  )

  const countPurge = yield* Metrics.counters(
    "spillway_fleet_purges_total",
    "Purges and invalidations of other nodes that this one has done, by the way they came first",
    "way",
    ["direct", "log"]
  )

  const observeLag = yield* Metrics.observations(
    "spillway_fleet_purge_lag_seconds",
    "Time from the order of a purge at another node until this one has done it, by their clocks; quantiles are of the last 1024"
  )

  const finish = ({ id, time }: FleetPurge, way: string): void => {
    seen.set(id, true)
    countPurge(way)
    observeLag(Math.max(0, clock.currentTimeMillisUnsafe() - time) / 1000)
  }

  const receive = (way: "direct" | "log") => (purge: FleetPurge): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      if (purge.round === 2) unsettled.end(purge)
      if (seen.has(purge.id)) return Effect.succeed(true)
      if (purge.round === 1) unsettled.begin(purge)
      const work = Effect.forEach(purge.targets, local, { discard: true }).pipe(
        Effect.match({ onFailure: () => false, onSuccess: () => true }),
        Effect.tap((isDone) => Effect.sync(() => isDone && finish(purge, way)))
      )
      return share(purge.id, work)
    })

  /** Two rounds: everybody forgets; then everybody learns that all have. */
  const tell = Effect.fnUntraced(function*(targets: ReadonlyArray<PurgeTarget>) {
    const first = firstRound(self.name, clock.currentTimeMillisUnsafe(), targets)
    const second = new FleetPurge({ ...first, round: 2 })
    seen.set(first.id, true)
    unsettled.begin(first)
    fleet.log.append(first)
    const own = Effect.exit(Effect.forEach(targets, local))
    const members = fleet.peers().map(({ member }) => member)
    // A node that starts when this is done learns of it from the log.
    const [done, told] = yield* Effect.all([own, spread(first, members), fleet.log.recorded], {
      concurrency: "unbounded"
    })
    for (const member of told.missing) addMissed(first, member)
    missing += told.missing.length
    // From a node that is there and hasn't done it, the others read nothing that is purged until their time is over.
    if (told.missing.every(isLost)) {
      unsettled.end(first)
      yield* spread(second, told.answered)
    }
    return {
      bans: (yield* done).flat(),
      nodes: [self.name, ...told.answered.map(({ name }) => name)],
      missing: told.missing.map(({ name }) => name)
    }
  })

  /** It continues although the one who wanted it leaves. */
  const begun = (targets: ReadonlyArray<PurgeTarget>) => Effect.suspend(() => Fiber.join(run(tell(targets))))

  yield* keepRunning("FleetPurger")(Effect.gen(function*() {
    const batch = yield* fleet.log.take
    const work = Effect.gen(function*() {
      if (!batch.isComplete) yield* Effect.ignore(local(everything))
      yield* Effect.forEach(batch.purges, receive("log"), { discard: true })
    })
    yield* Effect.ensuring(work, Effect.sync(() => fleet.log.done(batch)))
  }))

  return FleetPurger.of({
    purge: (target) => begun([target]),
    outdate: (targets) => Effect.ignore(begun(targets)),
    receive: receive("direct")
  })
})
