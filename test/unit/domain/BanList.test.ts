import { assert, describe, it } from "@effect/vitest"
import { BanList, type BanTarget, EVERYTHING, isIn, treeAt } from "../../../src/domain/BanList.ts"

describe("a tree", () => {
  it("is a URL without query and slash, and all below", () => {
    for (const url of ["http://o/a/b", "http://o/a/b/", "http://o/a/b//", "http://o/a/b?c/d"]) {
      assert.strictEqual(treeAt(url), "http://o/a/b")
    }
    assert.strictEqual(treeAt("http://o/"), "http://o")
  })

  it.each([
    ["http://o/a", "http://o/a", true],
    ["http://o/a", "http://o/a/", true],
    ["http://o/a", "http://o/a?x", true],
    ["http://o/a", "http://o/a/b/c?d", true],
    ["http://o", "http://o/a", true],
    ["http://o/a", "http://o/ab", false],
    ["http://o/a", "http://o/", false],
    ["http://o", "http://o:8080/a", false],
    ["http://o", "http://other/a", false]
  ])("%s has %s: %s", (tree, url, expected) => {
    assert.strictEqual(isIn(tree, url), expected)
  })
})

const entryAt = (url: string, afterBan = 0, headers: Record<string, string> = {}) => ({ url, headers, afterBan })

const tree = (url: string): BanTarget => ({ _tag: "OutdatedTree", url })
const prefix = (prefix: string): BanTarget => ({ _tag: "Prefix", prefix })
const soft = (prefix: string): BanTarget => ({ _tag: "Prefix", prefix, soft: true })
const urlOf = (url: string): BanTarget => ({ _tag: "Url", url })
const tag = (tag: string): BanTarget => ({ _tag: "Tag", tag })

const targets = ({ bans }: BanList) => bans.map(({ target }) => target)

