import { assert, describe, it } from "@effect/vitest"
import { forwardedFields, type Sender, variesOnForwarded, withForwarded } from "../../../src/domain/Forwarded.ts"

const direct = (address: string | undefined, headers: Sender["headers"] = {}): Sender => ({
  address,
  headers,
  isTrusted: false
})

const own = { isOwn: true, known: undefined }

describe("forwardedFields", () => {
  it("are those of the connection and the Host field, whatever a viewer has sent", () => {
    const headers = {
      host: "media.example:8080",
      forwarded: "for=1.1.1.1",
      "x-forwarded-for": "1.1.1.1",
      "x-forwarded-host": "evil.example",
      "x-forwarded-proto": "https"
    }
    assert.deepStrictEqual(forwardedFields(direct("192.0.2.1", headers), own), {
      "x-forwarded-for": "192.0.2.1",
      "x-forwarded-host": "media.example:8080",
      "x-forwarded-proto": "http",
      forwarded: "for=192.0.2.1;host=\"media.example:8080\";proto=http"
    })
  })

  it("have only the host of the route if others get the response too", () => {
    const sender = direct("192.0.2.1", { host: "any.example" })
    assert.notProperty(forwardedFields(sender, { isOwn: false, known: undefined }), "x-forwarded-host")
    assert.strictEqual(forwardedFields(sender, { isOwn: false, known: "a.example" })["x-forwarded-host"], "a.example")
  })

  it("follow those of a trusted proxy, which is believed about scheme and host", () => {
    const headers = {
      host: "spillway:8080",
      "x-forwarded-for": "203.0.113.7, 198.51.100.2",
      "x-forwarded-host": "media.example",
      "x-forwarded-proto": "https"
    }
    const fields = forwardedFields({ address: "::ffff:10.0.0.1", headers, isTrusted: true }, {
      isOwn: false,
      known: undefined
    })
    assert.deepStrictEqual(fields, {
      "x-forwarded-for": "203.0.113.7, 198.51.100.2, 10.0.0.1",
      "x-forwarded-host": "media.example",
      "x-forwarded-proto": "https",
      forwarded: "for=203.0.113.7, for=198.51.100.2, for=10.0.0.1;host=\"media.example\";proto=https"
    })
    const standard = forwardedFields({
      address: "10.0.0.1",
      headers: { host: "media.example", forwarded: "for=\"[2001:db8::1]\"" },
      isTrusted: true
    }, own)
    assert.strictEqual(
      standard["forwarded"],
      "for=\"[2001:db8::1]\", for=10.0.0.1;host=\"media.example\";proto=http"
    )
  })

  it.each([
    ["2001:db8::1", "for=\"[2001:db8::1]\";proto=http"],
    [undefined, "for=unknown;proto=http"]
  ])("are quoted as RFC 7239 §6 asks: %s", (address, forwarded) => {
    assert.strictEqual(forwardedFields(direct(address), own)["forwarded"], forwarded)
  })

  it("have no host that could end the field", () => {
    const fields = forwardedFields(direct("192.0.2.1", { host: "a\";proto=https" }), own)
    assert.strictEqual(fields["forwarded"], "for=192.0.2.1;proto=http")
    assert.notProperty(fields, "x-forwarded-host")
  })
})

describe("withForwarded", () => {
  const headers = { "x-forwarded-port": "1", "x_forwarded_for": "1.1.1.1", "x-real-ip": "1.1.1.1", range: "bytes=0-" }

  it("replaces such fields of the viewer, if the route wants that", () => {
    assert.deepStrictEqual(withForwarded(headers, { forwarded: true }, { forwarded: "for=2.2.2.2" }), {
      range: "bytes=0-",
      forwarded: "for=2.2.2.2"
    })
    assert.strictEqual(withForwarded(headers, { forwarded: false }, { forwarded: "for=2.2.2.2" }), headers)
    assert.strictEqual(withForwarded(headers, undefined, undefined), headers)
  })
})

describe("variesOnForwarded", () => {
  it.each([
    [undefined, false],
    ["Accept-Encoding", false],
    ["X-Forwarded-Forward", false],
    ["Accept, X-Forwarded-Proto", true],
    ["Forwarded", true]
  ])("%s: %s", (vary, expected) => {
    assert.strictEqual(variesOnForwarded(vary), expected)
  })
})
