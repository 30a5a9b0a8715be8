import { Clock, Effect, Option, Queue } from "effect"
import { FleetPurge, insteadOfMany } from "../../domain/FleetPurge.ts"
import { CLOCK_MILLIS, openRecord, type RecordPurpose, sealRecord, type Secrets } from "../../domain/FleetSignature.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import type { LogAnswer, LogEntry, MembershipFailed, MembershipSession } from "./Membership.ts"

/** Purges from the log, to be done in order. */
export interface PurgeBatch {
  /** `false`: purges may be missing before these, so nothing that is cached may be used without revalidation. */
  readonly isComplete: boolean
  readonly purges: ReadonlyArray<FleetPurge>
  /** The place in the log behind them. */
  readonly place: string | undefined
  /** For `PurgeFeed`. */
  readonly absence: number
}

/** How many purges wait for an engine that is down. If there are more, nodes that were away revalidate everything instead. */
const MAX_UNSENT = 1000

/** How often this process notes that it runs, and after which time without such a note it counts as away, in milliseconds. */
const TICK_MILLIS = 250
export const AWAY_MILLIS = 2000

/**
 * The log of purges as this node reads it. A node that was away may have missed purges: until it has read the log, or has marked everything
 * stale, it is behind. There is at most one batch at a time, so that heartbeats never wait for purges.
 */
export const makePurgeFeed = Effect.fnUntraced(function*({ fleet, place: remembered, secrets }: {
  readonly fleet: string
  readonly secrets: Secrets
  /** How far an earlier process has read the log. */
  readonly place: string | undefined
}) {
  const purpose: RecordPurpose = { kind: "purge", fleet }
  const now = yield* monotonicMillis
  const batches = yield* Queue.bounded<PurgeBatch>(1)
  const unsent: Array<FleetPurge> = []
  let place = remembered
  let hasBatch = false
  let forged = 0
  /** Counts the times that this process was away; the start is one. */
  let absence = 1
  /** The last one for which purges were done. */
  let recovered = 0
  let tick = now()

  const noteAbsence = (): void => {
    if (now() - tick > AWAY_MILLIS) absence += 1
    tick = now()
  }
  yield* Effect.forkScoped(
    Effect.forever(Effect.andThen(Effect.sync(noteAbsence), Effect.sleep(TICK_MILLIS)))
  )

  const open = ({ text, time }: LogEntry): ReadonlyArray<FleetPurge> => {
    const record = openRecord(FleetPurge, secrets, purpose, text)
    // Someone who can write to the log could repeat an old entry.
    const isOwn = Option.isSome(record) && Math.abs(record.value.time - time) <= CLOCK_MILLIS
    if (!isOwn) forged += 1
    return isOwn ? [record.value.value] : []
  }

  const seal = (purge: FleetPurge) =>
    Effect.map(Clock.currentTimeMillis, (time) => sealRecord(FleetPurge, secrets, purpose, { time, value: purge }))

  return {
    /** A signed purge, to be sent to another node. */
    seal,
    /** The purge in a text that another node has just sent. */
    open: (text: string) =>
      Effect.map(Clock.currentTimeMillis, (time) =>
        Option.filter(
          openRecord(FleetPurge, secrets, purpose, text),
          (record) => Math.abs(record.time - time) <= CLOCK_MILLIS
        ).pipe(Option.map(({ value }) => value))),
    /** How far the log has been read. */
    place: () => place,
    /** Entries of the log that no node has written. */
    forged: () => forged,
    /** Counts `absence`s, to be given to `answered`. */
    absence: (): number => {
      noteAbsence()
      return absence
    },
    /** Whether purges may have been missed. */
    isBehind: (): boolean => {
      noteAbsence()
      return recovered !== absence
    },
    /** Has the purges since the last batch done. `since` is the absence at the time when the engine was asked. */
    answered: (log: LogAnswer | undefined, since: number): void => {
      if (hasBatch) return
      const { entries = [], isComplete = recovered === since, place: next = undefined } = log ?? {}
      if (isComplete && entries.length === 0 && recovered === since) return void (place = next)
      hasBatch = true
      const batch = { isComplete, purges: entries.flatMap(open), place: next, absence: since }
      Queue.offerUnsafe(batches, batch)
    },
    /** The engine can't be asked, and what it knows isn't waited for. */
    giveUp: (): void => {
      recovered = absence
    },
    /** The next batch. */
    take: Queue.take(batches),
    /** A batch is done. */
    done: (batch: PurgeBatch): void => {
      hasBatch = false
      place = batch.place
      recovered = batch.absence
    },
    /** Adds a purge to the log as soon as `flush` can. */
    append: (purge: FleetPurge): void => {
      if (unsent.length < MAX_UNSENT) unsent.push(purge)
      else unsent.splice(0, unsent.length, insteadOfMany(purge))
    },
    /** Whether purges wait to be added to the log. */
    hasUnsent: (): boolean => unsent.length > 0,
    /** Sends what waits to be added to the log, in order. What the engine doesn't confirm is sent again by the next call. */
    flush: Effect.fnUntraced(function*(session: MembershipSession): Effect.fn.Return<void, MembershipFailed> {
      for (let next = unsent[0]; next !== undefined; next = unsent[0]) {
        yield* session.append(yield* seal(next))
        // Too many may have come meanwhile.
        if (unsent[0] === next) unsent.shift()
      }
    })
  }
})

/** What `makePurgeFeed` makes. */
export type PurgeFeed = Effect.Success<ReturnType<typeof makePurgeFeed>>
