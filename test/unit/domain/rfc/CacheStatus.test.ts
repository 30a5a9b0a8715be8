import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  append,
  type CacheStatus,
  format,
  type Outcome,
  outcomeOf,
  parseOutcome,
  withLastNode
} from "../../../../src/domain/rfc/CacheStatus.ts"

const cases: ReadonlyArray<readonly [CacheStatus, string]> = [
  [{}, "spillway"],
  [{ hit: true }, "spillway; hit"],
  [{ hit: true, detail: "ORIGIN_UNREACHABLE" }, "spillway; hit; detail=ORIGIN_UNREACHABLE"],
  [{ hit: true, ttl: 3600 }, "spillway; hit; ttl=3600"],
  [{ hit: true, ttl: -412 }, "spillway; hit; ttl=-412"],
  [{ hit: true, ttl: 0 }, "spillway; hit; ttl=0"],
  [{ fwd: "miss", stored: true }, "spillway; fwd=miss; stored"],
  [{ fwd: "uri-miss", stored: true }, "spillway; fwd=uri-miss; stored"],
  [{ fwd: "vary-miss" }, "spillway; fwd=vary-miss"],
  [{ fwd: "method" }, "spillway; fwd=method"],
  [{ fwd: "request" }, "spillway; fwd=request"],
  [{ fwd: "miss", stored: true, collapsed: true }, "spillway; fwd=miss; stored; collapsed"],
  [{ fwd: "partial", stored: true, collapsed: false }, "spillway; fwd=partial; stored"],
  [{ fwd: "stale", fwdStatus: 304 }, "spillway; fwd=stale; fwd-status=304"],
  [{ fwd: "bypass", detail: "DISK_FULL" }, "spillway; fwd=bypass; detail=DISK_FULL"],
  [{ hit: false, stored: false, collapsed: false }, "spillway"],
  [{ key: "" }, "spillway; key=\"\""],
  [{ key: "http://a.example/b?c=\"d\\e\"" }, "spillway; key=\"http://a.example/b?c=\\\"d\\\\e\\\"\""],
  [{ key: "caf\u00e9 \u{1f3ac}\r\n" }, "spillway; key=\"caf? ???\""],
  [{ key: "token" }, "spillway; key=\"token\""],
  [{ detail: "a:b/c*~" }, "spillway; detail=a:b/c*~"],
  [{ detail: "disk full" }, "spillway; detail=\"disk full\""],
  [{ detail: "1st" }, "spillway; detail=\"1st\""],
  [{ detail: "" }, "spillway; detail=\"\""],
  [{ detail: "a\"; hit" }, "spillway; detail=\"a\\\"; hit\""],
  [
    {
      detail: "IO_ERROR",
      key: "k",
      collapsed: true,
      stored: true,
      ttl: 5,
      fwdStatus: 200,
      fwd: "stale",
      hit: true
    },
    "spillway; hit; fwd=stale; fwd-status=200; ttl=5; stored; collapsed; key=\"k\"; detail=IO_ERROR"
  ]
]

type Value = string | number | true

/** Reads one member and its parameters as RFC 8941 §4.2 has it; a string keeps a `"` in front, to differ from a token. */
const read = (text: string): ReadonlyMap<string, Value> => {
  const parameter =
    /; ([a-z*][a-z0-9_.*-]*)(?:=(?:([A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*)|(-?\d{1,15})|"((?:[ !#-[\]-~]|\\["\\])*)"))?/y
  assert.isTrue(text.startsWith("spillway"))
  const found = new Map<string, Value>()
  parameter.lastIndex = "spillway".length
  while (parameter.lastIndex < text.length) {
    const match = parameter.exec(text)
    if (match === null) return assert.fail(`not a structured field: ${text}`)
    const [, name, token, integer, string] = match
    assert.isFalse(found.has(name!))
    if (token !== undefined) found.set(name!, token)
    else if (integer !== undefined) found.set(name!, Number(integer))
    else found.set(name!, string === undefined ? true : `"${string.replaceAll(/\\(.)/g, "$1")}`)
  }
  return found
}

const fields = {
  hit: Schema.Boolean,
  fwd: Schema.UndefinedOr(
    Schema.Literals(["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"])
  ),
  fwdStatus: Schema.Int.check(Schema.isBetween({ minimum: 100, maximum: 599 })),
  ttl: Schema.Int.check(Schema.isBetween({ minimum: -1e9, maximum: 1e9 })),
  stored: Schema.Boolean,
  collapsed: Schema.Boolean,
  key: Schema.String,
  detail: Schema.String
}

