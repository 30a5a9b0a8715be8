import { assert, describe, it } from "@effect/vitest"
import { isIn, treeAt, UrlTrees } from "../../../src/domain/UrlTrees.ts"

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

describe("UrlTrees", () => {
  it("covers what was known until a tree was revoked, and nothing that came later", () => {
    const trees = new UrlTrees()
    trees.add("http://o/a", 1000)
    assert.isTrue(trees.covers("http://o/a/b", 999))
    assert.isTrue(trees.covers("http://o/a/b", 1000))
    assert.isFalse(trees.covers("http://o/a/b", 1001))
    assert.isFalse(trees.covers("http://o/b", 0))
    trees.add("http://o/a", 500)
    assert.isTrue(trees.covers("http://o/a", 1000))
  })

  it("has a tree within another that was revoked later only once", () => {
    const trees = new UrlTrees([["http://o/a/b", 1], ["http://o/a/c", 99], ["http://o/ab", 1]])
    trees.add("http://o/a", 50)
    assert.sameDeepMembers([...trees.entries()], [["http://o/a/c", 99], ["http://o/ab", 1], ["http://o/a", 50]])
  })

  it("takes all trees of an origin for one when there are more than 256, and never covers less", () => {
    const trees = new UrlTrees()
    for (let i = 0; i < 256; i++) trees.add(`http://o/${i}`, i)
    trees.add("http://p/a", 7)
    assert.sameDeepMembers([...trees.entries()], [["http://o", 255], ["http://p", 7]])
    assert.isTrue(trees.covers("http://o/200/x", 200))
  })

  it("takes a tree above one whose URL is longer than 512 characters", () => {
    const trees = new UrlTrees()
    trees.add(`http://o/a/${"b".repeat(600)}/c`, 1)
    trees.add(`http://p/${"b".repeat(600)}`, 1)
    assert.deepStrictEqual([...trees.entries()], [["http://o/a", 1], ["http://p", 1]])
  })
})
