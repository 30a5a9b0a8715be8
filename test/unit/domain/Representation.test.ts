import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  canRevalidate,
  carriedRange,
  compare,
  flawOf,
  fromHead,
  ifUnchanged,
  isConfirmedBy,
  isSameVersion,
  isSingle,
  isSound,
  looksLike,
  MAX_SINGLE_BYTES,
  type OriginHead,
  Representation,
  updated,
  validation,
  withRangesOf
} from "../../../src/domain/Representation.ts"
import * as Resource from "../../../src/domain/Resource.ts"
import type { Uncacheable } from "../../../src/domain/rfc/Cacheability.ts"

const resource = Resource.make("http://origin.example/a.mp4")
const MODIFIED = "Tue, 01 Jan 2030 12:00:00 GMT"
const CHUNK = 65_536

const ok = (headers: Record<string, string> = {}): OriginHead => ({
  status: 200,
  headers: { "content-length": "1000", "etag": "\"v1\"", ...headers }
})

const without = (head: OriginHead, name: string): OriginHead => ({
  ...head,
  headers: Object.fromEntries(Object.entries(head.headers).filter(([key]) => key !== name))
})

const stored = (head: OriginHead, chunkSize = CHUNK, of = resource): Representation => {
  const found = fromHead(of, head, chunkSize)
  assert.instanceOf(found, Representation)
  return found as Representation
}

describe("flawOf", () => {
  const flawed: ReadonlyArray<OriginHead> = [
    ...[0, 99, 100, 103, 199, 600, 999].map((status) => ({ status, headers: {} })),
    ok({ "x-title": "文" }),
    ok({ "x-title": "a\r\nb: c" }),
    ok({ "x-title": "\0" }),
    ok({ "x title": "a" }),
    ok({ "": "a" }),
    ok({ "transfer-encoding": "gzip, chunked" }),
    ok({ "transfer-encoding": "chunked, chunked" }),
    ok({ "transfer-encoding": "gzip" })
  ]

  it.each(flawed)("finds what no viewer can be sent: %j", (head) => assert.isString(flawOf(head)))

  const sound: ReadonlyArray<OriginHead> = [
    ...[200, 206, 304, 404, 418, 599].map((status) => ({ status, headers: {} })),
    ok({ "x-title": "caf\xe9\t\xff" }),
    ok({ "transfer-encoding": "Chunked " })
  ]

  it.each(sound)("finds nothing else: %j", (head) => assert.isUndefined(flawOf(head)))
})

