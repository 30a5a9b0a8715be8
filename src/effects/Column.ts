/** Rows that are allocated together. A column grows by pages, so no growth copies what is there. */
const PAGE_ROWS = 4096

/**
 * One number for each row of a table, 0 by default: a whole number from 0 to 2³²-1, in four bytes, unless another kind of `Page` is given.
 * Rows are numbered from 0 on, and should be dense.
 */
export class Column {
  readonly #Page: Uint32ArrayConstructor | Float64ArrayConstructor
  readonly #pages: Array<Uint32Array | Float64Array> = []

  constructor(Page: Uint32ArrayConstructor | Float64ArrayConstructor = Uint32Array) {
    this.#Page = Page
  }

  get(row: number): number {
    return this.#pages[Math.floor(row / PAGE_ROWS)]?.[row % PAGE_ROWS] ?? 0
  }

  set(row: number, value: number): void {
    const page = Math.floor(row / PAGE_ROWS)
    while (this.#pages.length <= page) this.#pages.push(new this.#Page(PAGE_ROWS))
    this.#pages[page]![row % PAGE_ROWS] = value
  }
}
