import { Clock, Effect, Exit, Scope } from "effect"
import type { FleetMember } from "../../domain/FleetMember.ts"
import { codeOf, loggable, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import type { Wants } from "../../domain/PeerProtocol.ts"
import { isSharable } from "../../domain/rfc/Cacheability.ts"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { LruMap } from "../../effects/LruMap.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Origin, type OriginResponse } from "../origin/Origin.ts"
import { Fleet } from "./Fleet.ts"
import type { Journey } from "./Journey.ts"
import { makeLegPlan } from "./legPlan.ts"
import type { PeerUnproven } from "./PeerClient.ts"

/** A part of a body from one node, or from the origin if there is no `peer`. */
export interface Leg {
  readonly response: OriginResponse
  readonly peer: FleetMember | undefined
  /** Holds the connection. */
  readonly scope: Scope.Closeable
}

/** How long nodes have to revalidate a file that has changed at the origin, in milliseconds, and how many files. */
const OUTDATED_MILLIS = 60_000
const MAX_OUTDATED = 1000

/** The statuses by which a node says that it can't get a file. Another node has the same origin, so this node asks the origin itself. */
const failures: ReadonlySet<number> = new Set([403, 500, 502, 503, 504, 508])

/** What came of asking a node: a leg, the next node is to be asked, or the origin. */
type Outcome = Leg | "Next" | "Origin"

/** Whether nobody listens at the address of a node. */
const isRefused = (error: OriginError): boolean =>
  codeOf(error) === "ECONNREFUSED" || (error._tag === "OriginTimeout" && error.phase === "connect")

/** Makes the function that returns the fields for other nodes: without credentials, and those that are this node's business with the origin. */
const makeForPeers = (credentialFields: ReadonlyArray<string>) => {
  const own = new Set(["range", "authorization", ...credentialFields])
  return ({ request: { headers, secrets = [] } }: Journey): HeaderFields =>
    Object.fromEntries(Object.entries(headers).filter(([name]) => !own.has(name) && !secrets.includes(name)))
}

/** What is wanted of the nodes that rank above this one. */
const wantsOf = ({ hasBegun, isOfHead, question, spec }: Journey): Wants | undefined => {
  if (question.hasCredential === true) return "cached"
  return spec === undefined && !hasBegun && !isOfHead ? "whole" : undefined
}

/** What a node's answer to a request is. */
const judge = (journey: Journey, response: OriginResponse, wants: Wants | undefined) => {
  const { headers, status } = response
  if (wants === "cached") {
    const isThere = status === (journey.isOfHead ? 200 : 206)
    return isThere && (!journey.question.hasCredential || isSharable(headers)) ? "answered" : "had_nothing"
  }
  if (failures.has(status)) return "failed"
  return journey.isOfOtherVersion(response) ? "changed" : "answered"
}

/** Makes the function that opens the next leg of a journey: at the node that owns the bytes, the next one in rank, or at the origin. */
export const makeOpenLeg = Effect.gen(function*() {
  const origin = yield* Origin
  const fleet = yield* Fleet
  const clock = yield* Clock.Clock
  const { above, former, rangeOf } = makeLegPlan(fleet)
  const forPeers = makeForPeers((yield* OriginConfig).credentialFields)
  /** Files that have changed at the origin, and until when other nodes may not know that. */
  const outdated = new LruMap<string, number>(MAX_OUTDATED)
  const countRequest = yield* Metrics.counters(
    "spillway_peer_requests_total",
    "Requests for bytes to other nodes of the fleet, by what came of them",
    "outcome",
    ["answered", "changed", "failed", "had_nothing", "lost", "unproven", "unreachable"]
  )

  const now = yield* monotonicMillis
  const observeFirstByte = yield* Metrics.observations(
    "spillway_peer_first_byte_seconds",
    "Time from a request to another node to the head of its response; quantiles are of the last 1024"
  )

  /** Fails when a node is silent for long, and doesn't say either that it is there. */
  const orLost = <A, E>(peer: FleetMember, url: string, waiting: Effect.Effect<A, E, Scope.Scope>) =>
    Effect.raceFirst(
      waiting,
      Effect.gen(function*() {
        do yield* Effect.sleep(fleet.silence)
        while (yield* fleet.check(peer))
        return yield* new OriginTimeout({ url: loggable(url), phase: "header" })
      })
    )

  /** The response of a node without what `Cache-Status` says of the nodes before it: it would grow with each pass between nodes. */
  const asLastNode = (response: OriginResponse): OriginResponse => {
    const field = response.headers["cache-status"]
    if (field === undefined) return response
    const names = new Set([fleet.self!.name, ...fleet.peers().map(({ member }) => member.name)])
    return { ...response, headers: { ...response.headers, "cache-status": CacheStatus.withLastNode(field, names) } }
  }

  const missed = (journey: Journey, peer: FleetMember, error: OriginError | PeerUnproven) => {
    journey.avoid(peer)
    if (error._tag === "PeerUnproven") return Effect.sync(() => countRequest("unproven"))
    journey.hasLostPeer = true
    countRequest(error._tag === "OriginTimeout" ? "lost" : "unreachable")
    return isRefused(error) ? fleet.lose(peer) : fleet.suspect(peer)
  }

  /** Asks one node for the next bytes. */
  const tryPeer = Effect.fnUntraced(function*(
    journey: Journey,
    peer: FleetMember,
    wants: Wants | undefined
  ): Effect.fn.Return<Outcome, never, Scope.Scope> {
    const { isOfHead, question } = journey
    const { url } = question
    const validator = isOfHead ? undefined : journey.validator()
    const isOutdated = (outdated.peek(url) ?? 0) > clock.currentTimeMillisUnsafe()
    const headers = {
      ...forPeers(journey),
      ...(validator !== undefined && { "if-range": validator }),
      ...(isOutdated && wants !== "cached" && { "cache-control": "no-cache" })
    }
    const scope = yield* Scope.fork(yield* Effect.scope)
    fleet.traffic.requests += 1
    const began = now()
    const method = isOfHead ? "HEAD" : "GET"
    const asked = fleet.ask(peer, { method, question, headers, range: rangeOf(journey), wants })
    const outcome = yield* Effect.result(Scope.provide(orLost(peer, url, asked), scope))
    if (outcome._tag === "Success") {
      observeFirstByte((now() - began) / 1000)
      const verdict = judge(journey, outcome.success, wants)
      countRequest(verdict)
      if (verdict === "answered") return { response: asLastNode(outcome.success), peer, scope }
      yield* Scope.close(scope, Exit.void)
      if (verdict === "failed") return "Origin"
      journey.avoid(peer)
      // What the owner doesn't have, nobody else is likely to have.
      return verdict === "had_nothing" ? "Origin" : "Next"
    }
    yield* Scope.close(scope, Exit.void)
    yield* missed(journey, peer, outcome.failure)
    return "Next"
  })

  const askOrigin = Effect.fnUntraced(function*(journey: Journey) {
    const { question, request } = journey
    const { peers: _, ...direct } = request
    const validator = journey.hasBegun ? journey.validator() : undefined
    const scope = yield* Scope.fork(yield* Effect.scope)
    const range = rangeOf(journey)
    const headers = {
      ...request.headers,
      ...(range !== undefined && { range }),
      ...(validator !== undefined && { "if-range": validator })
    }
    const response = yield* Scope.provide(origin.request({ ...direct, headers }), scope)
    if (journey.isOfOtherVersion(response)) {
      outdated.set(question.url, clock.currentTimeMillisUnsafe() + OUTDATED_MILLIS)
    }
    return { response, peer: undefined, scope } satisfies Leg
  })

  return Effect.fnUntraced(function*(journey: Journey): Effect.fn.Return<Leg, OriginError, Scope.Scope> {
    for (const peer of above(journey)) {
      const outcome = yield* tryPeer(journey, peer, wantsOf(journey))
      if (outcome === "Origin") break
      if (outcome !== "Next") return outcome
    }
    const other = former(journey)
    if (other !== undefined) {
      const outcome = yield* tryPeer(journey, other, "cached")
      if (typeof outcome === "object") return outcome
    }
    return yield* askOrigin(journey)
  })
})
