import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { OriginTimeout } from "../../../../src/domain/OriginError.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { plainSource, type Source } from "../../../../src/services/origin/askOrigin.ts"
import { Assemblies, noHold } from "../../../../src/services/transfer/Assemblies.ts"
import { chooseRun } from "../../../../src/services/transfer/chooseRun.ts"
import {
  awaitDemand,
  type Download,
  type Event,
  isOpenTo,
  join,
  leave,
  READ_AHEAD_BYTES,
  type Run,
  RUNNING,
  setBack,
  type State,
  transition,
  type Viewer
} from "../../../../src/services/transfer/Run.ts"
import { Runs } from "../../../../src/services/transfer/Runs.ts"

const CHUNK = 64 * 1024
const resource = makeResource("http://origin.test/film.mp4")
const head = { status: 206, headers: { "etag": "\"1\"", "content-range": "bytes 0-9/1000000000" } }
const representation = fromHead(resource, head, CHUNK) as Representation
const error = new OriginTimeout({ url: "http://origin.test/", phase: "header" })

const newDownload = (): Download => ({
  representation,
  assemblies: new Assemblies(),
  runs: new Runs(CHUNK),
  viewers: new Set()
})

const newRun = (download: Download, position: number, options: Partial<Run> = {}): Run => {
  const run: Run = {
    download,
    source: plainSource(resource),
    first: 0,
    position,
    end: representation.size,
    sequential: false,
    viewers: new Set(),
    keepUntil: 0,
    isFill: false,
    isAwaited: false,
    state: RUNNING,
    wake: undefined,
    fiber: undefined,
    hold: noHold(),
    ...options
  }
  download.runs.add(run)
  return run
}

let sources = 0

/** A source with fields of its own. */
const newSource = (): Source => ({ ...plainSource(resource), fields: { "user-agent": `viewer ${++sources}` } })

const newViewer = (offset: number, source: Source = newSource()): Viewer => ({
  source,
  offset,
  end: representation.size,
  run: undefined,
  wake: undefined,
  distrusted: undefined,
  failure: undefined,
  letDown: 0,
  hold: noHold()
})

describe("transition", () => {
  const throttled: State = { _tag: "Throttled", since: 3 }
  const stopping: State = { _tag: "Stopping" }
  const ended: State = { _tag: "Ended", failure: undefined }
  const setback: State = { _tag: "Running", setback: error }
  const cases: ReadonlyArray<readonly [State, Event, State]> = [
    [RUNNING, { _tag: "SetBack", error }, setback],
    [setback, { _tag: "Answered" }, RUNNING],
    [RUNNING, { _tag: "Satisfied", tick: 3 }, throttled],
    [RUNNING, { _tag: "Yield" }, RUNNING],
    [RUNNING, { _tag: "Abandoned" }, stopping],
    [RUNNING, { _tag: "End", failure: error }, { _tag: "Ended", failure: error }],
    [throttled, { _tag: "Satisfied", tick: 5 }, throttled],
    [throttled, { _tag: "Wanted" }, RUNNING],
    [throttled, { _tag: "Yield" }, stopping],
    [throttled, { _tag: "Abandoned" }, stopping],
    [throttled, { _tag: "End", failure: undefined }, ended],
    [stopping, { _tag: "Wanted" }, stopping],
    [stopping, { _tag: "Answered" }, stopping],
    [stopping, { _tag: "SetBack", error }, stopping],
    [stopping, { _tag: "End", failure: error }, ended],
    [ended, { _tag: "End", failure: error }, ended],
    [ended, { _tag: "Wanted" }, ended]
  ]

  it.each(cases)("from %o by %o to %o", (before, event, after) => {
    assert.deepStrictEqual(transition(before, event), after)
  })
})

