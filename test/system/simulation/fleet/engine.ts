import { Effect } from "effect"
import {
  type Announcement,
  type Heartbeat,
  type LogAnswer,
  type LogEntry,
  Membership,
  MembershipFailed,
  type MembershipSession
} from "../../../../src/services/fleet/Membership.ts"

/** How the engine behaves. */
export type EngineMode = "up" | "refuses" | "hangs"

interface Parts {
  /** `list`: the same list for all nodes, without a log. `redis`: nodes announce themselves, and there is a log. */
  readonly kind: "list" | "redis"
  readonly names: ReadonlyArray<string>
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly latency: () => number
  readonly note: (line: string) => void
  readonly onAppended: (text: string) => void
  /** A node has done a purge of the log. */
  readonly onRead: (name: string, text: string) => void
}

const BEAT_MILLIS = 1000
const LEASE_MILLIS = 3000

/** An engine in memory. It works like a Redis, which a node asks by a session that ends when the engine does. */
export const makeEngine = ({ kind, latency, names, note, now, onAppended, onRead }: Parts) => {
  let mode: EngineMode = "up"
  /** Counts the times that connections were lost. */
  let epoch = 0
  let members = new Map<string, { readonly at: number; readonly record: string }>()
  let log: Array<LogEntry> = []
  let serial = 0
  /** Whom the engine doesn't name to a node. */
  const hidden = new Map<string, Set<string>>()

  const refused = Effect.fail(new MembershipFailed({ cause: "refused" }))

  const call = <A>(since: number, answer: () => A): Effect.Effect<A, MembershipFailed> =>
    Effect.suspend(() => Effect.sleep(latency())).pipe(Effect.andThen(Effect.suspend(() => {
      if (mode === "hangs") return Effect.never
      return mode === "refuses" || since !== epoch ? refused : Effect.sync(answer)
    })))

  const logBehind = (place: string): LogAnswer => {
    const last = log.at(-1)?.place ?? "0-0"
    const at = log.findIndex((entry) => entry.place === place)
    const isComplete = place === "0-0" || at >= 0
    return { isComplete, place: last, entries: isComplete ? log.slice(at + 1) : [] }
  }

  const nodesFor = (name: string): ReadonlyArray<Announcement> =>
    kind === "list"
      ? names.filter((other) => hidden.get(name)?.has(other) !== true)
        .map((other) => ({ _tag: "Configured", name: other, host: `${other}.peer`, port: 8471 }))
      : [...members].filter(([other]) => hidden.get(name)?.has(other) !== true)
        .map(([, { record }]) => ({ _tag: "Signed", text: record }))

  const beat = ({ name, place = "", record }: Heartbeat) => {
    members.set(name, { at: now(), record })
    const read = log.findIndex((entry) => entry.place === place)
    for (const { text } of log.slice(0, read + 1)) onRead(name, text)
    for (const [other, { at }] of members) if (now() - at > LEASE_MILLIS) members.delete(other)
    return { nodes: nodesFor(name), log: kind === "list" ? undefined : logBehind(place) }
  }

  const append = (text: string) => {
    if (kind === "list") return
    serial += 1
    log.push({ place: `${now()}-${serial}`, time: now(), text })
    onAppended(text)
  }

  const session = (): MembershipSession => {
    const since = epoch
    return {
      beat: (heartbeat) => call(since, () => beat(heartbeat)),
      append: (text) => call(since, () => append(text)),
      leave: (name) => call(since, () => void members.delete(name))
    }
  }

  return {
    membership: Membership.of({
      label: kind,
      hasLog: kind === "redis",
      hasWeights: kind === "redis",
      beatMillis: BEAT_MILLIS,
      leaseMillis: LEASE_MILLIS,
      open: () => Effect.suspend(() => call(epoch, session))
    }),
    mode: () => mode,
    /** What a node that returns reads before it serves anybody. */
    readable: (): ReadonlyArray<string> => mode === "up" ? log.map(({ text }) => text) : [],
    become: (next: EngineMode): void => {
      note(`engine ${next}`)
      if (next === "refuses") epoch += 1
      mode = next
    },
    /** It has lost all that it knew. */
    empty: (): void => {
      epoch += 1
      members = new Map()
      log = []
    },
    hide: (from: string, others: ReadonlyArray<string>): void => void hidden.set(from, new Set(others))
  }
}

/** What `makeEngine` makes. */
export type Engine = ReturnType<typeof makeEngine>
