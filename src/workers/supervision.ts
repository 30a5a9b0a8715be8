import { Deferred, Duration, Effect } from "effect"
import type { Member } from "./members.ts"
import { patience, silence } from "./silence.ts"

/** The time that a worker has until it listens, in milliseconds. */
const START_MILLIS = 60_000

/** The longest silence of a worker that listens, in milliseconds. A worker that hangs is killed, and its viewers reconnect to another. */
const SILENCE_MILLIS = 10_000

/** The time that a worker has to end, in milliseconds. Its responses have ended or been cut by then. */
const END_MILLIS = 12_000

/**
 * The pause before a worker is replaced. It doubles from the first to the second value while workers end before they take requests. A
 * worker that did take requests is replaced after the first value, so that nobody can keep viewers out by making workers crash.
 */
const RESTART = { shortest: Duration.millis(100), longest: Duration.seconds(10) }

/** Waits until `member` is late: to listen, or to send a message. */
const failing = (member: Member): Effect.Effect<void> =>
  Effect.raceFirst(
    Effect.andThen(Deferred.await(member.listening), silence(SILENCE_MILLIS, () => member.wasHeard())),
    // Doesn't end for a worker that listens.
    silence(START_MILLIS, () => member.isListening)
  )

const killIf = (member: Member, condition: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.andThen(condition, Effect.sync(() => member.kill("SIGKILL")))

/** Ends `member`, and waits until its process is gone. */
const end = (member: Member): Effect.Effect<void> =>
  Effect.suspend(() => {
    // A worker that doesn't listen yet has no viewers to wait for.
    if (!Deferred.isDoneUnsafe(member.ended)) member.kill(member.isListening ? "SIGTERM" : "SIGKILL")
    return Effect.asVoid(Effect.raceFirst(
      Deferred.await(member.ended),
      Effect.interruptible(Effect.andThen(killIf(member, patience(END_MILLIS)), Effect.never))
    ))
  })

/** Runs one worker until it ends. Returns how it ended, and whether it had taken requests. */
const live = (fork: Effect.Effect<Member>, onEnd: (member: Member) => void) =>
  Effect.acquireUseRelease(
    fork,
    (member) =>
      Effect.map(
        Effect.raceFirst(Deferred.await(member.ended), Effect.andThen(killIf(member, failing(member)), Effect.never)),
        (how) => ({ how, hasServed: member.isListening })
      ),
    (member) => Effect.andThen(end(member), Effect.sync(() => onEnd(member)))
  )

/** Keeps one worker running: starts one with `fork`, and another when that ends. */
export const keep = (
  fork: Effect.Effect<Member>,
  { onEnd, onRestart }: { readonly onEnd: (member: Member) => void; readonly onRestart: () => void }
): Effect.Effect<never> =>
  Effect.gen(function*() {
    let pause = RESTART.shortest
    while (true) {
      const { hasServed, how } = yield* live(fork, onEnd)
      if (hasServed) pause = RESTART.shortest
      onRestart()
      yield* Effect.annotateLogs(Effect.logWarning("A worker has ended; starting another one"), { how })
      yield* Effect.sleep(pause)
      pause = Duration.min(Duration.times(pause, 2), RESTART.longest)
    }
  })
