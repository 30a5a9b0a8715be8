import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { make, type Write } from "../../../src/cli/LogWriter.ts"
import { until } from "../../http/Site.ts"

/** A descriptor that takes what it is given when the test says so. */
const makeDescriptor = () => {
  const writes: Array<{ readonly text: string; readonly done: Parameters<Write>[1] }> = []
  const write: Write = (bytes, done) => void writes.push({ text: Buffer.from(bytes).toString(), done })
  const take = (i: number) => writes[i]!.done(null, Buffer.byteLength(writes[i]!.text))
  return { writes, write, take }
}

describe("LogWriter", () => {
  it.effect("gathers lines, and writes what comes meanwhile together, in order", () =>
    Effect.gen(function*() {
      const { take, write, writes } = makeDescriptor()
      const writer = make(write)
      writer.write("a")
      writer.write("b")
      assert.lengthOf(writes, 0)
      yield* until("the first write", () => writes.length === 1)
      assert.strictEqual(writes[0]!.text, "a\nb\n")
      writer.write("c", true)
      writer.write("d")
      assert.lengthOf(writes, 1)
      take(0)
      assert.strictEqual(writes[1]!.text, "c\nd\n")
    }))

  it("writes at once what is urgent, and what is much", () => {
    const { take, write, writes } = makeDescriptor()
    const writer = make(write)
    writer.write("a", true)
    take(0)
    writer.write("b".repeat(64 * 1024))
    assert.lengthOf(writes, 2)
  })

  it.effect("goes on where a write was cut short, and tries again where the reader is slow", () =>
    Effect.gen(function*() {
      const { take, write, writes } = makeDescriptor()
      const writer = make(write)
      writer.write("äbc", true)
      writes[0]!.done(null, 1)
      assert.strictEqual(Buffer.from(writes[1]!.text).length, Buffer.byteLength("�bc\n"))
      writes[1]!.done(Object.assign(new Error(), { code: "EAGAIN" }), 0)
      yield* until("another try", () => writes.length === 3)
      take(2)
      writer.write("next", true)
      assert.strictEqual(writes[3]!.text, "next\n")
      assert.strictEqual(writer.dropped(), 0)
    }))

  it("drops and counts lines where nobody reads, or nobody can", () => {
    const { write, writes } = makeDescriptor()
    const writer = make(write)
    const line = "x".repeat(1023)
    for (let i = 0; i < 3000; i++) writer.write(line)
    assert.lengthOf(writes, 1)
    assert.isAtLeast(writer.dropped(), 3000 - 1025)
    assert.isAtMost(writer.dropped(), 3000 - 1000)
    const before = writer.dropped()
    writes[0]!.done(Object.assign(new Error(), { code: "EPIPE" }), 0)
    assert.isAbove(writer.dropped(), before)
    assert.lengthOf(writes, 2)
  })

  it.live("writes what waits at its end, and does not wait for a reader for ever", () =>
    Effect.gen(function*() {
      const given: Array<string> = []
      const quick = make((bytes, done) => {
        given.push(Buffer.from(bytes).toString())
        setImmediate(done, null, bytes.length)
      })
      quick.write("a")
      quick.write("b", true)
      quick.write("c")
      yield* quick.end
      assert.strictEqual(given.join(""), "a\nb\nc\n")
      const stuck = make(() => {})
      stuck.write("a")
      yield* stuck.end
    }))
})