describe("BanList", () => {
  it("covers what was stored before a ban, and nothing that came later", () => {
    const list = new BanList()
    const { at } = list.add(tree("http://o/a"), 1000)
    assert.deepStrictEqual(list.verdict(entryAt("http://o/a/b")), { effect: "outdate", at })
    assert.isUndefined(list.verdict(entryAt("http://o/a/b", at)))
    assert.isUndefined(list.verdict(entryAt("http://o/b")))
    // It was compared with that ban before.
    assert.isUndefined(list.verdict(entryAt("http://o/a/b"), at))
  })

  it.each<[string, BanTarget, string, Record<string, string>, boolean]>([
    ["a URL", urlOf("http://o/a"), "http://o/a", {}, true],
    ["no other URL", urlOf("http://o/a"), "http://o/a/b", {}, false],
    ["what begins with a prefix", prefix("http://o/a"), "http://o/ab", {}, true],
    ["nothing else", prefix("http://o/a"), "http://o/b", {}, false],
    ["everything", prefix(""), "film:1", {}, true],
    ["a key", tag("a"), "http://o/x", { "surrogate-key": "b a" }, true],
    ["a key of the second of two fields", tag("c"), "http://o/x", { "surrogate-key": "a b, c" }, true],
    ["a key before a second field", tag("b"), "http://o/x", { "surrogate-key": "a b, c" }, true],
    ["a tag", tag("a b"), "http://o/x", { "cache-tag": "c, a b" }, true],
    ["no part of a tag", tag("a"), "http://o/x", { "cache-tag": "ab, ca", "surrogate-key": "aa" }, false],
    ["no tag in another case", tag("a"), "http://o/x", { "cache-tag": "A" }, false]
  ])("covers %s", (_, target, url, headers, expected) => {
    const list = new BanList()
    list.add(target, 1)
    assert.strictEqual(list.verdict(entryAt(url, 0, headers)) !== undefined, expected)
  })

  it("counts on although the clock is set back", () => {
    const list = new BanList([], 5000)
    const first = list.add(urlOf("http://o/a"), 10)
    assert.isAbove(first.at, 5000)
    const { at } = list.add(urlOf("http://o/a"), 10)
    assert.isAbove(at, first.at)
    assert.deepStrictEqual(list.verdict(entryAt("http://o/a", first.at)), { effect: "purge", at })
  })

  it("says the strongest of several effects, and since when", () => {
    const list = new BanList()
    const { at } = list.add(soft("http://o/"), 1)
    list.add(tree("http://o/a"), 2)
    assert.deepStrictEqual(list.verdict(entryAt("http://o/a")), { effect: "outdate", at })
    list.add(tag("x"), 3)
    list.add(soft("http://o/"), 4)
    assert.strictEqual(list.verdict(entryAt("http://o/a", 0, { "cache-tag": "x" }))?.effect, "purge")
    assert.strictEqual(list.verdict(entryAt("http://o/b"))?.effect, "soften")
  })

  it("has a ban within a later one that is as strong only once", () => {
    const list = new BanList()
    for (const target of [urlOf("http://o/a/b"), soft("http://o/a/"), tag("x"), tree("http://o/a/c")]) {
      list.add(target, 1)
    }
    list.add(prefix("http://o/a/"), 1)
    assert.deepStrictEqual(targets(list), [tag("x"), prefix("http://o/a/")])
    list.add(soft(""), 1)
    assert.lengthOf(targets(list), 3)
    list.add(prefix(""), 1)
    assert.deepStrictEqual(targets(list), [prefix("")])
  })

  it("has trees beside prefixes of their siblings", () => {
    const list = new BanList()
    list.add(soft("http://o/a"), 1)
    list.add(tree("http://o/a"), 1)
    assert.deepStrictEqual(list.verdict(entryAt("http://o/ab"))?.effect, "soften")
  })

  it("is widened to origins when there are more than 1000 bans, and never covers less", () => {
    const list = new BanList()
    for (let i = 0; i < 1000; i++) list.add(i % 2 === 0 ? urlOf(`http://o/${i}`) : tree(`http://o/${i}`), i)
    const { at } = list.add(urlOf("http://p/a"), 5000)
    assert.sameDeepMembers(targets(list), [tree("http://o"), prefix("http://o/"), prefix("http://p/")])
    assert.strictEqual(list.verdict(entryAt("http://o/200"))?.effect, "purge")
    assert.strictEqual(list.verdict(entryAt("http://o/201/x"))?.effect, "purge")
    assert.isUndefined(list.verdict(entryAt("http://q/a")))
    assert.isUndefined(list.verdict(entryAt("http://p/a", at)))
  })

  it("is widened to everything when there are more than 1000 tags", () => {
    const list = new BanList()
    for (let i = 0; i < 1001; i++) list.add({ _tag: "Tag", tag: String(i), soft: true }, i)
    assert.deepStrictEqual(targets(list), [soft("")])
  })

  it("takes what a URL of more than 1024 characters begins with", () => {
    const list = new BanList()
    const long = `http://o/a/${"b".repeat(1100)}`
    list.add(urlOf(long), 1)
    assert.deepStrictEqual(targets(list), [prefix(long.slice(0, 1024))])
    list.add(tree(`${long}/c`), 1)
    assert.deepInclude(targets(list), tree("http://o/a"))
    list.add(tree(`http://${"b".repeat(1100)}`), 1)
    assert.isDefined(list.verdict(entryAt(`http://${"b".repeat(1100)}`)))
  })

  it("drops bans up to a number, except those that are kept, and counts on", () => {
    const list = new BanList()
    const [first, second] = [list.add(tag("a"), 1), list.add(tag("b"), 2)]
    list.drop(second.at, ({ at }) => at === first.at)
    assert.deepStrictEqual(targets(list), [tag("a")])
    list.drop(second.at)
    assert.deepStrictEqual([list.bans, list.latest], [[], second.at])
    assert.isAbove(list.add(tree(EVERYTHING), 0).at, second.at)
  })
})
