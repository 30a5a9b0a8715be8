import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type ByteRange, resolveAll } from "../../../../src/domain/rfc/ByteRange.ts"
import { make, type Multipart } from "../../../../src/domain/rfc/Multipart.ts"

const BOUNDARY = "0123456789abcdef0123456789abcdef"
const intBetween = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** The body as it goes over the wire. */
const send = ({ end, parts }: Multipart, data: Uint8Array): Buffer =>
  Buffer.concat([...parts.flatMap(({ head, range }) => [head, data.subarray(range.start, range.end)]), end])

interface Part {
  readonly fields: Record<string, string>
  readonly content: Buffer
}

/** Takes a body apart as a client does (RFC 2046 §5.1.1): by the boundary alone, not knowing any length. */
const receive = (body: Buffer, contentType: string): ReadonlyArray<Part> => {
  const boundary = /^multipart\/byteranges; boundary=([0-9a-f]{1,70})$/.exec(contentType)?.[1]
  assert.isDefined(boundary)
  const parts: Array<Part> = []
  const first = `--${boundary}\r\n`
  assert.strictEqual(body.subarray(0, first.length).toString("latin1"), first)
  let at = first.length
  while (true) {
    const blank = body.indexOf("\r\n\r\n", at)
    const next = body.indexOf(`\r\n--${boundary}`, blank + 2)
    assert.isTrue(blank !== -1 && next !== -1)
    const lines = body.subarray(at, blank).toString("latin1").split("\r\n")
    const fields = lines.map((line) => [line.split(": ")[0]!.toLowerCase(), line.split(": ").slice(1).join(": ")])
    parts.push({ fields: Object.fromEntries(fields), content: body.subarray(blank + 4, next) })
    at = next + `\r\n--${boundary}`.length
    const rest = body.subarray(at, at + 2).toString("latin1")
    at += 2
    if (rest === "--") break
    assert.strictEqual(rest, "\r\n")
  }
  assert.strictEqual(body.subarray(at).toString("latin1"), "\r\n")
  return parts
}

describe("make", () => {
  it("is a body as RFC 9110 §15.3.7.2 has it", () => {
    const ranges = [{ start: 2, end: 5 }, { start: 0, end: 1 }]
    const multipart = make(ranges, 10, "video/mp4", "b")
    const expected = [
      "--b",
      "Content-Type: video/mp4",
      "Content-Range: bytes 2-4/10",
      "",
      "234",
      "--b",
      "Content-Type: video/mp4",
      "Content-Range: bytes 0-0/10",
      "",
      "0",
      "--b--",
      ""
    ].join("\r\n")
    assert.strictEqual(send(multipart, Buffer.from("0123456789")).toString(), expected)
    assert.strictEqual(multipart.contentLength, expected.length)
    assert.strictEqual(multipart.contentType, "multipart/byteranges; boundary=b")
    assert.deepStrictEqual(multipart.parts.map(({ range }) => range), ranges)
  })

  it("says no type for a representation that has none", () => {
    const multipart = make([{ start: 0, end: 1 }, { start: 5, end: 6 }], 10, undefined, BOUNDARY)
    const [part] = receive(send(multipart, Buffer.alloc(10)), multipart.contentType)
    assert.deepStrictEqual(part?.fields, { "content-range": "bytes 0-0/10" })
  })

  it("counts bytes where a type has characters beyond ASCII", () => {
    const type = "video/mp4; title=\"caf\u00e9: \u00df\""
    const multipart = make([{ start: 0, end: 1 }], 10, type, BOUNDARY)
    const body = send(multipart, Buffer.alloc(10))
    assert.strictEqual(multipart.contentLength, body.length)
    assert.strictEqual(receive(body, multipart.contentType)[0]?.fields["content-type"], type)
  })

  it("has an exact length far beyond 4 GiB", () => {
    const ranges = [{ start: 0, end: 2 ** 44 }, { start: 2 ** 45, end: 2 ** 45 + 1 }]
    const { contentLength, end, parts } = make(ranges, 2 ** 46, undefined, BOUNDARY)
    const heads = parts.reduce((sum, { head }) => sum + head.length, end.length)
    assert.strictEqual(contentLength, 2 ** 44 + 1 + heads)
  })

  it.prop("comes apart into its ranges, in their order, and is as long as it says", {
    size: intBetween(1, 2000),
    asked: Schema.Array(Schema.Struct({ start: intBetween(0, 2000), length: intBetween(0, 50) })).check(
      Schema.isBetweenLength(1, 8)
    ),
    type: Schema.UndefinedOr(Schema.Literals(["video/mp4", "text/plain; charset=\"utf-8\""])),
    // Data that looks like a boundary as much as chance allows.
    fill: Schema.Literals(["\r\n--", "--\r\n", "\r\n\r\n", `\r\n--${BOUNDARY.slice(0, 31)}`, "x"])
  }, ({ asked, fill, size, type }) => {
    const data = Buffer.alloc(size, fill)
    const specs = asked.map(({ length, start }) => ({ _tag: "From" as const, start, last: start + length }))
    const ranges: ReadonlyArray<ByteRange> = resolveAll(specs, size)
    if (ranges.length === 0) return
    const multipart = make(ranges, size, type, BOUNDARY)
    const body = send(multipart, data)
    assert.strictEqual(multipart.contentLength, body.length)
    assert.deepStrictEqual(
      receive(body, multipart.contentType),
      ranges.map(({ end, start }) => ({
        fields: {
          ...(type !== undefined && { "content-type": type }),
          "content-range": `bytes ${start}-${end - 1}/${size}`
        },
        content: data.subarray(start, end)
      }))
    )
  })
})
