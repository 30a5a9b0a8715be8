import { Cause, Clock, Effect, Exit, Latch, Option } from "effect"
import { EQUAL_WEIGHT, FleetMember } from "../../domain/FleetMember.ts"
import { CLOCK_MILLIS, openRecord, type RecordPurpose, sealRecord } from "../../domain/FleetSignature.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import type { FleetOptions } from "./FleetConfig.ts"
import { type Announcement, Membership, MembershipFailed, type MembershipSession } from "./Membership.ts"
import type { PurgeFeed } from "./PurgeFeed.ts"
import type { Roster } from "./Roster.ts"

/** How long the engine may take for anything, in milliseconds. */
const ENGINE_MILLIS = 1000

/** The pause before the engine is tried again, in milliseconds. */
const RETRY_MILLIS = 1000

/** What a heartbeat needs. */
interface Heart {
  readonly options: FleetOptions
  readonly roster: Roster
  readonly feed: PurgeFeed
  /** This node as it announces itself now. */
  readonly self: () => FleetMember
  /** Called after each answer of the engine; the list may have changed. */
  readonly onAnswer: Effect.Effect<void>
  /** Called after each failure of the engine. */
  readonly onFailure: Effect.Effect<void>
}

/** Limits the time of a call to the engine. */
const bounded = <A, R>(call: Effect.Effect<A, MembershipFailed, R>): Effect.Effect<A, MembershipFailed, R> =>
  Effect.timeoutOrElse(call, {
    duration: ENGINE_MILLIS,
    orElse: () => Effect.fail(new MembershipFailed({ cause: `no answer within ${ENGINE_MILLIS} ms` }))
  })

/** What the records of members are for. */
const purposeOf = ({ fleet }: FleetOptions): RecordPurpose => ({ kind: "member", fleet })

/** Makes the function that tells the members among what an engine has answered: `forged` is called for each one that isn't the fleet's. */
const makeMemberOf =
  ({ options, self }: Heart, forged: () => void) => (time: number) => (announcement: Announcement) => {
    if (announcement._tag === "Configured") {
      const { host, name, port } = announcement
      return [new FleetMember({ ...self(), name, host, port, weight: EQUAL_WEIGHT, leaving: false, since: 0 })]
    }
    const record = openRecord(FleetMember, options.secrets, purposeOf(options), announcement.text)
    const isValid = Option.isSome(record) && Math.abs(record.value.time - time) <= CLOCK_MILLIS
    if (!isValid) forged()
    return isValid ? [record.value.value] : []
  }

/**
 * Announces this node to the engine, and takes over what the engine knows, in the background until the scope closes. If the engine fails, the
 * list of nodes stays as it is, and a new session is tried again and again.
 */
export const makeHeartbeat = Effect.fnUntraced(function*(heart: Heart) {
  const { feed, onAnswer, onFailure, options, roster, self } = heart
  const membership = yield* Membership
  const clock = yield* Clock.Clock
  const wake = yield* Latch.make(false)
  const answered = yield* Latch.make(false)
  const recorded = yield* Latch.make(false)
  const now = yield* monotonicMillis
  let isUp: boolean | undefined
  let forged = 0
  const memberOf = makeMemberOf(heart, () => forged += 1)

  const say = (error: MembershipFailed | undefined): Effect.Effect<void> =>
    Effect.suspend(() => {
      const wasUp = isUp
      isUp = error === undefined
      if (isUp === (wasUp ?? true)) return Effect.void
      const message = isUp
        ? Effect.logInfo("The membership engine responds again")
        : Effect.logWarning("The membership engine does not respond; the list of nodes stays as it is")
      const reason = error === undefined ? {} : { reason: error.message }
      return Effect.annotateLogs(message, { engine: membership.label, ...reason })
    })

  const beat = Effect.fnUntraced(function*(session: MembershipSession) {
    const time = clock.currentTimeMillisUnsafe()
    const record = sealRecord(FleetMember, options.secrets, purposeOf(options), { time, value: self() })
    const absence = feed.absence()
    const answer = yield* bounded(session.beat({ name: options.node, record, place: feed.place() }))
    roster.take(answer.nodes.flatMap(memberOf(time)), now())
    feed.answered(answer.log, absence)
    yield* say(undefined)
    yield* onAnswer
    yield* answered.open
    yield* bounded(feed.flush(session))
    if (!feed.hasUnsent()) recorded.openUnsafe()
  })

  const session = Effect.gen(function*() {
    const session = yield* bounded(membership.open(options.fleet))
    roster.restart(now())
    yield* Effect.addFinalizer((exit) =>
      Exit.hasInterrupts(exit) ? Effect.ignore(bounded(session.leave(options.node))) : Effect.void
    )
    while (true) {
      yield* wake.close
      yield* beat(session)
      yield* Effect.timeoutOption(wake.await, membership.beatMillis)
    }
  })

  // An engine without a log is asked nothing about purges, so what was missed is unknown, whether it responds or not.
  const noteAbsence = Effect.sync(() => {
    if (!membership.hasLog && feed.isBehind()) feed.answered(undefined, feed.absence())
  })

  yield* Effect.scoped(session).pipe(
    Effect.catchCause((cause) => {
      const error = Cause.squash(cause)
      return say(error instanceof MembershipFailed ? error : new MembershipFailed({ cause: error }))
    }),
    Effect.andThen(onFailure),
    Effect.andThen(noteAbsence),
    Effect.andThen(Effect.sleep(RETRY_MILLIS)),
    Effect.forever,
    Effect.forkScoped
  )

  /** Has the next beat come at once, and waits until it has opened `latch`, for as long as the engine may take. */
  const beatUntil = (latch: Latch.Latch): Effect.Effect<void> =>
    latch.close.pipe(
      Effect.andThen(wake.open),
      Effect.andThen(Effect.timeoutOption(latch.await, ENGINE_MILLIS)),
      Effect.asVoid
    )

  return {
    isUp: (): boolean => isUp === true,
    /** Records of members that no node of the fleet has signed, or that were signed long ago. */
    forged: (): number => forged,
    /** Announces this node at once, and waits for the answer for as long as the engine may take. */
    announce: beatUntil(answered),
    /** Waits until the engine has recorded all purges, for as long as it may take. Waits for no engine that is down. */
    recorded: Effect.suspend(() => isUp === true && feed.hasUnsent() ? beatUntil(recorded) : Effect.void)
  }
})
