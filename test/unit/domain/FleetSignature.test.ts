import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { FleetMember } from "../../../src/domain/FleetMember.ts"
import { FleetPurge } from "../../../src/domain/FleetPurge.ts"
import {
  CLOCK_MILLIS,
  formatSignature,
  isProven,
  openRecord,
  proveResponse,
  sealRecord,
  type Secrets,
  type SignedRequest,
  signRequest,
  verifyRequest
} from "../../../src/domain/FleetSignature.ts"

const secrets: Secrets = ["s".repeat(32)]
const others: Secrets = ["o".repeat(32)]
const NOW = 1_795_738_849_076

const request: SignedRequest = {
  method: "GET",
  target: "/films/a.mp4?x=1",
  host: "media.example.org",
  range: "bytes=0-9",
  flags: ""
}

const from = { name: "n1", time: NOW, nonce: "0123456789abcdef" }
const signature = signRequest(secrets, request, from)
const field = formatSignature(signature)

describe("the signature of a request", () => {
  it("is verified by a node with the same secret", () => {
    assert.deepStrictEqual(verifyRequest(secrets, request, field, NOW), signature)
  })

  it("is verified while the secret is replaced, by nodes with the old and the new one", () => {
    const both: Secrets = [others[0], secrets[0]]
    assert.isDefined(verifyRequest(both, request, field, NOW))
    assert.isDefined(verifyRequest(both, request, formatSignature(signRequest(both, request, from)), NOW))
    assert.isUndefined(verifyRequest(secrets, request, formatSignature(signRequest(both, request, from)), NOW))
  })

  it.each<[string, Partial<SignedRequest>]>([
    ["method", { method: "HEAD" }],
    ["target", { target: "/films/b.mp4?x=1" }],
    ["host", { host: "other.example.org" }],
    ["range", { range: "bytes=0-10" }],
    ["flags", { flags: "have-only" }]
  ])("is not that of a request with another %s", (_, other) => {
    assert.isUndefined(verifyRequest(secrets, { ...request, ...other }, field, NOW))
  })

  it.each([
    ["none", undefined],
    ["nothing", ""],
    ["one of another name", field.replace("n1", "n2")],
    ["one of another time", field.replace(String(NOW), String(NOW + 1))],
    ["one with another nonce", field.replace("0123", "0124")],
    ["one of another version", field.replace("v1", "v2")],
    ["one with another code", `${field.slice(0, -2)}AA`],
    ["one without a code", field.slice(0, -44)],
    ["one with more behind it", `${field} x`],
    ["one with another secret", formatSignature(signRequest(others, request, from))],
    ["one of a name that cannot be", formatSignature(signRequest(secrets, request, { ...from, name: "a/b" }))]
  ])("is not verified: %s", (_, other) => {
    assert.isUndefined(verifyRequest(secrets, request, other, NOW))
  })

  it("is valid for as long as clocks may differ", () => {
    assert.isDefined(verifyRequest(secrets, request, field, NOW + CLOCK_MILLIS))
    assert.isDefined(verifyRequest(secrets, request, field, NOW - CLOCK_MILLIS))
    assert.isUndefined(verifyRequest(secrets, request, field, NOW + CLOCK_MILLIS + 1))
    assert.isUndefined(verifyRequest(secrets, request, field, NOW - CLOCK_MILLIS - 1))
  })
})

describe("the proof of an answer", () => {
  const response = { status: 206, etag: "\"1\"", contentRange: "bytes 0-9/100" }
  const proof = proveResponse(secrets, signature.mac, response)

  it("shows that a node of the fleet has answered this request in this way", () => {
    assert.isTrue(isProven(secrets, signature.mac, response, proof))
    assert.isFalse(isProven(secrets, signature.mac, response, undefined))
    assert.isFalse(isProven(others, signature.mac, response, proof))
    assert.isFalse(isProven(secrets, `${signature.mac}x`, response, proof))
    assert.isFalse(isProven(secrets, signature.mac, { ...response, status: 200 }, proof))
    assert.isFalse(isProven(secrets, signature.mac, { ...response, etag: "\"2\"" }, proof))
    assert.isFalse(isProven(secrets, signature.mac, { ...response, contentRange: undefined }, proof))
  })
})

describe("a signed record", () => {
  const purpose = { kind: "member", fleet: "default" } as const
  const member = new FleetMember({
    name: "n1",
    host: "10.0.0.1",
    port: 8471,
    weight: 10,
    stretch: 64 * 1024 ** 2,
    version: "0.1.0",
    routes: "abc",
    since: NOW,
    leaving: false
  })
  const text = sealRecord(FleetMember, secrets, purpose, { time: NOW, value: member })

  it("gives back its value, for its purpose only", () => {
    assert.deepStrictEqual(openRecord(FleetMember, secrets, purpose, text), Option.some({ time: NOW, value: member }))
    assert.isTrue(Option.isNone(openRecord(FleetMember, secrets, { ...purpose, fleet: "other" }, text)))
    assert.isTrue(Option.isNone(openRecord(FleetMember, secrets, { ...purpose, kind: "purge" }, text)))
    assert.isTrue(Option.isNone(openRecord(FleetMember, others, purpose, text)))
  })

  it.each([
    "",
    " ",
    "{}",
    " {}",
    text.replace("10.0.0.1", "10.0.0.2"),
    text.replace(String(NOW), String(NOW + 1)),
    text.slice(1),
    text.slice(44)
  ])(
    "is nothing without the code of the fleet: %s",
    (text) => assert.isTrue(Option.isNone(openRecord(FleetMember, secrets, purpose, text)))
  )

  it("is nothing if its value cannot be, although the code is right", () => {
    const value = new FleetPurge({
      id: "0123456789abcdef",
      from: "n1",
      time: NOW,
      round: 1,
      targets: [{ _tag: "Prefix", prefix: "" }]
    })
    const purge = sealRecord(FleetPurge, secrets, purpose, { time: NOW, value })
    assert.isTrue(Option.isNone(openRecord(FleetMember, secrets, purpose, purge)))
  })
})
