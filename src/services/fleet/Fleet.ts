import { Clock, Context, Effect, type FileSystem, Layer, type Option, type Path } from "effect"
import { EQUAL_WEIGHT, FleetMember, isOfSameConfiguration } from "../../domain/FleetMember.ts"
import type { FleetPurge } from "../../domain/FleetPurge.ts"
import { rank, stretchAt } from "../../domain/Rendezvous.ts"
import { identify } from "../../domain/Resource.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { version } from "../../version.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { FleetConfig } from "./FleetConfig.ts"
import { makeFleetFile } from "./fleetFile.ts"
import { makeFleetMetrics } from "./fleetMetrics.ts"
import { makeHeartbeat } from "./heartbeat.ts"
import { Membership } from "./Membership.ts"
import { NodeName } from "./NodeName.ts"
import { PeerClient, PeerFailed, PeerUnproven } from "./PeerClient.ts"
import { makePeerHealth } from "./peerHealth.ts"
import { makePeerTraffic, type PeerTraffic } from "./peerTraffic.ts"
import { makePurgeFeed, type PurgeBatch } from "./PurgeFeed.ts"
import { Roster } from "./Roster.ts"
import { UnsettledPurges } from "./UnsettledPurges.ts"

/**
 * What a node is to this one. `Here`: it is used. `Lost`: it doesn't answer. `Leaving`: it is about to end. `Different`: it divides files in
 * another way, or has other origins, so it isn't used.
 */
export type PeerState = "Here" | "Lost" | "Leaving" | "Different"

/** Another node, and what it is to this one. */
export interface Peer {
  readonly member: FleetMember
  readonly state: PeerState
}

/** The fleet as seen from one of its nodes. All but effects is synchronous, from memory. */
export interface FleetShape {
  /** This node; `undefined` if it is alone, and not a member of a fleet. */
  readonly self: FleetMember | undefined
  /** The other nodes, by name. */
  readonly peers: () => ReadonlyArray<Peer>
  /** The nodes that answer, this one too, in the order in which this one asks them for the byte at `offset`. The first one owns it. */
  readonly rank: (url: string, offset: number) => ReadonlyArray<FleetMember>
  /** Whether this node keeps the byte at `offset` on disk. */
  readonly owns: (url: string, offset: number) => boolean
  /** The number of the stretch that holds the byte at `offset`. */
  readonly stretchAt: (offset: number) => number
  /** Whether the list of nodes has changed lately, so that others may have what this node owns. */
  readonly isSettling: () => boolean
  /** How long a node may be silent before `check`, in milliseconds. */
  readonly silence: number
  /** A node refused a connection: it is left out until it answers. */
  readonly lose: (peer: FleetMember) => Effect.Effect<void>
  /** Asks a silent node whether it is there. `false` if it is lost. All who wait for a node share the question. */
  readonly check: (peer: FleetMember) => Effect.Effect<boolean>
  /** `check` in the background: a body of this node broke off. */
  readonly suspect: (peer: FleetMember) => Effect.Effect<void>
  /** How this node talks to another one. */
  readonly ask: PeerClient["Service"]["request"]
  readonly send: PeerClient["Service"]["send"]
  /** Whether this node was away, and has not yet learned what was purged meanwhile: nothing is fresh until then. */
  readonly isBehind: () => boolean
  /** Whether the engine answers. */
  readonly isEngineUp: () => boolean
  /** What the engine is called. Contains no secrets. */
  readonly engine: string
  /** What goes between this node and the others. */
  readonly traffic: PeerTraffic
  /** Purges that some node may not have done yet. */
  readonly unsettled: UnsettledPurges
  /** The log of purges. */
  readonly log: {
    readonly append: (purge: FleetPurge) => void
    /** Waits until the engine has recorded what was appended, for as long as an engine may take that isn't down. */
    readonly recorded: Effect.Effect<void>
    readonly take: Effect.Effect<PurgeBatch>
    readonly done: (batch: PurgeBatch) => void
    readonly seal: (purge: FleetPurge) => Effect.Effect<string>
    readonly open: (text: string) => Effect.Effect<Option.Option<FleetPurge>>
  }
  /** Tells the others that this node is about to end, so that they don't ask it for more. */
  readonly leave: Effect.Effect<void>
}

const alone: FleetShape = {
  self: undefined,
  peers: () => [],
  rank: () => [],
  owns: () => true,
  stretchAt: () => 0,
  isSettling: () => false,
  silence: 0,
  lose: () => Effect.void,
  check: () => Effect.succeed(false),
  suspect: () => Effect.void,
  ask: ({ name }) => Effect.fail(new PeerUnproven({ peer: name, status: 0 })),
  send: ({ name }) => Effect.fail(new PeerFailed({ peer: name, cause: "alone" })),
  isBehind: () => false,
  isEngineUp: () => true,
  engine: "",
  traffic: makePeerTraffic(),
  unsettled: new UnsettledPurges(() => 0),
  log: {
    append: () => {},
    recorded: Effect.void,
    take: Effect.never,
    done: () => {},
    seal: () => Effect.succeed(""),
    open: () => Effect.succeedNone
  },
  leave: Effect.void
}

/**
 * The other machines that act as one cache with this one. By default there are none, and this node owns everything. Each node computes the
 * owners alone.
 */
export class Fleet extends Context.Reference<FleetShape>("spillway/services/fleet/Fleet", {
  defaultValue: () => alone
}) {
  /** A node of a fleet. The engine may be down at the start; nobody waits for it. */
  static readonly layer: Layer.Layer<
    never,
    never,
    CacheConfig | FileSystem.FileSystem | FleetConfig | Membership | OriginConfig | Path.Path | PeerClient
  > = Layer.effectContext(
    Effect.map(
      Effect.suspend(() => make),
      (fleet) => Context.make(Fleet, fleet).pipe(Context.add(NodeName, fleet.self?.name))
    )
  )
}

