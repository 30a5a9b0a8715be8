/** The part of a viewer's patience that a read may be expected to take, so that most reads that begin are in time. */
const EXPECTED = 0.9

/** The weight of the last read in the mean. */
const WEIGHT = 1 / 4

/** How long, in milliseconds, the mean is trusted without a new read. After that, a viewer's read finds out. */
const BELIEVED_MILLIS = 5000

/** The mean duration of recent reads for viewers. All times are milliseconds of one clock. */
export class ReadLatency {
  #mean = 0
  #learnedAt = Number.NEGATIVE_INFINITY

  /** Whether `turns` reads, one after the other, would probably take longer than `millis`. */
  isTooLong(turns: number, millis: number, now: number): boolean {
    return this.#mean * turns > millis * EXPECTED && now - this.#learnedAt < BELIEVED_MILLIS
  }

  /** A read took `millis`. */
  ended(millis: number, now: number): void {
    this.#learn(this.#mean + (millis - this.#mean) * WEIGHT, now)
  }

  /** A read hasn't ended after `millis`. The next viewers don't have to wait to find that out. */
  late(millis: number, now: number): void {
    this.#learn(millis, now)
  }

  /** A disk that hung works again. How long it hung says nothing about how fast it is. */
  recovered(now: number): void {
    this.#learn(0, now)
  }

  #learn(mean: number, now: number): void {
    this.#mean = mean
    this.#learnedAt = now
  }
}
