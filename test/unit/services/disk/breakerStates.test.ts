import { assert, describe, it } from "@effect/vitest"
import { type CacheError, DiskBusy, fromErrno } from "../../../../src/domain/CacheError.ts"
import {
  type Breaker,
  type Event,
  initial,
  PROBE_INTERVAL,
  SUSPECTS,
  type Transition,
  transition
} from "../../../../src/services/disk/breakerStates.ts"

const ofFile = (errno: string, name = "a", operation = "read") => fromErrno(errno, operation, `/cache/v1/${name}`)
const busy = new DiskBusy({ errno: "BUSY", operation: "read", path: "/cache/v1/a" })

const failed = (error: CacheError): Event => ({ _tag: "Failed", error })
const broken = (error: CacheError): Event => ({ _tag: "Broken", error })
const probeFailed = (error: CacheError): Event => ({ _tag: "ProbeFailed", error })
const probeSucceeded: Event = { _tag: "ProbeSucceeded" }
const succeeded = (direction: "read" | "write"): Event => ({ _tag: "Succeeded", direction })

const eio = failed(ofFile("EIO"))
const eioOf = (name: string, operation = "read") => failed(ofFile("EIO", name, operation))
const enospc = failed(ofFile("ENOSPC", "a", "write"))
const erofs = failed(ofFile("EROFS", "a", "write"))
const timeout = failed(ofFile("TIMEOUT"))

/** Plays events one second apart, or at the times given. */
const play = (events: ReadonlyArray<Event | readonly [at: number, event: Event]>) => {
  let breaker: Breaker = initial
  let last: Transition = { next: initial, output: "None" }
  const outputs: Array<Transition["output"]> = []
  for (const [index, entry] of events.entries()) {
    const [at, event] = "_tag" in entry ? [1000 * (index + 1), entry] : entry
    last = transition(breaker, event, at)
    breaker = last.next
    outputs.push(last.output)
  }
  return { breaker, outputs }
}

const causeOf = ({ state }: Breaker) =>
  state._tag === "Usable" ? "Usable" : `${state._tag} ${state.error.errno} ${state.since}`

/** What the outputs are, and how it ends. */
const rows: ReadonlyArray<readonly [string, Parameters<typeof play>[0], ReadonlyArray<Transition["output"]>, string]> =
  [
    ["is usable at the start", [], [], "Usable"],
    ["opens on ENOSPC", [enospc], ["Opened"], "Full ENOSPC 1000"],
    ["opens on EDQUOT", [failed(ofFile("EDQUOT"))], ["Opened"], "Full EDQUOT 1000"],
    ["opens on EROFS", [erofs], ["Opened"], "ReadOnly EROFS 1000"],
    ["opens on a disk that hangs", [timeout], ["Opened"], "Failing TIMEOUT 1000"],
    ["opens on EMFILE", [failed(ofFile("EMFILE"))], ["Opened"], "Failing EMFILE 1000"],
    ["opens when the lock is lost", [broken(ofFile("LOCKED"))], ["Opened"], "Failing LOCKED 1000"],
    ["opens on EIO when the cache as a whole is broken", [broken(ofFile("EIO"))], ["Opened"], "Failing EIO 1000"],
    ["stays closed on a busy disk", [failed(busy), broken(busy)], ["None", "None"], "Usable"],
    ["stays open on a busy disk", [enospc, probeFailed(busy)], ["Opened", "None"], "Full ENOSPC 1000"],
    ["keeps the time of the first of equal causes", [enospc, enospc], ["Opened", "None"], "Full ENOSPC 1000"],
    ["takes the time of another errno", [enospc, failed(ofFile("EDQUOT"))], ["Opened", "Opened"], "Full EDQUOT 2000"],
    ["goes from Full to ReadOnly", [enospc, erofs], ["Opened", "Opened"], "ReadOnly EROFS 2000"],
    ["goes from Failing to Full", [timeout, enospc], ["Opened", "Opened"], "Full ENOSPC 2000"],
    ["takes the cause of a probe", [enospc, probeFailed(ofFile("EIO"))], ["Opened", "Opened"], "Failing EIO 2000"],
    ["closes after a probe", [erofs, probeSucceeded], ["Opened", "Closed"], "Usable"],
    ["ignores a probe that succeeds while closed", [probeSucceeded], ["None"], "Usable"],
    ["stays open when files can be read", [erofs, succeeded("read")], ["Opened", "None"], "ReadOnly EROFS 1000"],

    ["examines the disk when one file fails", [eio], ["Examine"], "Usable"],
    ["examines the disk again when the file fails again", [eio, eio, eio, eio], Array(4).fill("Examine"), "Usable"],
    ["opens when three files fail in a row", [eioOf("a"), eioOf("b"), eioOf("c")], [
      "Examine",
      "Examine",
      "Opened"
    ], "Failing EIO 3000"],
    ["takes the last of three errors as the cause", [eioOf("a"), eioOf("b"), failed(ofFile("EPERM", "c"))], [
      "Examine",
      "Examine",
      "Opened"
    ], "ReadOnly EPERM 3000"],
    ["counts anew after a success", [eioOf("a"), eioOf("b"), succeeded("read"), eioOf("c"), eioOf("d")], [
      "Examine",
      "Examine",
      "None",
      "Examine",
      "Examine"
    ], "Usable"],
    ["does not clear failed reads after a write", [eioOf("a"), eioOf("b"), succeeded("write"), eioOf("c")], [
      "Examine",
      "Examine",
      "None",
      "Opened"
    ], "Failing EIO 4000"],
    ["counts reads and writes apart", [eioOf("a"), eioOf("b"), eioOf("c", "write"), eioOf("d", "write")], [
      "Examine",
      "Examine",
      "Examine",
      "Examine"
    ], "Usable"],
    [
      "forgets failures after ten seconds",
      [[0, eioOf("a")], [SUSPECTS.millis, eioOf("b")], [
        SUSPECTS.millis + 1,
        eioOf("c")
      ]],
      ["Examine", "Examine", "Examine"],
      "Usable"
    ],
    ["counts failures for ten seconds", [[0, eioOf("a")], [1, eioOf("b")], [SUSPECTS.millis, eioOf("c")]], [
      "Examine",
      "Examine",
      "Opened"
    ], "Failing EIO 10000"],
    ["takes names in one directory as one object", ["a", "b", "c"].map((name) => eioOf(name, "open")), [
      "Examine",
      "Examine",
      "Examine"
    ], "Usable"],
    ["counts anew after it opened", [eioOf("a"), eioOf("b"), eioOf("c"), probeSucceeded, eioOf("d"), eioOf("e")], [
      "Examine",
      "Examine",
      "Opened",
      "Closed",
      "Examine",
      "Examine"
    ], "Usable"],
    ["suspects no files while the disk fails", [timeout, eioOf("a"), eioOf("b"), eioOf("c")], [
      "Opened",
      "None",
      "None",
      "None"
    ], "Failing TIMEOUT 1000"],
    ["suspects files of a full disk", [enospc, eioOf("a"), eioOf("b"), eioOf("c")], [
      "Opened",
      "Examine",
      "Examine",
      "Opened"
    ], "Failing EIO 4000"]
  ]

