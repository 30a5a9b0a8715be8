import { Schema } from "effect"
import { MAX_TAG_LENGTH, tagsOf } from "./CacheTags.ts"
import type { Representation } from "./Representation.ts"

/**
 * Bans: what was stored before a moment and matches a target is out of date. A ban takes effect at once, however much it covers, since each
 * entry is compared with the list when it is used.
 */

const MAX_URL_LENGTH = 16 * 1024

const url = Schema.String.check(Schema.isMaxLength(MAX_URL_LENGTH))

const isSoft = { soft: Schema.optionalKey(Schema.Literal(true)) }

/**
 * What is banned. `Url`, `Prefix` and `Tag` are purges: what they cover is never used again, or, if `soft`, counts as stale. The empty prefix
 * is that of all URLs. `OutdatedTree` is a URL that a request has changed with everything below it: the origin is asked before that is used again.
 */
export const BanTarget = Schema.Union([
  Schema.TaggedStruct("Url", { url, ...isSoft }),
  Schema.TaggedStruct("Prefix", { prefix: url, ...isSoft }),
  Schema.TaggedStruct("Tag", { tag: Schema.NonEmptyString.check(Schema.isMaxLength(MAX_TAG_LENGTH)), ...isSoft }),
  Schema.TaggedStruct("OutdatedTree", { url })
])

export type BanTarget = typeof BanTarget.Type

/** A target with the number of its ban. Numbers grow, and are milliseconds since 1970 unless the clock was set back. */
export const Ban = Schema.Struct({ at: Schema.Finite, target: BanTarget })

export type Ban = typeof Ban.Type

/** How many bans are distinguished. If there are more, they are widened to whole origins, and then to everything. */
const MAX_BANS = 1000

/** How long the URL of a ban is at most, in characters. Of a longer one, what it begins with is banned. */
const MAX_LENGTH = 1024

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

/** What happens to an entry that a ban covers, from the weakest to the strongest. */
const EFFECTS = ["soften", "outdate", "purge"] as const

/** `purge`: it is never used again. `outdate`: the origin has to confirm it first. `soften`: it counts as stale. */
export type BanEffect = typeof EFFECTS[number]

/** What bans say of an entry. `at` is the number of the first of them. */
export interface Verdict {
  readonly effect: BanEffect
  readonly at: number
}

const effectOf = (target: BanTarget): BanEffect =>
  target._tag === "OutdatedTree" ? "outdate" : target.soft === true ? "soften" : "purge"

const strength = (effect: BanEffect): number => EFFECTS.indexOf(effect)

/** Whether everything that `inner` matches is matched by `outer`. */
const contains = (outer: BanTarget, inner: BanTarget): boolean => {
  if (outer._tag === "Tag" || inner._tag === "Tag") {
    if (outer._tag === "Prefix") return outer.prefix === ""
    if (outer._tag === "OutdatedTree") return outer.url === EVERYTHING
    return outer._tag === "Tag" && inner._tag === "Tag" && outer.tag === inner.tag
  }
  const start = inner._tag === "Prefix" ? inner.prefix : inner.url
  switch (outer._tag) {
    case "Url":
      return inner._tag === "Url" && inner.url === outer.url
    case "Prefix":
      return start.startsWith(outer.prefix)
    case "OutdatedTree": {
      const isLonger = inner._tag !== "Prefix" || start.length > outer.url.length || outer.url === EVERYTHING
      return isLonger && isIn(outer.url, start)
    }
  }
}

/** A target of bounded length that matches at least the same. */
const shortened = (target: BanTarget): BanTarget => {
  switch (target._tag) {
    case "Tag":
      return target
    case "Prefix":
      return { ...target, prefix: target.prefix.slice(0, MAX_LENGTH) }
    case "Url": {
      const { url, ...rest } = target
      return url.length <= MAX_LENGTH ? target : { ...rest, _tag: "Prefix", prefix: url.slice(0, MAX_LENGTH) }
    }
    case "OutdatedTree": {
      const { url } = target
      if (url.length <= MAX_LENGTH) return target
      return { ...target, url: treeAt(url.slice(0, Math.max(0, url.lastIndexOf("/", MAX_LENGTH)))) }
    }
  }
}