describe("fromHead", () => {
  it("takes a 200 with validator and length", () => {
    const found = stored(ok({ "last-modified": MODIFIED, "content-type": "video/mp4", "accept-ranges": "bytes" }))
    assert.strictEqual(found.size, 1000)
    assert.strictEqual(found.chunkSize, CHUNK)
    assert.strictEqual(found.etag, "\"v1\"")
    assert.strictEqual(found.lastModified, MODIFIED)
    assert.strictEqual(found.resource, resource.id)
    assert.strictEqual(found.url, resource.url)
    assert.match(found.id, /^[0-9a-f]{32}$/)
  })

  it("takes the size of a 206 from Content-Range", () => {
    const found = stored({
      status: 206,
      headers: { "content-length": "10", "content-range": "bytes 5-14/1000", "etag": "\"v1\"" }
    })
    assert.strictEqual(found.size, 1000)
    assert.strictEqual(found.ranges, "conditional")
    assert.strictEqual(found.id, stored(ok()).id)
  })

  it("takes an empty file", () => {
    assert.strictEqual(stored(ok({ "content-length": "0" })).size, 0)
  })

  it("knows that an origin has no ranges only from Accept-Ranges: none", () => {
    assert.isUndefined(stored(ok()).ranges)
    assert.isUndefined(stored(ok({ "accept-ranges": "Bytes" })).ranges)
    assert.strictEqual(stored(ok({ "accept-ranges": "None" })).ranges, "none")
  })

  it("keeps what the same representation has shown of the origin's ranges", () => {
    const partial = { status: 206, headers: { "content-range": "bytes 0-9/1000", "etag": "\"v1\"" } }
    const next = (before: Representation["ranges"], head: OriginHead) => {
      const known = stored(ok())
      return withRangesOf(before === undefined ? known : new Representation({ ...known, ranges: before }), stored(head))
        .ranges
    }
    assert.isUndefined(next(undefined, ok()))
    assert.strictEqual(next(undefined, partial), "conditional")
    assert.strictEqual(next("plain", ok()), "plain")
    assert.strictEqual(next("plain", partial), "plain")
    assert.strictEqual(next("none", ok()), "none")
    assert.strictEqual(next("none", partial), "plain")
    assert.strictEqual(next("plain", ok({ "accept-ranges": "none" })), "none")
  })

  it("keeps the fields that are for every viewer, and no others", () => {
    const found = stored(ok({
      "content-type": "video/mp4",
      "content-disposition": "inline",
      "cache-control": "max-age=60",
      "x-own": "1",
      "x-hop": "2",
      "connection": "x-hop",
      "transfer-encoding": "chunked",
      "age": "5",
      "date": MODIFIED,
      "accept-ranges": "bytes",
      "cache-status": "other; hit",
      "warning": "110",
      "alt-svc": "h3"
    }))
    assert.deepStrictEqual(found.headers, {
      "etag": "\"v1\"",
      "content-type": "video/mp4",
      "content-disposition": "inline",
      "cache-control": "max-age=60",
      "cache-status": "other; hit",
      "date": MODIFIED,
      "x-own": "1"
    })
  })

  const head206 = (contentRange?: string): OriginHead => ({
    status: 206,
    headers: {
      "etag": "\"v1\"",
      "content-length": "10",
      ...(contentRange !== undefined && { "content-range": contentRange })
    }
  })
  const refused: ReadonlyArray<readonly [string, OriginHead, Uncacheable]> = [
    ...[204, 301, 302, 304, 307, 400, 401, 403, 404, 410, 416, 429, 500, 502, 503].map((status) =>
      [`status ${status}`, { ...ok(), status }, "STATUS"] as const
    ),
    ["no-store", ok({ "cache-control": "no-store" }), "NO_STORE"],
    ["no-store among others", ok({ "cache-control": "max-age=60, No-Store" }), "NO_STORE"],
    ["private", ok({ "cache-control": "private, max-age=60" }), "PRIVATE"],
    ["private for a field", ok({ "cache-control": "private=\"x-own\"" }), "PRIVATE"],
    ["Vary: *", ok({ vary: "*" }), "VARY"],
    ["Vary: Cookie", ok({ vary: "Cookie" }), "VARY"],
    ["Vary with Accept-Encoding and more", ok({ vary: "Accept-Encoding, Cookie" }), "VARY"],
    ["Set-Cookie", ok({ "set-cookie": "a=1" }), "SET_COOKIE"],
    ["gzip", ok({ "content-encoding": "gzip" }), "ENCODED"],
    ["br in upper case", ok({ "content-encoding": "BR" }), "ENCODED"],
    ["no length", without(ok(), "content-length"), "NO_LENGTH"],
    ["a length that is no number", ok({ "content-length": "many" }), "NO_LENGTH"],
    ["a negative length", ok({ "content-length": "-1" }), "NO_LENGTH"],
    ["two lengths", ok({ "content-length": "10, 10" }), "NO_LENGTH"],
    ["a length past what a number holds", ok({ "content-length": "99999999999999999999" }), "NO_LENGTH"],
    ["a 206 without Content-Range", head206(), "NO_LENGTH"],
    ["a 206 of unknown size", head206("bytes 0-9/*"), "NO_LENGTH"],
    ["a 206 that contradicts itself", head206("bytes 9-0/10"), "NO_LENGTH"],
    ["a 206 of several ranges", {
      status: 206,
      headers: { "etag": "\"v1\"", "content-length": "100", "content-type": "multipart/byteranges; boundary=x" }
    }, "NO_LENGTH"],
    ["more chunks than 32 bits count", ok({ "content-length": String(CHUNK * (2 ** 32 - 1) + 1) }), "TOO_LARGE"],
    ["a 206 of such a file", {
      status: 206,
      headers: { "etag": "\"v1\"", "content-length": "10", "content-range": "bytes 0-9/999999999999999" }
    }, "TOO_LARGE"],
    ["no validator", without(ok(), "etag"), "NO_VALIDATOR"],
    ["a weak ETag alone", ok({ etag: "W/\"v1\"" }), "NO_VALIDATOR"],
    ["an ETag without quotes", ok({ etag: "v1" }), "NO_VALIDATOR"],
    ["a Last-Modified that is no date", without(ok({ "last-modified": "yesterday" }), "etag"), "NO_VALIDATOR"],
    [
      "a Last-Modified of the same second",
      without(ok({ "last-modified": MODIFIED, "date": MODIFIED }), "etag"),
      "NO_VALIDATOR"
    ]
  ]

  const dated = (lastModified: string): OriginHead =>
    without(ok({ "last-modified": lastModified, "date": MODIFIED }), "etag")

  it.each([
    "Tue, 01 Jan 2030 11:00:00 UTC",
    "Tue, 01 Jan 2030 11:00:00 +0000",
    "tue, 1 jan 2030 11:00:00",
    "2030-01-01T11:00:00Z",
    "mar., 01 janv. 2030 11:00:00 GMT",
    "1893495600",
    "Tue, 01 Jan 2030 13:00:00 GMT",
    "Tue, 01 Jan 2030 12:00:00 -0100"
  ])("keeps by a Last-Modified of %j, as it is", (lastModified) => {
    const found = stored(dated(lastModified))
    assert.strictEqual(found.lastModified, lastModified)
    assert.deepStrictEqual(validation(found), { "if-modified-since": lastModified })
    assert.deepStrictEqual(ifUnchanged(found), { "if-range": lastModified })
    assert.strictEqual(compare(found, dated(lastModified)), "Same")
    assert.strictEqual(compare(found, dated(`${lastModified} `)), "Other")
  })

  it.each([
    "",
    "0",
    "2030",
    "Tue, 01 Jan 2030 12:00:00 UTC",
    "Tue, 01 Jan 2030 13:00:00 +0100",
    "Tue, 01 Jan 2030 12:00:59 GMT"
  ])("does not keep by a Last-Modified of %j", (lastModified) => {
    assert.strictEqual(fromHead(resource, dated(lastModified), CHUNK), "NO_VALIDATOR")
  })

  it.each(refused)("does not keep: %s", (_, head, reason) => {
    assert.strictEqual(fromHead(resource, head, CHUNK), reason)
  })

  it("keeps what was asked for with credentials only where the origin allows that", () => {
    assert.strictEqual(fromHead(resource, ok(), CHUNK, true), "AUTHORIZATION")
    assert.instanceOf(fromHead(resource, ok({ "cache-control": "public" }), CHUNK, true), Representation)
  })

  it("keeps what varies, and what has the identity coding", () => {
    stored(ok({ vary: "Origin" }))
    stored(ok({ vary: "accept-encoding" }))
    stored(ok({ vary: "Accept-Encoding, accept-encoding," }))
    stored(ok({ "content-encoding": "identity" }))
  })

  it("goes by Last-Modified where the ETag is weak or missing", () => {
    for (
      const head of [
        ok({ "etag": "W/\"v1\"", "last-modified": MODIFIED }),
        without(ok({ "last-modified": MODIFIED }), "etag")
      ]
    ) {
      const found = stored(head)
      assert.isUndefined(found.etag)
      assert.strictEqual(found.lastModified, MODIFIED)
      assert.deepEqual(validation(found), {
        ...(head.headers["etag"] !== undefined && { "if-none-match": "W/\"v1\"" }),
        "if-modified-since": MODIFIED
      })
    }
  })

  describe("of a response without a strong validator", () => {
    const UUID = "01234567-89ab-4def-8123-456789abcdef"
    const OTHER_UUID = UUID.replace("0", "f")
    const weak = ok({ etag: "W/\"v1\"" })
    const single = (head: OriginHead, transfer = UUID) => {
      const found = fromHead(resource, head, CHUNK, false, { transfer })
      if (typeof found === "string") throw new Error(found)
      return found
    }

    it("is of one transfer, and of the same version as no other", () => {
      const found = single(weak)
      assert.isTrue(isSingle(found))
      assert.isTrue(isSound(found, resource.id))
      assert.isFalse(isSameVersion(found, single(weak, OTHER_UUID)))
      assert.notStrictEqual(found.id, single(weak, OTHER_UUID).id)
      assert.strictEqual(compare(found, weak), "Other")
    })

    it("is revalidated by all of its validators, if it has any", () => {
      assert.deepStrictEqual(validation(single(weak)), { "if-none-match": "W/\"v1\"" })
      assert.isTrue(isConfirmedBy(single(weak), { etag: "\"v1\"" }))
      assert.isFalse(canRevalidate(single(without(ok(), "etag"))))
    })

    it("is made of a whole response only, up to a bound", () => {
      const part = { ...weak, status: 206 }
      assert.strictEqual(fromHead(resource, part, CHUNK, false, { transfer: UUID }), "NO_LENGTH")
      const long = ok({ "etag": "W/\"v1\"", "content-length": String(MAX_SINGLE_BYTES + 1) })
      assert.strictEqual(fromHead(resource, long, CHUNK, false, { transfer: UUID }), "NO_VALIDATOR")
    })

    it("is of the same version as others of its size and type if the operator says so", () => {
      const assumed = (headers: Record<string, string>, status = 200) => {
        const head = without({ ...ok(headers), status }, "etag")
        const found = fromHead(resource, head, CHUNK, false, { transfer: UUID, isAssumed: true })
        assert.instanceOf(found, Representation)
        return [found as Representation, head] as const
      }
      const [found, head] = assumed({ "content-type": "video/mp4" })
      assert.isFalse(isSingle(found))
      assert.isTrue(isSound(found, resource.id))
      assert.strictEqual(compare(found, head), "Same")
      const [part, partial] = assumed({ "content-type": "video/mp4", "content-range": "bytes 0-9/1000" }, 206)
      assert.strictEqual(part.id, found.id)
      assert.strictEqual(compare(found, partial), "Same")
      assert.deepStrictEqual(ifUnchanged(found), {})
      assert.isTrue(isSameVersion(found, assumed({ "content-type": "video/mp4", "last-modified": "now" })[0]))
      for (
        const other of [
          assumed({ "content-type": "text/html" }),
          assumed({ "content-type": "video/mp4", "content-length": "999" })
        ]
      ) {
        assert.strictEqual(compare(found, other[1]), "Other")
        assert.isFalse(isSameVersion(found, other[0]))
      }
      const validated = fromHead(resource, ok(), CHUNK, false, { isAssumed: true }) as Representation
      assert.strictEqual(validated.etag, "\"v1\"")
    })

    it("may be resumed by a response that says nothing else", () => {
      assert.isTrue(looksLike(single(weak), weak))
      assert.isFalse(looksLike(single(weak), { ...weak, status: 206 }))
      for (const [name, value] of [["etag", "W/\"v2\""], ["content-type", "text/html"], ["content-length", "9"]]) {
        assert.isFalse(looksLike(single(weak), ok({ etag: "W/\"v1\"", [name!]: value! })), name)
      }
      const { "content-length": _, ...unmeasured } = weak.headers
      assert.isTrue(looksLike(single(weak), { ...weak, headers: unmeasured }))
    })
  })

  it("is written and read as JSON", () => {
    const codec = Schema.fromJsonString(Representation)
    for (const head of [ok(), ok({ "last-modified": MODIFIED }), without(ok({ "last-modified": MODIFIED }), "etag")]) {
      const found = stored(head)
      assert.deepStrictEqual(Schema.decodeSync(codec)(Schema.encodeSync(codec)(found)), found)
    }
  })
})

