/** Numbers the rows of a table, from 1 on. The numbers of rows that were removed are used again, so that columns stay dense. */
export class RowNumbers {
  #next = 1
  readonly #free: Array<number> = []

  /** How many rows there are. */
  get count(): number {
    return this.#next - 1 - this.#free.length
  }

  /** The number behind those of all rows. */
  get end(): number {
    return this.#next
  }

  add(): number {
    return this.#free.pop() ?? this.#next++
  }

  remove(row: number): void {
    this.#free.push(row)
  }
}