/** Makes the function that tells whether two nodes get the same files from the same places. */
const makeFingerprint = Effect.gen(function*() {
  const cacheConfig = yield* CacheConfig
  const originConfig = yield* OriginConfig
  return () => {
    const routes = originConfig.origins.routes.map(({ match, url }) => [match, url.href])
    return identify(JSON.stringify([routes, cacheConfig.cacheKey]))
  }
})

/** Warns of nodes that can't be used. */
const warnOf = (different: ReadonlyArray<FleetMember>): Effect.Effect<void> =>
  Effect.forEach(
    different,
    ({ name }) =>
      Effect.logWarning("A node has another --stretch or other origins, so it is not used").pipe(
        Effect.annotateLogs({ node: name })
      ),
    { discard: true }
  )

const make = Effect.gen(function*() {
  const options = yield* FleetConfig
  const membership = yield* Membership
  const client = yield* PeerClient
  const clock = yield* Clock.Clock
  const now = yield* monotonicMillis
  const file = yield* makeFleetFile
  const remembered = yield* file.read
  const roster = new Roster(options.node, membership.leaseMillis, remembered.members, now())
  const feed = yield* makePurgeFeed({ fleet: options.fleet, secrets: options.secrets, place: remembered.place })
  const fingerprint = yield* makeFingerprint
  const started = new FleetMember({
    name: options.node,
    ...options.advertise,
    weight: membership.hasWeights ? options.weight : EQUAL_WEIGHT,
    stretch: options.stretch,
    version,
    routes: fingerprint(),
    since: clock.currentTimeMillisUnsafe(),
    leaving: false
  })
  let self = started
  /** When this node last learned of a node that others may not have asked yet. */
  let changed = now()
  let list: ReadonlyArray<FleetMember> = []
  let ranked: ReadonlyArray<FleetMember> = [self]

  const stateOf = (member: FleetMember): PeerState => {
    if (!isOfSameConfiguration(self, member)) return "Different"
    if (health.isLost(member)) return "Lost"
    return member.leaving ? "Leaving" : "Here"
  }

  const update = (): void => {
    ranked = [self, ...list.filter((member) => stateOf(member) === "Here")]
  }

  const health = yield* makePeerHealth({
    patience: options.patience,
    isAlive: client.isAlive,
    isMember: ({ host, name, port }) =>
      list.some((member) => member.name === name && member.host === host && member.port === port),
    onChange: ({ name }, isLost) =>
      Effect.suspend(() => {
        if (!isLost) changed = now()
        update()
        const message = isLost ? Effect.logWarning("A node does not respond") : Effect.logInfo("A node responds again")
        return Effect.annotateLogs(message, { node: name })
      })
  })

  /** Takes over the list of nodes. Returns those that have joined and can't be used. */
  const take = (): ReadonlyArray<FleetMember> => {
    const before = new Set(list.map(({ name }) => name))
    list = roster.members
    const joined = list.filter(({ name }) => !before.has(name))
    if (joined.length > 0) changed = now()
    update()
    return joined.filter((member) => stateOf(member) === "Different")
  }

  const save = Effect.suspend(() => {
    const place = feed.place()
    return file.write({ members: list, ...(place !== undefined && { place }) })
  })

  /** A node that the engine doesn't reach may be cut off from the others as well. */
  const isIsolated = () => !heartbeat.isUp() && list.length > 0 && list.every(health.isLost)

  const peers = (): ReadonlyArray<Peer> => list.map((member) => ({ member, state: stateOf(member) }))

  take()
  const heartbeat = yield* makeHeartbeat({
    options,
    roster,
    feed,
    self: () => {
      const routes = fingerprint()
      if (routes !== self.routes) {
        self = new FleetMember({ ...self, routes })
        update()
      }
      return self
    },
    onAnswer: Effect.suspend(() => Effect.andThen(warnOf(take()), save)),
    onFailure: options.isolated === "serve"
      ? membership.hasLog ? Effect.sync(feed.giveUp) : Effect.void
      : Effect.asVoid(Effect.forEach(list, health.check, { concurrency: "unbounded" }))
  })
  const traffic = makePeerTraffic()
  const forged = () => heartbeat.forged() + feed.forged()
  yield* makeFleetMetrics({ peers, isEngineUp: heartbeat.isUp, forged, traffic })

  return Fleet.of({
    self: started,
    peers,
    rank: (url, offset) => rank(ranked, url, stretchAt(offset, options.stretch)),
    owns: (url, offset) => rank(ranked, url, stretchAt(offset, options.stretch))[0] === self,
    stretchAt: (offset) => stretchAt(offset, options.stretch),
    isSettling: () => now() - changed < options.settle,
    silence: health.silence,
    lose: health.lose,
    check: health.check,
    suspect: health.suspect,
    ask: client.request,
    send: client.send,
    isBehind: () => feed.isBehind() || (options.isolated === "revalidate" && isIsolated()),
    isEngineUp: heartbeat.isUp,
    engine: membership.label,
    traffic,
    unsettled: new UnsettledPurges(now),
    log: {
      append: feed.append,
      recorded: membership.hasLog ? heartbeat.recorded : Effect.void,
      take: feed.take,
      done: feed.done,
      seal: feed.seal,
      open: feed.open
    },
    leave: Effect.suspend(() => {
      self = new FleetMember({ ...self, leaving: true })
      update()
      return heartbeat.announce
    })
  })
})