describe("a run", () => {
  it.effect("is throttled while all of its viewers have enough, and goes on when one has not", () =>
    Effect.gen(function*() {
      const run = newRun(newDownload(), 3 * READ_AHEAD_BYTES)
      const slow = newViewer(0)
      const slower = newViewer(0)
      join(slow, run)
      join(slower, run)
      const waiting = new Set<Run>()
      const throttled = {
        tick: () => 7,
        enter: (run: Run) => void waiting.add(run),
        leave: (run: Run) => void waiting.delete(run)
      }
      const fiber = yield* Effect.forkChild(awaitDemand(run, throttled), { startImmediately: true })
      assert.deepStrictEqual(run.state, { _tag: "Throttled", since: 7 })
      assert.isTrue(waiting.has(run))
      slow.offset = 2 * READ_AHEAD_BYTES + 1
      run.wake!()
      assert.isTrue(yield* Fiber.join(fiber))
      assert.deepStrictEqual(run.state, RUNNING)
      assert.strictEqual(waiting.size, 0)
      leave(slow)
      assert.strictEqual(run.state._tag, "Running")
      leave(slower)
      assert.strictEqual(run.state._tag, "Stopping")
    }))

  it("that was set back is not for viewers of other sources", () => {
    const download = newDownload()
    const mine = newViewer(0)
    const other = newViewer(0)
    const run = newRun(download, 0, { source: mine.source })
    join(mine, run)
    join(other, run)
    let woken = 0
    mine.wake = () => assert.fail("the viewer of the run's own source waits on")
    other.wake = () => woken++
    setBack(run, error)
    assert.strictEqual(woken, 1)
    assert.isTrue(isOpenTo(run, mine.source))
    assert.isTrue(isOpenTo(run, { ...mine.source }))
    assert.isFalse(isOpenTo(run, other.source))
    assert.strictEqual(chooseRun(download, mine), run)
    assert.isUndefined(chooseRun(download, other))
    assert.strictEqual(other.letDown, 1)
    assert.isUndefined(other.run)
  })
})

describe("chooseRun", () => {
  const fail = (run: Run) => {
    run.download.runs.remove(run)
    run.state = transition(run.state, { _tag: "End", failure: error })
  }

  it("gives a viewer the failure of its own run, unless another run comes to its byte", () => {
    const download = newDownload()
    const viewer = newViewer(CHUNK)
    const run = newRun(download, CHUNK, { source: viewer.source })
    join(viewer, run)
    fail(run)
    const other = newRun(download, CHUNK)
    assert.strictEqual(chooseRun(download, viewer), other)
    join(viewer, other)
    fail(other)
    assert.deepStrictEqual(chooseRun(download, viewer), { failure: error })
  })

  it("lets viewers whom others have failed try on their own, more at a time the more often that was", () => {
    const download = newDownload()
    const viewer = newViewer(CHUNK)
    for (const underWay of [1, 1, 2, 4, 8, 8, 8]) {
      const runs: Array<Run> = []
      while (runs.length < underWay) {
        if (viewer.letDown > 0 || runs.length > 0) assert.strictEqual(chooseRun(download, viewer) !== undefined, false)
        runs.push(newRun(download, CHUNK))
      }
      const [chosen] = runs
      assert.strictEqual(chooseRun(download, viewer), chosen)
      join(viewer, chosen!)
      for (const run of runs) fail(run)
    }
    assert.isUndefined(chooseRun(download, viewer))
    assert.strictEqual(viewer.letDown, 7)
  })
})

describe("Runs", () => {
  it("finds the runs that come to a byte without a look at the others", () => {
    const runs = new Runs(CHUNK)
    const download = { ...newDownload(), runs }
    let looks = 0
    const counted = (run: Run): Run => {
      let { position } = run
      return Object.defineProperty(run, "position", {
        get: () => {
          looks++
          return position
        },
        set: (value: number) => {
          position = value
        }
      })
    }
    const all = Array.from({ length: 1000 }, (_, i) => newRun(download, i * 10 * CHUNK))
    const run = all[500]!
    for (const each of all) counted(each)
    assert.deepStrictEqual(runs.coming(run.position + 100), [run])
    assert.deepStrictEqual(runs.coming(run.position + CHUNK), [run])
    assert.deepStrictEqual(runs.coming(run.position + CHUNK + 1), [])
    looks = 0
    runs.coming(5000 * CHUNK + 100)
    assert.isAtMost(looks, 4)
    runs.move(run, run.position + 3 * CHUNK)
    assert.deepStrictEqual(runs.coming(5003 * CHUNK), [run])
    runs.move(run, 0, true)
    assert.deepStrictEqual(runs.coming(9_999 * CHUNK).at(-1), run)
    for (const each of all) runs.remove(each)
    assert.strictEqual(runs.size, 0)
    assert.deepStrictEqual(runs.coming(5003 * CHUNK), [])
  })
})
