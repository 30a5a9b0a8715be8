/** How many uses of all chunks make an era. */
const ERA_USES = 65_536

/** What is counted of one chunk. */
export interface Counted {
  /** How often it was used, as of `era`. */
  uses: number
  era: number
}

/** Counts uses so that older ones weigh less: half, and half again, with every `ERA_USES` of all chunks. */
export const make = () => {
  let total = 0
  const era = (): number => Math.floor(total / ERA_USES)
  const of = (counted: Counted): number => counted.uses / 2 ** (era() - counted.era)
  return {
    /** How often something was used lately. */
    of,
    /** Counts a use. */
    count: (counted: Counted): void => {
      total += 1
      counted.uses = of(counted) + 1
      counted.era = era()
    }
  }
}
