import { Column } from "./Column.ts"

/**
 * Lists of rows, each of which is in at most one of them. Lists have numbers from 0 on, and rows from 1 on. A row can be moved to the end
 * at no cost, however long its list is.
 */
export class RowLists {
  readonly #first = new Column()
  readonly #last = new Column()
  readonly #before = new Column()
  readonly #behind = new Column()

  /** The first row of a list, or 0. */
  first(list: number): number {
    return this.#first.get(list)
  }

  /** The row behind another one, or 0. */
  behind(row: number): number {
    return this.#behind.get(row)
  }

  push(list: number, row: number): void {
    const last = this.#last.get(list)
    this.#before.set(row, last)
    this.#behind.set(row, 0)
    if (last === 0) this.#first.set(list, row)
    else this.#behind.set(last, row)
    this.#last.set(list, row)
  }

  /** Takes a row out, which must be in this very list. */
  remove(list: number, row: number): void {
    const before = this.#before.get(row)
    const behind = this.#behind.get(row)
    if (before === 0) this.#first.set(list, behind)
    else this.#behind.set(before, behind)
    if (behind === 0) this.#last.set(list, before)
    else this.#before.set(behind, before)
  }

  /** The rows of a list. The current row may be removed. */
  *of(list: number): Generator<number> {
    let row = this.first(list)
    while (row !== 0) {
      const next = this.behind(row)
      yield row
      row = next
    }
  }
}
