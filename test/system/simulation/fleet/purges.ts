import { Exit, Option } from "effect"
import { FleetPurge } from "../../../../src/domain/FleetPurge.ts"
import { openRecord } from "../../../../src/domain/FleetSignature.ts"
import { FleetPurger } from "../../../../src/services/operate/FleetPurger.ts"
import type { OriginFile } from "../origin.ts"
import { FLEET, type Node, SECRETS } from "./node.ts"

/** How long nodes have to drop again what they read from one that heard of a purge late, in milliseconds. */
const LATE_MILLIS = 5000

/** A purge that somebody has been told is done. */
interface Purge {
  readonly file: OriginFile
  readonly begun: number
  readonly id: string | undefined
  readonly heard: Set<string>
  /** Since when nodes must not use what is older. */
  since: number
}

interface Parts {
  readonly nodes: ReadonlyArray<Node>
  readonly now: () => number
  readonly note: (line: string) => void
  readonly fail: (message: string) => void
}

/**
 * What purges promise. A node that has confirmed one must not use what is older. As long as a node that has not heard of it may serve others,
 * nothing is promised; a node that was away hears of it before it serves anybody, if the engine has the purge in its log.
 */
export const makePurges = ({ fail, nodes, note, now }: Parts) => {
  const purges: Array<Purge> = []
  /** Purges that were seen on their way, by the node that sends them. */
  const seen = new Map<string, FleetPurge>()
  const taken = new Set<string>()
  const hearings = new Map<string, Set<string>>()
  const waiting = new Map<Node, number>()
  const count = (node: Node, by: number) => void waiting.set(node, (waiting.get(node) ?? 0) + by)

  const open = (text: string): FleetPurge | undefined => {
    const record = openRecord(FleetPurge, SECRETS, { kind: "purge", fleet: FLEET }, text)
    return Option.isSome(record) ? record.value.value : undefined
  }

  const see = (text: string): FleetPurge | undefined => {
    const purge = open(text)
    if (purge !== undefined && !seen.has(purge.id)) {
      seen.set(purge.id, purge)
      hearings.set(purge.id, new Set([purge.from]))
    }
    return purge
  }

  const hear = (name: string, id: string): void => {
    hearings.get(id)?.add(name)
    for (const purge of purges) {
      if (purge.id !== id || purge.heard.has(name)) continue
      purge.heard.add(name)
      if (purge.heard.size === nodes.length) purge.since = Math.min(purge.since, now() + LATE_MILLIS)
    }
  }

  const isRunning = ({ hungUntil, spillway }: Node) => spillway !== undefined && hungUntil <= now()

  return {
    see,
    /** A node has done a purge. */
    heard: (name: string, text: string): void => {
      const purge = see(text)
      if (purge !== undefined) hear(name, purge.id)
    },
    hear,
    /** A node runs again, after so many milliseconds. `log` has what it reads before it serves anybody. */
    returned: ({ plan: { name } }: Node, isAway: boolean, log: ReadonlyArray<string> | "everything"): void => {
      const ids = new Set(log === "everything" ? [] : log.map((text) => open(text)?.id))
      for (const purge of purges) {
        if (purge.heard.has(name)) continue
        const isTold = isAway && (log === "everything" || (purge.id !== undefined && ids.has(purge.id)))
        if (isTold) purge.heard.add(name)
        else purge.since = Infinity
      }
    },
    /** Somebody has a file be purged at a node. */
    order: (node: Node, file: OriginFile): void => {
      const { name } = node.plan
      const begun = now()
      const known = new Set(seen.keys())
      count(node, 1)
      const fiber = node.spillway!.fork(FleetPurger.use((purger) => purger.purge({ _tag: "Url", url: file.url })))
      fiber.addObserver((exit) => {
        count(node, -1)
        if (Exit.isFailure(exit)) {
          if (exit.cause.reasons.some(({ _tag }) => _tag === "Die")) fail(`purge: ${String(exit.cause)}`)
          return
        }
        const { missing, nodes: done } = exit.value
        note(`purge ${file.url} at ${name} done by ${done.join(" ")} missing ${missing.join(" ")}`)
        const [id] = [...seen.values()].flatMap(({ from, id, targets: [target] }) =>
          !known.has(id) && !taken.has(id) && from === name && target?._tag === "Url" && target.url === file.url
            ? [id]
            : []
        )
        if (id !== undefined) taken.add(id)
        const heard = new Set([...done, ...(id === undefined ? [] : hearings.get(id) ?? [])])
        const isUnsafe = nodes.some((other) => !heard.has(other.plan.name) && isRunning(other))
        purges.push({ file, begun, id, heard, since: isUnsafe ? Infinity : now() })
      })
    },
    /** Since when what is kept is of no use to viewers who come to a node at `time`. */
    voidBefore: (file: OriginFile, { plan: { name } }: Node, time: number): number =>
      Math.max(
        -Infinity,
        ...purges.filter((purge) => purge.file === file && purge.since < time && purge.heard.has(name))
          .map(({ begun }) => begun)
      ),
    waiting: () => [...waiting.values()].reduce((sum, count) => sum + count, 0),
    /** With the process of a node, what was asked of it is gone. */
    forget: (node: Node) => void waiting.delete(node)
  }
}