describe("format", () => {
  it.each(cases)("%j", (status, expected) => {
    assert.strictEqual(format(status), expected)
  })

  it.prop("is a structured field that says what the status says", fields, ({ fwd, ...rest }) => {
    const found = read(format({ ...rest, ...(fwd !== undefined && { fwd }) }))
    assert.strictEqual(found.get("hit"), rest.hit || undefined)
    assert.strictEqual(found.get("fwd"), fwd)
    assert.strictEqual(found.get("fwd-status"), rest.fwdStatus)
    assert.strictEqual(found.get("ttl"), rest.ttl)
    assert.strictEqual(found.get("stored"), rest.stored || undefined)
    assert.strictEqual(found.get("collapsed"), rest.collapsed || undefined)
    const printable = (text: string) => text.replaceAll(/[^ -~]/gu, "?")
    assert.strictEqual(found.get("key"), `"${printable(rest.key)}`)
    assert.include([rest.detail, `"${printable(rest.detail)}`], found.get("detail"))
  })
})

describe("append", () => {
  it("comes after the caches nearer to the origin", () => {
    assert.strictEqual(append("edge; fwd=miss", { hit: true }), "edge; fwd=miss, spillway; hit")
    assert.strictEqual(
      append(" shield; hit; ttl=5, edge; hit ", { fwd: "miss", stored: true }),
      "shield; hit; ttl=5, edge; hit, spillway; fwd=miss; stored"
    )
  })

  it.each([undefined, "", "  "])("is alone after %j", (received) => {
    assert.strictEqual(append(received, { hit: true }), "spillway; hit")
  })
})

describe("withLastNode", () => {
  const names = new Set(["n1", "n2", "n3"])

  it.each([
    ["spillway/n2; hit", "spillway/n2; hit"],
    ["spillway/n2; fwd=miss, spillway/n3; hit, spillway/n1; hit", "spillway/n1; hit"],
    ["Origin; hit, spillway/n2; fwd=miss; key=\"a, spillway/n3\", spillway/n2; hit", "Origin; hit, spillway/n2; hit"],
    [
      "spillway; hit, spillway/elsewhere; hit, spillway/n1; hit",
      "spillway; hit, spillway/elsewhere; hit, spillway/n1; hit"
    ],
    ["Origin; hit; key=\"a\\\", b\", spillway/n1; hit", "Origin; hit; key=\"a\\\", b\", spillway/n1; hit"]
  ])("of %s is %s", (field, expected) => {
    assert.strictEqual(withLastNode(field, names), expected)
  })

  it("is no longer however often a response passes between nodes", () => {
    let field = ""
    for (let pass = 0; pass < 10; pass++) {
      field = withLastNode(append(field, { fwd: "miss", node: `n${1 + pass % 3}` }), names)
    }
    assert.strictEqual(field, "spillway/n1; fwd=miss")
  })
})

const outcomes: ReadonlyArray<readonly [CacheStatus, Outcome]> = [
  [{ hit: true, ttl: 3, key: "a; fwd=miss" }, "hit"],
  [{ hit: true, detail: "OFFLINE" }, "stale"],
  [{ fwd: "uri-miss", stored: true }, "miss"],
  [{ fwd: "vary-miss" }, "miss"],
  [{ fwd: "miss", collapsed: true }, "miss"],
  [{ fwd: "partial" }, "partial"],
  [{ fwd: "stale", fwdStatus: 304 }, "stale"],
  [{ fwd: "request" }, "miss"],
  [{ fwd: "bypass", detail: "DISK_FULL" }, "bypass"],
  [{ fwd: "method" }, "other"],
  [{ detail: "NOT_CACHED" }, "other"]
]

describe("outcomeOf", () => {
  it.each(outcomes)("classifies %j as %s", (status, outcome) => {
    assert.strictEqual(outcomeOf(status), outcome)
  })
})

describe("parseOutcome", () => {
  it.each(outcomes)("reads %j back from the field as %s", (status, outcome) => {
    assert.strictEqual(parseOutcome(format(status)), outcome)
    assert.strictEqual(parseOutcome(append("Origin; hit, spillway; fwd=miss", status)), outcome)
    assert.strictEqual(parseOutcome(append("spillway/n2; fwd=miss", { ...status, node: "n1.example-2" })), outcome)
  })

  it("is other without a member of Spillway", () => {
    assert.strictEqual(parseOutcome(undefined), "other")
    assert.strictEqual(parseOutcome("elsewhere; hit"), "other")
  })
})
