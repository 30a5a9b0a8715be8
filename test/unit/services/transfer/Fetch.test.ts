import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { OriginTimeout } from "../../../../src/domain/OriginError.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { plainSource, type Source } from "../../../../src/services/origin/askOrigin.ts"
import { Assemblies, noHold } from "../../../../src/services/transfer/Assemblies.ts"
import { chooseFetch } from "../../../../src/services/transfer/chooseFetch.ts"
import {
  awaitDemand,
  type Download,
  type Event,
  type Fetch,
  isOpenTo,
  join,
  leave,
  READ_AHEAD_BYTES,
  RUNNING,
  setBack,
  type State,
  transition,
  type Viewer
} from "../../../../src/services/transfer/Fetch.ts"
import { Fetches } from "../../../../src/services/transfer/Fetches.ts"

const CHUNK = 64 * 1024
const resource = makeResource("http://origin.test/film.mp4")
const head = { status: 206, headers: { "etag": "\"1\"", "content-range": "bytes 0-9/1000000000" } }
const representation = fromHead(resource, head, CHUNK) as Representation
const error = new OriginTimeout({ url: "http://origin.test/", phase: "header" })

const newDownload = (): Download => ({
  representation,
  assemblies: new Assemblies(),
  fetches: new Fetches(CHUNK),
  viewers: new Set()
})

const newRun = (download: Download, position: number, options: Partial<Fetch> = {}): Fetch => {
  const fetch: Fetch = {
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
  download.fetches.add(fetch)
  return fetch
}

let sources = 0

/** A source with fields of its own. */
const newSource = (): Source => ({ ...plainSource(resource), fields: { "user-agent": `viewer ${++sources}` } })

const newViewer = (offset: number, source: Source = newSource()): Viewer => ({
  source,
  offset,
  end: representation.size,
  fetch: undefined,
  wake: undefined,
  bypassed: undefined,
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

describe("a fetch", () => {
  it.effect("is throttled while all of its viewers have enough, and goes on when one has not", () =>
    Effect.gen(function*() {
      const fetch = newRun(newDownload(), 3 * READ_AHEAD_BYTES)
      const slow = newViewer(0)
      const slower = newViewer(0)
      join(slow, fetch)
      join(slower, fetch)
      const waiting = new Set<Fetch>()
      const throttled = {
        tick: () => 7,
        enter: (fetch: Fetch) => void waiting.add(fetch),
        leave: (fetch: Fetch) => void waiting.delete(fetch)
      }
      const fiber = yield* Effect.forkChild(awaitDemand(fetch, throttled), { startImmediately: true })
      assert.deepStrictEqual(fetch.state, { _tag: "Throttled", since: 7 })
      assert.isTrue(waiting.has(fetch))
      slow.offset = 2 * READ_AHEAD_BYTES + 1
      fetch.wake!()
      assert.isTrue(yield* Fiber.join(fiber))
      assert.deepStrictEqual(fetch.state, RUNNING)
      assert.strictEqual(waiting.size, 0)
      leave(slow)
      assert.strictEqual(fetch.state._tag, "Running")
      leave(slower)
      assert.strictEqual(fetch.state._tag, "Stopping")
    }))

  it("that was set back is not for viewers of other sources", () => {
    const download = newDownload()
    const mine = newViewer(0)
    const other = newViewer(0)
    const fetch = newRun(download, 0, { source: mine.source })
    join(mine, fetch)
    join(other, fetch)
    let woken = 0
    mine.wake = () => assert.fail("the viewer of the fetch's own source waits on")
    other.wake = () => woken++
    setBack(fetch, error)
    assert.strictEqual(woken, 1)
    assert.isTrue(isOpenTo(fetch, mine.source))
    assert.isTrue(isOpenTo(fetch, { ...mine.source }))
    assert.isFalse(isOpenTo(fetch, other.source))
    assert.strictEqual(chooseFetch(download, mine), fetch)
    assert.isUndefined(chooseFetch(download, other))
    assert.strictEqual(other.letDown, 1)
    assert.isUndefined(other.fetch)
  })
})

describe("chooseRun", () => {
  const fail = (fetch: Fetch) => {
    fetch.download.fetches.remove(fetch)
    fetch.state = transition(fetch.state, { _tag: "End", failure: error })
  }

  it("gives a viewer the failure of its own fetch, unless another fetch comes to its byte", () => {
    const download = newDownload()
    const viewer = newViewer(CHUNK)
    const fetch = newRun(download, CHUNK, { source: viewer.source })
    join(viewer, fetch)
    fail(fetch)
    const other = newRun(download, CHUNK)
    assert.strictEqual(chooseFetch(download, viewer), other)
    join(viewer, other)
    fail(other)
    assert.deepStrictEqual(chooseFetch(download, viewer), { failure: error })
  })

  it("lets viewers whom others have failed try on their own, more at a time the more often that was", () => {
    const download = newDownload()
    const viewer = newViewer(CHUNK)
    for (const underWay of [1, 1, 2, 4, 8, 8, 8]) {
      const fetches: Array<Fetch> = []
      while (fetches.length < underWay) {
        if (viewer.letDown > 0 || fetches.length > 0) {
          assert.strictEqual(chooseFetch(download, viewer) !== undefined, false)
        }
        fetches.push(newRun(download, CHUNK))
      }
      const [chosen] = fetches
      assert.strictEqual(chooseFetch(download, viewer), chosen)
      join(viewer, chosen!)
      for (const fetch of fetches) fail(fetch)
    }
    assert.isUndefined(chooseFetch(download, viewer))
    assert.strictEqual(viewer.letDown, 7)
  })
})

describe("Fetches", () => {
  it("finds the fetches that come to a byte without a look at the others", () => {
    const fetches = new Fetches(CHUNK)
    const download = { ...newDownload(), fetches }
    let looks = 0
    const counted = (fetch: Fetch): Fetch => {
      let { position } = fetch
      return Object.defineProperty(fetch, "position", {
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
    const fetch = all[500]!
    for (const each of all) counted(each)
    assert.deepStrictEqual(fetches.coming(fetch.position + 100), [fetch])
    assert.deepStrictEqual(fetches.coming(fetch.position + CHUNK), [fetch])
    assert.deepStrictEqual(fetches.coming(fetch.position + CHUNK + 1), [])
    looks = 0
    fetches.coming(5000 * CHUNK + 100)
    assert.isAtMost(looks, 4)
    fetches.move(fetch, fetch.position + 3 * CHUNK)
    assert.deepStrictEqual(fetches.coming(5003 * CHUNK), [fetch])
    fetches.move(fetch, 0, true)
    assert.deepStrictEqual(fetches.coming(9_999 * CHUNK).at(-1), fetch)
    for (const each of all) fetches.remove(each)
    assert.strictEqual(fetches.size, 0)
    assert.deepStrictEqual(fetches.coming(5003 * CHUNK), [])
  })
})
