/** A source of numbers that are the same for the same seed. */
export interface Random {
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly next: () => number
  /** A whole number, both bounds inclusive. */
  readonly int: (minimum: number, maximum: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(choices: ReadonlyArray<A>) => A
  /** One of `choices`, each as likely as the number beside it says. */
  readonly weighted: <A>(choices: ReadonlyArray<readonly [A, number]>) => A
  /** A source of its own: how often it is asked changes nothing for anybody else. */
  readonly fork: () => Random
}

/** Mulberry32. */
export const make = (seed: number): Random => {
  let state = seed | 0
  const word = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  // Seeds that are neighbours begin alike.
  for (let i = 0; i < 4; i++) word()
  const next = () => word() / 2 ** 32
  const int = (minimum: number, maximum: number) => minimum + Math.floor(next() * (maximum - minimum + 1))
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (choices) => choices[int(0, choices.length - 1)]!,
    weighted: (choices) => {
      let rest = next() * choices.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [choice, weight] of choices) {
        rest -= weight
        if (rest < 0) return choice
      }
      return choices.at(-1)![0]
    },
    fork: () => make(word())
  }
}
