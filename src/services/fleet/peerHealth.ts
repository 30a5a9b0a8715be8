import { Effect } from "effect"
import type { FleetMember } from "../../domain/FleetMember.ts"
import { awaitReturn } from "../../effects/awaitReturn.ts"
import * as SingleFlight from "../../effects/SingleFlight.ts"

/** How long a node is silent, as a part of the patience with it, before it is asked whether it is there; and how long it may take to answer. */
const SILENCE_PART = 0.2
const QUESTION_PART = 0.4

/** How often a silent node is asked whether it is there. */
const QUESTIONS = 2

/** How often a lost node is asked, in milliseconds. */
const RETURN_MILLIS = 500

/** What peer health depends on. */
interface Health {
  /** In milliseconds, until a silent node is lost. */
  readonly patience: number
  /** Asks a node whether it is there. */
  readonly isAlive: (peer: FleetMember) => Effect.Effect<boolean>
  /** Whether a node is still a member, at this address. */
  readonly isMember: (peer: FleetMember) => boolean
  /** A node was lost, or has come back. */
  readonly onChange: (peer: FleetMember, isLost: boolean) => Effect.Effect<void>
}

/**
 * Which nodes don't answer. That shows on the way of the data. A question distinguishes a node that is slow because its origin is slow from one
 * that is gone. Lost nodes are asked in the background until they answer, so no viewer waits for them.
 */
export const makePeerHealth = Effect.fnUntraced(function*({ isAlive, isMember, onChange, patience }: Health) {
  const lost = new Set<string>()
  const questions = SingleFlight.make<string, boolean, never>()
  const scope = yield* Effect.scope
  const isThere = (peer: FleetMember) =>
    Effect.timeoutOrElse(isAlive(peer), {
      duration: patience * QUESTION_PART,
      orElse: () => Effect.succeed(false)
    })

  /** Waits until a lost node answers, or isn't a member any more. */
  const untilBack = (peer: FleetMember) =>
    Effect.gen(function*() {
      const isBack = yield* awaitReturn({
        isBack: isThere(peer),
        isAwaited: () => isMember(peer),
        pauseBefore: () => RETURN_MILLIS
      })
      lost.delete(peer.name)
      if (isBack) yield* onChange(peer, false)
    })

  /** Leaves a node out until it answers. */
  const lose = (peer: FleetMember): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (lost.has(peer.name) || !isMember(peer)) return Effect.void
      lost.add(peer.name)
      return Effect.andThen(Effect.forkIn(untilBack(peer), scope), onChange(peer, true))
    })

  const question = (peer: FleetMember) =>
    Effect.gen(function*() {
      for (let asked = 0; asked < QUESTIONS; asked++) if (yield* isThere(peer)) return true
      yield* lose(peer)
      return false
    })

  const check = (peer: FleetMember): Effect.Effect<boolean> =>
    Effect.suspend(() => lost.has(peer.name) ? Effect.succeed(false) : questions.share(peer.name, question(peer)))

  return {
    /** How long a node may be silent before it is asked, in milliseconds. */
    silence: patience * SILENCE_PART,
    isLost: (peer: FleetMember): boolean => lost.has(peer.name),
    lose,
    /** Asks a silent node whether it is there. `false` if it is lost. All who wait for a node share the question. */
    check,
    /** The same in the background. */
    suspect: (peer: FleetMember): Effect.Effect<void> => Effect.asVoid(Effect.forkIn(check(peer), scope))
  }
})
