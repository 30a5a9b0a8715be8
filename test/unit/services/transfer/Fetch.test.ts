import { assert, describe, it } from "@effect/vitest"
import { READ_AHEAD_BYTES } from "../../../../src/domain/RoutePolicy.ts"
import { type Event, JOIN_BYTES, RUNNING, type State, transition } from "../../../../src/services/transfer/Fetch.ts"
import { CHUNK, newDownload, newFetch, newReader, newSource, timeout } from "../../../support/transfer.ts"

describe("transition", () => {
  const retrying: State = { _tag: "Running", retrying: timeout }
  const throttled: State = { _tag: "Throttled", since: 3 }
  const stopping: State = { _tag: "Stopping" }
  const ended: State = { _tag: "Ended", failure: undefined }
  const failed: State = { _tag: "Ended", failure: timeout }

  const events: Record<Event["_tag"], Event> = {
    Retry: { _tag: "Retry", error: timeout },
    Receive: { _tag: "Receive" },
    Throttle: { _tag: "Throttle", tick: 3 },
    Resume: { _tag: "Resume" },
    Preempt: { _tag: "Preempt" },
    Abandon: { _tag: "Abandon" },
    End: { _tag: "End", failure: timeout }
  }
  type Row = Record<Event["_tag"], State>
  const unchanged = (state: State): Row => Object.fromEntries(Object.keys(events).map((tag) => [tag, state])) as Row
  const running = { Retry: retrying, Receive: RUNNING, Throttle: throttled, Abandon: stopping, End: failed }

  const table: ReadonlyArray<readonly [string, State, Row]> = [
    ["Running", RUNNING, { ...running, Resume: RUNNING, Preempt: stopping }],
    ["Running, retrying", retrying, { ...running, Resume: retrying, Preempt: stopping }],
    ["Throttled", throttled, {
      ...unchanged(throttled),
      Resume: RUNNING,
      Preempt: stopping,
      Abandon: stopping,
      End: failed
    }],
    ["Stopping", stopping, { ...unchanged(stopping), End: ended }],
    ["Ended", ended, unchanged(ended)],
    ["Ended with a failure", failed, unchanged(failed)]
  ]
  const cases = table.flatMap(([name, before, row]) =>
    Object.values(events).map((event) => [name, event._tag, before, event, row[event._tag]] as const)
  )

  it.each(cases)("%s on %s", (_, _1, before, event, after) => {
    assert.deepStrictEqual(transition(before, event), after)
  })

  it("has no failure without a failure", () => {
    for (const state of [RUNNING, throttled, stopping]) {
      assert.deepStrictEqual(transition(state, { _tag: "End", failure: undefined }), ended)
    }
  })
})

describe("Fetch", () => {
  it("is interrupted when its last reader leaves", () => {
    const fetch = newFetch(newDownload(), 0)
    let interruptions = 0
    fetch.fiber = { interruptUnsafe: () => interruptions++ }
    const readers = [newReader(fetch.download, 0), newReader(fetch.download, 0)]
    for (const reader of readers) fetch.join(reader)
    readers[0]!.close(false)
    assert.isTrue(fetch.isActive)
    assert.strictEqual(interruptions, 0)
    readers[1]!.close(false)
    assert.isTrue(fetch.isStopping)
    assert.strictEqual(interruptions, 1)
    assert.isFalse(fetch.isOpenTo(fetch.source))
  })

  it("reads the end of the response when its last reader leaves with the last byte", () => {
    const fetch = newFetch(newDownload(), 0)
    let interruptions = 0
    fetch.fiber = { interruptUnsafe: () => interruptions++ }
    const reader = newReader(fetch.download, 0)
    fetch.join(reader)
    fetch.download.fetches.move(fetch, fetch.end)
    reader.advance(reader.end)
    reader.close(true)
    assert.isTrue(fetch.isActive)
    assert.strictEqual(interruptions, 0)
  })

  it("completes the chunk for a reader that has everything", () => {
    const fetch = newFetch(newDownload(), CHUNK)
    const reader = newReader(fetch.download, CHUNK)
    fetch.join(reader)
    reader.advance(reader.end - CHUNK)
    reader.close(true)
    assert.isTrue(fetch.isActive)
    assert.strictEqual(fetch.demand, "go")
    assert.strictEqual(fetch.keepUntil, fetch.end)
  })

  it("waits when it is a read-ahead before its fastest reader", () => {
    const fetch = newFetch(newDownload(), READ_AHEAD_BYTES + CHUNK)
    const [slow, fast] = [newReader(fetch.download, 0), newReader(fetch.download, CHUNK)]
    assert.strictEqual(fetch.demand, "end")
    fetch.join(slow)
    fetch.join(fast)
    assert.strictEqual(fetch.demand, "wait")
    fast.advance(1)
    assert.strictEqual(fetch.demand, "go")
  })

  it("is preempted only while it is throttled", () => {
    const fetch = newFetch(newDownload(), 0)
    let interruptions = 0
    fetch.fiber = { interruptUnsafe: () => interruptions++ }
    fetch.preempt()
    assert.isTrue(fetch.isActive)
    fetch.throttle(2)
    assert.strictEqual(fetch.throttledTicks(5), 3)
    fetch.preempt()
    assert.isTrue(fetch.isStopping)
    assert.strictEqual(fetch.throttledTicks(5), 0)
    assert.strictEqual(interruptions, 1)
    fetch.finish(timeout)
    assert.isUndefined(fetch.failureFor(fetch.source))
  })

  it("is closed to readers with other sources while it retries", () => {
    const source = newSource()
    const fetch = newFetch(newDownload(), 0, { source })
    const [own, other] = [newReader(fetch.download, 0, { ...source }), newReader(fetch.download, 0)]
    fetch.join(own)
    fetch.join(other)
    let woken = 0
    own.wake = () => assert.fail("a reader with the fetch's own source waits on")
    other.wake = () => woken++
    fetch.retry(timeout)
    assert.strictEqual(woken, 1)
    assert.isTrue(fetch.isOpenTo(own.source))
    assert.isFalse(fetch.isOpenTo(other.source))
    assert.isFalse(fetch.isOpenTo(undefined))
    assert.isUndefined(fetch.failureFor(own.source))
    assert.strictEqual(fetch.failureFor(other.source), timeout)
    fetch.receive()
    assert.isTrue(fetch.isOpenTo(other.source))
    assert.isUndefined(fetch.failureFor(other.source))
  })

  it("covers bytes close ahead, or all that follow if it is sequential", () => {
    const fetch = newFetch(newDownload(), CHUNK)
    assert.isFalse(fetch.covers(CHUNK - 1))
    assert.isTrue(fetch.covers(CHUNK))
    assert.isTrue(fetch.covers(CHUNK + JOIN_BYTES))
    assert.isFalse(fetch.covers(CHUNK + JOIN_BYTES + 1))
    fetch.makeSequential(true)
    assert.strictEqual(fetch.position, 0)
    assert.isTrue(fetch.covers(fetch.end - 1))
    assert.isFalse(fetch.covers(fetch.end))
  })
})
