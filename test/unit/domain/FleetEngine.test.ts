import { assert, describe, it } from "@effect/vitest"
import { type FleetEngine, formatAddress, parseAddress, parseEngine } from "../../../src/domain/FleetEngine.ts"

describe("parseEngine", () => {
  const engines: ReadonlyArray<readonly [string, FleetEngine]> = [
    ["redis://redis:6379", { _tag: "Redis", url: new URL("redis://redis:6379") }],
    ["rediss://:secret@10.0.0.1/2", { _tag: "Redis", url: new URL("rediss://:secret@10.0.0.1/2") }],
    ["dns://spillway-peers.default.svc:8471", { _tag: "Dns", host: "spillway-peers.default.svc", port: 8471 }],
    ["dns://peers:8471/", { _tag: "Dns", host: "peers", port: 8471 }],
    ["list:n1=10.0.0.1:8471", { _tag: "List", nodes: [{ name: "n1", host: "10.0.0.1", port: 8471 }] }],
    [" list:n1=a.example:1, n2=[fd00::2]:8471 ", {
      _tag: "List",
      nodes: [{ name: "n1", host: "a.example", port: 1 }, { name: "n2", host: "fd00::2", port: 8471 }]
    }]
  ]
  it.each(engines)("reads %s", (text, engine) => {
    assert.deepStrictEqual(parseEngine(text), engine)
  })

  it.each([
    "",
    "redis",
    "redis:",
    "http://redis:6379",
    "dns://peers",
    "dns://peers:0",
    "dns://peers:8471/path",
    "list:",
    "list:n1",
    "list:n1=10.0.0.1",
    "list:n1=10.0.0.1:99999",
    "list:n1=10.0.0.1:1,n1=10.0.0.2:1",
    "list:n1=10.0.0.1:1,",
    "list:-n=10.0.0.1:1",
    "list:n 1=10.0.0.1:1"
  ])("doesn't read %j", (text) => assert.isUndefined(parseEngine(text)))
})

describe("parseAddress", () => {
  it("has an IPv6 address in brackets", () => {
    assert.deepStrictEqual(parseAddress("[::1]:80"), { host: "::1", port: 80 })
    assert.isUndefined(parseAddress("::1:80"))
  })

  it.each(["[::1]:80", "10.0.0.1:8471", "n1.internal:1"])("is undone by formatAddress: %s", (text) => {
    assert.strictEqual(formatAddress(parseAddress(text)!), text)
  })
})