/** All of the origin of a target. */
const ofOrigin = (target: BanTarget): BanTarget => {
  if (target._tag === "Tag") return target
  if (target._tag === "OutdatedTree") return { ...target, url: target.url.split("/", 3).join("/") }
  const { soft } = target
  const text = target._tag === "Url" ? target.url : target.prefix
  const [prefix = ""] = /^[^/]*\/\/[^/]*\//.exec(text) ?? []
  return { _tag: "Prefix", prefix, ...(soft === true && { soft }) }
}

const ofEverything = (target: BanTarget): BanTarget => {
  if (target._tag === "OutdatedTree") return { _tag: "OutdatedTree", url: EVERYTHING }
  return { _tag: "Prefix", prefix: "", ...(target.soft === true && { soft: true }) }
}

/** What of an entry a ban is compared with. */
export type Banned = Pick<Representation, "afterBan" | "headers" | "url">

/** Whether a target matches an entry, however new that is. */
export const matches = (target: BanTarget, { headers, url }: Banned): boolean => {
  switch (target._tag) {
    case "Url":
      return url === target.url
    case "Prefix":
      return url.startsWith(target.prefix)
    case "OutdatedTree":
      return isIn(target.url, url)
    case "Tag":
      return tagsOf(headers).includes(target.tag)
  }
}

/** Whether what a target matches is never used again. */
export const isPurge = (target: BanTarget): boolean => effectOf(target) === "purge"

/** Whether `outer` makes `inner` superfluous. */
export const covers = (outer: Ban, inner: Ban): boolean =>
  inner.at <= outer.at && strength(effectOf(inner.target)) <= strength(effectOf(outer.target)) &&
  contains(outer.target, inner.target)

/** A bounded list of bans, which rather covers too much than too little. */
export class BanList {
  /** In the order of their numbers. */
  #bans: ReadonlyArray<Ban>
  #latest: number

  constructor(bans: ReadonlyArray<Ban> = [], latest = 0) {
    this.#bans = bans.toSorted((a, b) => a.at - b.at)
    this.#latest = Math.max(latest, this.#bans.at(-1)?.at ?? 0)
  }

  /** The number of the last ban that there has been. */
  get latest(): number {
    return this.#latest
  }

  get bans(): ReadonlyArray<Ban> {
    return this.#bans
  }

  /** Bans what is stored until now: `now` is in milliseconds since 1970. */
  add(target: BanTarget, now: number): Ban {
    const ban = { at: Math.max(now, this.#latest + 1), target: shortened(target) }
    this.put(ban)
    return ban
  }

  /** Adds a ban that has its number. */
  put(ban: Ban): void {
    this.#put(ban)
    for (const wider of [ofOrigin, ofEverything]) {
      if (this.#bans.length <= MAX_BANS) return
      const all = this.#bans
      this.#bans = []
      for (const { at, target } of all) this.#put({ at, target: wider(target) })
    }
  }

  /** What the bans since `after` say of an entry; `undefined` if it is newer than all that match it. */
  verdict(entry: Banned, after = 0): Verdict | undefined {
    const { afterBan = 0 } = entry
    const from = Math.max(after, afterBan)
    let found: Verdict | undefined
    for (let i = this.#bans.length - 1; i >= 0; i--) {
      const { at, target } = this.#bans[i]!
      if (at <= from) break
      if (!matches(target, entry)) continue
      const effect = effectOf(target)
      const isStronger = found === undefined || strength(effect) >= strength(found.effect)
      found = { effect: isStronger ? effect : found!.effect, at }
    }
    return found
  }

  /** Removes the bans up to this number, except those that `isKept`. */
  drop(until: number, isKept: (ban: Ban) => boolean = () => false): void {
    this.#bans = this.#bans.filter((ban) => ban.at > until || isKept(ban))
  }

  #put(ban: Ban): void {
    const { at, target } = ban
    this.#latest = Math.max(this.#latest, at)
    if (this.#bans.some((other) => covers(other, ban))) return
    this.#bans = [...this.#bans.filter((other) => !covers(ban, other)), { at, target }].toSorted((a, b) => a.at - b.at)
  }
}
