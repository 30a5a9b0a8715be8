import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { refusalOf, urlBelow, withoutDots } from "../../../src/domain/RequestTarget.ts"

const origin = new URL("http://origin.example:8000")
const below = new URL("https://origin.example/media/")

const urlOf = (base: URL, target: string) => refusalOf(target) ?? urlBelow(base, withoutDots(target))

describe("request targets", () => {
  const accepted: ReadonlyArray<readonly [URL, string, string]> = [
    [origin, "/", "http://origin.example:8000/"],
    [origin, "/a/b.mp4", "http://origin.example:8000/a/b.mp4"],
    [origin, "/a?b=c&d=%20", "http://origin.example:8000/a?b=c&d=%20"],
    [origin, "/a%2Fb%20c", "http://origin.example:8000/a%2Fb%20c"],
    [origin, "//other.example/a", "http://origin.example:8000//other.example/a"],
    [origin, "/@other.example/a", "http://origin.example:8000/@other.example/a"],
    [origin, "/:80/a", "http://origin.example:8000/:80/a"],
    [origin, "/a/...", "http://origin.example:8000/a/..."],
    [origin, "/a..b", "http://origin.example:8000/a..b"],
    [origin, "/a?../..", "http://origin.example:8000/a?../.."],
    [origin, "/%zz", "http://origin.example:8000/%zz"],
    [origin, "/a?b\\c", "http://origin.example:8000/a?b\\c"],
    [origin, "/a?\\..\\b?c\\", "http://origin.example:8000/a?\\..\\b?c\\"],
    [origin, "/a?^{}|`[]", "http://origin.example:8000/a?^{}|`[]"],
    [origin, "/a?q='\"<>", "http://origin.example:8000/a?q=%27%22%3C%3E"],
    [origin, "/a?q=\u00e9", "http://origin.example:8000/a?q=%C3%A9"],
    [origin, "/.", "http://origin.example:8000/"],
    [origin, "/./a", "http://origin.example:8000/a"],
    [origin, "/a/././b/.?c=/./d", "http://origin.example:8000/a/b/?c=/./d"],
    [origin, "//./other.example", "http://origin.example:8000//other.example"],
    [below, "/./", "https://origin.example/media/"],
    [below, "/./a", "https://origin.example/media/a"],
    [below, "/", "https://origin.example/media/"],
    [below, "/a", "https://origin.example/media/a"],
    [below, "//a", "https://origin.example/media//a"],
    [below, "/http://other.example/", "https://origin.example/media/http://other.example/"]
  ]

  it.each(accepted)("appends to %s: %s", (origin, target, url) => {
    const found = urlOf(origin, target)
    assert.strictEqual("href" in found ? found.href : found.status, url)
  })

  const refused: ReadonlyArray<readonly [string, number]> = [
    ["", 400],
    ["*", 400],
    ["a", 400],
    ["http://origin.example:8000/a", 400],
    ["other.example:80", 400],
    ["/a#b", 400],
    ["/a\\b", 400],
    ["/\\other.example/a", 400],
    ["/a\\b?c", 400],
    ["/a?b#c", 400],
    ["/./..", 400],
    ["/.././a", 400],
    ["/./%2e/a", 400],
    ["/.;a/b", 400],
    ["/..", 400],
    ["/../a", 400],
    ["/a/..", 400],
    ["/a/../../b", 400],
    ["/%2e%2e/a", 400],
    ["/%2E./a", 400],
    ["/.%2e/a", 400],
    ["/a/%2e", 400],
    ["/a/..%2fb", 400],
    ["/a%2f%2e%2e%2fb", 400],
    ["/..%5ca", 400],
    ["/a/..?b", 400],
    [`/${"a".repeat(8192)}`, 414],
    [`/a?${"b".repeat(8192)}`, 414]
  ]

  it.each(refused)("refuses %s", (target, status) => {
    const found = urlOf(origin, target)
    assert.isTrue("status" in found, JSON.stringify(found))
    if ("status" in found) assert.strictEqual(found.status, status)
  })

  it("takes the longest target that is allowed", () => {
    assert.property(urlOf(origin, `/${"a".repeat(8191)}`), "href")
  })

  const part = Schema.Literals([
    "/",
    "\\",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "@",
    ":",
    "?",
    "#",
    "a",
    "\t",
    "\n",
    " ",
    "\0",
    "other.example",
    "é",
    "%"
  ])

  it.prop("never leaves the origin or its path, whatever the target", { parts: Schema.Array(part) }, ({ parts }) => {
    const found = urlOf(below, `/${parts.join("")}`)
    if ("status" in found) return
    const url = new URL(found.href)
    assert.strictEqual(url.origin, below.origin)
    assert.isTrue(url.pathname.startsWith("/media/"), url.href)
    assert.strictEqual(url.username, "")
    assert.strictEqual(url.hash, "")
  }, { arbitrary: { runs: 2000 } })
})