describe("the id of a representation", () => {
  it("differs by validator, size, chunk size and URL, and by nothing else", () => {
    const lastModified = without(ok({ "last-modified": MODIFIED }), "etag")
    const ids = [
      stored(ok()),
      stored(ok({ etag: "\"v2\"" })),
      stored(ok({ "content-length": "1001" })),
      stored(ok(), CHUNK * 2),
      stored(ok(), CHUNK, Resource.make("http://origin.example/b.mp4")),
      stored(lastModified),
      stored({
        ...lastModified,
        headers: { ...lastModified.headers, "last-modified": "Wed, 02 Jan 2030 12:00:00 GMT" }
      }),
      stored(ok({ etag: `"last-modified ${MODIFIED}"` }))
    ].map(({ id }) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
    assert.strictEqual(stored(ok({ "x-own": "1", "last-modified": MODIFIED })).id, stored(ok()).id)
  })

  it.prop(
    "cannot be confused by where one part ends",
    { a: Schema.String, b: Schema.String, c: Schema.String },
    (_) => {
      if (_.b === "") return
      assert.notStrictEqual(Resource.identify(_.a + _.b, _.c), Resource.identify(_.a, _.b + _.c))
    }
  )
})

describe("compare", () => {
  const representation = stored(ok({ "last-modified": MODIFIED }))
  const dated = stored(without(ok({ "last-modified": MODIFIED }), "etag"))
  const part = (size: number, headers: Record<string, string>): OriginHead => ({
    status: 206,
    headers: { "content-range": `bytes 5-9/${size}`, "content-length": "5", ...headers }
  })

  it("goes by size and strong ETag", () => {
    assert.strictEqual(compare(representation, ok()), "Same")
    assert.strictEqual(compare(representation, part(1000, { etag: "\"v1\"" })), "Same")
    assert.strictEqual(compare(representation, ok({ "content-length": "999" })), "Other")
    assert.strictEqual(compare(representation, ok({ etag: "\"v2\"" })), "Other")
    assert.strictEqual(compare(representation, ok({ etag: "W/\"v1\"" })), "Other")
    assert.strictEqual(compare(representation, without(ok(), "content-length")), "Other")
    assert.strictEqual(compare(representation, part(1001, { etag: "\"v1\"" })), "Other")
  })

  it("goes by size and Last-Modified without an ETag", () => {
    assert.strictEqual(compare(dated, without(ok({ "last-modified": MODIFIED }), "etag")), "Same")
    const later = "Wed, 02 Jan 2030 12:00:00 GMT"
    assert.strictEqual(compare(dated, without(ok({ "last-modified": later }), "etag")), "Other")
    assert.deepStrictEqual(validation(representation), { "if-none-match": "\"v1\"" })
  })

  it("does not take an absent validator for another one", () => {
    assert.strictEqual(compare(dated, part(1000, {})), "Unknown")
    assert.strictEqual(compare(representation, part(1000, { "last-modified": MODIFIED })), "Unknown")
    assert.strictEqual(compare(representation, part(1001, {})), "Other")
  })
})

describe("carriedRange", () => {
  const head = (headers: Record<string, string>): OriginHead => ({ status: 206, headers })

  it("is what Content-Range says, unless Content-Length says otherwise", () => {
    const range = { "content-range": "bytes 5-9/1000" }
    assert.deepStrictEqual(carriedRange(head(range)), { range: { start: 5, end: 10 }, size: 1000 })
    assert.isDefined(carriedRange(head({ ...range, "content-length": "5" })))
    assert.isUndefined(carriedRange(head({ ...range, "content-length": "6" })))
    assert.isUndefined(carriedRange(head({ "content-length": "5" })))
  })
})

describe("a 304", () => {
  const representation = stored(ok({ "last-modified": MODIFIED, "cache-control": "max-age=1", "x-own": "1" }))

  it("is about the representation unless it names another validator (RFC 9111 §4.3.4)", () => {
    assert.isTrue(isConfirmedBy(representation, {}))
    assert.isTrue(isConfirmedBy(representation, { etag: "\"v1\"" }))
    assert.isTrue(isConfirmedBy(representation, { etag: "W/\"v1\"" }))
    assert.isFalse(isConfirmedBy(representation, { etag: "W/\"v2\"" }))
    assert.isFalse(isConfirmedBy(representation, { etag: "\"v2\"" }))
    const dated = stored(without(ok({ "last-modified": MODIFIED }), "etag"))
    assert.isTrue(isConfirmedBy(dated, { etag: "\"v1\"" }))
    assert.isTrue(isConfirmedBy(dated, { "last-modified": MODIFIED }))
    const later = { "last-modified": "Wed, 02 Jan 2030 12:00:00 GMT" }
    assert.isFalse(isConfirmedBy(dated, later))
    // Chunks of one date are combined, whatever a weak ETag says.
    const weak = stored(ok({ "last-modified": MODIFIED, etag: "W/\"v1\"" }))
    assert.isTrue(isConfirmedBy(weak, { etag: "W/\"v1\"" }))
    assert.isTrue(isConfirmedBy(weak, { etag: "W/\"v1\"", "last-modified": MODIFIED }))
    assert.isFalse(isConfirmedBy(weak, { etag: "W/\"v1\"", ...later }))
    assert.isTrue(isConfirmedBy(representation, { etag: "\"v1\"", ...later }))
  })

  it("changes the stored fields, but none that tells which bytes they are (RFC 9111 §3.2)", () => {
    const { headers, ...rest } = updated(representation, {
      "cache-control": "max-age=9",
      "content-encoding": "gzip",
      "content-length": "0",
      "content-range": "bytes 0-0/1",
      "content-type": "text/plain",
      "connection": "x-hop",
      "etag": "W/\"v9\"",
      "last-modified": "Wed, 02 Jan 2030 12:00:00 GMT",
      "x-hop": "1",
      "x-new": "2"
    })
    assert.deepStrictEqual(headers, { ...representation.headers, "cache-control": "max-age=9", "x-new": "2" })
    assert.strictEqual(rest.id, representation.id)
    assert.strictEqual(rest.size, representation.size)
  })

  it("is asked for, as is an unchanged range, by the strongest validator there is", () => {
    assert.deepStrictEqual(ifUnchanged(representation), { "if-range": "\"v1\"" })
    const dated = stored(without(ok({ "last-modified": MODIFIED }), "etag"))
    assert.deepStrictEqual(ifUnchanged(dated), { "if-range": MODIFIED })
  })
})
