/**
 * Who owns which part of which file: weighted rendezvous hashing over stretches. Each node computes the same order from the names and
 * weights alone. The order of two nodes doesn't depend on which others there are, so nodes that wait only for those above them never
 * wait for each other.
 */

/** A node, as far as its rank depends on it. */
export interface Candidate {
  readonly name: string
  /** How much it owns compared with others. A node with weight 0 owns nothing. */
  readonly weight: number
}

/** The number of the stretch that holds the byte at `offset`, if a stretch has `stretchBytes` bytes. */
export const stretchAt = (offset: number, stretchBytes: number): number => Math.floor(offset / stretchBytes)

/** The finalizer of MurmurHash3: each bit of `hash` changes each bit of the result with a probability of one half. */
const mix = (hash: number): number => {
  let mixed = hash ^ (hash >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** 32 bits of a text, by FNV-1a. */
const hashOf = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mix(hash)
}

/** What odd multiple tells neighbouring stretches apart: 2^32 divided by the golden ratio. */
const GOLDEN = 0x9e3779b1

const keyOf = (url: string, stretch: number): number => mix(hashOf(url) ^ Math.imul(stretch + 1, GOLDEN))

/** `-w / ln(u)` of a `u` between 0 and 1 that is uniformly distributed: the node with the largest one owns the key. */
const scoreOf = (key: number, { name, weight }: Candidate): number =>
  -weight / Math.log((mix(key ^ hashOf(name)) + 1) / (2 ** 32 + 1))

const inOrder = <C extends Candidate>(
  a: { readonly candidate: C; readonly score: number },
  b: { readonly candidate: C; readonly score: number }
): number => b.score - a.score || (a.candidate.name < b.candidate.name ? -1 : 1)

/** `candidates` by rank for a stretch of the resource at `url`: the first one owns it. Without those that own nothing. */
export const rank = <C extends Candidate>(
  candidates: ReadonlyArray<C>,
  url: string,
  stretch: number
): ReadonlyArray<C> => {
  const key = keyOf(url, stretch)
  return candidates
    .filter(({ weight }) => weight > 0)
    .map((candidate) => ({ candidate, score: scoreOf(key, candidate) }))
    .toSorted(inOrder)
    .map(({ candidate }) => candidate)
}

/** Whether `a` ranks above `b` for a stretch of the resource at `url`. A node with weight 0 ranks below all others. */
export const isAbove = (a: Candidate, b: Candidate, url: string, stretch: number): boolean =>
  rank([a, b], url, stretch)[0]?.name === a.name