describe("the disk breaker's states", () => {
  it.each(rows)("%s", (_, events, outputs, end) => {
    const played = play(events)
    assert.deepStrictEqual(played.outputs, [...outputs])
    assert.strictEqual(causeOf(played.breaker), end)
  })

  it("keeps the state object when nothing changes", () => {
    const { breaker } = play([enospc])
    const { next } = transition(breaker, probeFailed(ofFile("ENOSPC")), 9000)
    assert.strictEqual(next.state, breaker.state)
    assert.strictEqual(transition(initial, succeeded("read"), 1).next, initial)
  })
})

describe("the pause between probes", () => {
  const full = probeFailed(ofFile("ENOSPC"))
  const pauses: ReadonlyArray<readonly [string, Parameters<typeof play>[0], number]> = [
    ["starts short", [enospc], PROBE_INTERVAL.shortest],
    ["doubles with each failed probe", [enospc, full, full, full], 8 * PROBE_INTERVAL.shortest],
    ["has a limit", [enospc, ...Array.from({ length: 9 }, () => full)], PROBE_INTERVAL.longest],
    ["doubles with another cause too", [enospc, probeFailed(ofFile("EIO"))], 2 * PROBE_INTERVAL.shortest],
    ["doubles when the disk is only busy", [enospc, probeFailed(busy)], 2 * PROBE_INTERVAL.shortest],
    ["stays the same when others report failures", [enospc, enospc, erofs, timeout], PROBE_INTERVAL.shortest],
    [
      "continues when the disk fails again soon",
      [enospc, full, [3000, probeSucceeded], [3000 + PROBE_INTERVAL.forgiven, enospc]],
      4 * PROBE_INTERVAL.shortest
    ],
    [
      "starts anew when the disk was usable for long",
      [enospc, full, [3000, probeSucceeded], [3001 + PROBE_INTERVAL.forgiven, enospc]],
      PROBE_INTERVAL.shortest
    ],
    [
      "doesn't start anew with another cause",
      [enospc, full, [90_000, erofs]],
      2 * PROBE_INTERVAL.shortest
    ]
  ]

  it.each(pauses)("%s", (_, events, pause) => {
    assert.strictEqual(play(events).breaker.pause, pause)
  })
})
