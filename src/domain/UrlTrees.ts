/**
 * URLs with all that lies below them, and when each was revoked: a bounded set, which rather covers too much than too little.
 */

/** How many trees are distinguished; when there are more, all of an origin are taken for one. */
const MAX_TREES = 256

/** How long the URL of a tree is at most, in characters; of a longer one, a tree above it is taken. */
const MAX_LENGTH = 512

/** The URL of a tree: without query, and without a slash at its end. */
export type Tree = string

/** The tree that has all URLs. */
export const EVERYTHING: Tree = ""

/** The tree that `url`, absolute and without fragment, is the root of. */
export const treeAt = (url: string): Tree => url.split("?", 1)[0]!.replace(/\/+$/, "")

/** Whether `url` is the root of `tree`, with any query, or lies below it. */
export const isIn = (tree: Tree, url: string): boolean => {
  if (tree === EVERYTHING) return true
  if (!url.startsWith(tree)) return false
  const next = url[tree.length]
  return next === undefined || next === "/" || next === "?"
}

const originOf = (tree: Tree): Tree => tree.split("/", 3).join("/")

const shortened = (tree: Tree): Tree =>
  tree.length <= MAX_LENGTH
    ? tree
    : treeAt(tree.slice(0, Math.max(originOf(tree).length, tree.lastIndexOf("/", MAX_LENGTH))))

export class UrlTrees {
  readonly #revoked: Map<Tree, number>

  constructor(entries: Iterable<readonly [Tree, number]> = []) {
    this.#revoked = new Map(entries)
  }

  /** Revokes all of `tree` as it was until `at`, in milliseconds since 1970. */
  add(tree: Tree, at: number): void {
    const whole = shortened(tree)
    for (const [other, until] of this.#revoked) if (isIn(whole, other) && until <= at) this.#revoked.delete(other)
    this.#put(whole, at)
    if (this.#revoked.size <= MAX_TREES) return
    const all = this.entries()
    this.#revoked.clear()
    for (const [other, until] of all) this.#put(originOf(other), until)
  }

  /** Whether what was said of `url` at `generatedAt`, in milliseconds since 1970, has been revoked since. */
  covers(url: string, generatedAt: number): boolean {
    for (const [tree, at] of this.#revoked) if (generatedAt <= at && isIn(tree, url)) return true
    return false
  }

  entries(): ReadonlyArray<readonly [Tree, number]> {
    return [...this.#revoked]
  }

  #put(tree: Tree, at: number): void {
    this.#revoked.set(tree, Math.max(at, this.#revoked.get(tree) ?? 0))
  }
}
