import { Column } from "../effects/Column.ts"
import { RowIndex } from "../effects/RowIndex.ts"
import { RowNumbers } from "../effects/RowNumbers.ts"

/** How many characters of an identifier make its hash: the last ones, in which variants of a resource differ. */
const HASHED = 12

const hashOf = (id: string): number => {
  let hash = 0x811c9dc5
  for (let at = Math.max(0, id.length - HASHED); at < id.length; at++) {
    hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193)
  }
  return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0
}

/** A copy of `text` that holds no longer text in memory that it was cut from. */
export const ownCopy = (text: string): string => Buffer.from(text, "latin1").toString("latin1")

/** Numbers the resources that anything is known of, so that what is known of each is in columns. A number counts its users. */
export class ResourceTable {
  readonly #rows = new RowNumbers()
  readonly #ids: Array<string> = [""]
  readonly #users = new Column()
  readonly #index = new RowIndex((row) => hashOf(this.#ids[row]!))

  /** The number of a resource, or 0. */
  find(id: string): number {
    return this.#index.find(hashOf(id), (row) => this.#ids[row] === id)
  }

  /** The number of a resource, which has one user more from now on. */
  acquire(id: string): number {
    let row = this.find(id)
    if (row === 0) {
      row = this.#rows.add()
      this.#ids[row] = ownCopy(id)
      this.#index.add(row)
    }
    this.#users.set(row, this.#users.get(row) + 1)
    return row
  }

  /** Takes a user away. The number of a resource without users is given to another one. */
  release(row: number): void {
    const users = this.#users.get(row) - 1
    this.#users.set(row, users)
    if (users > 0) return
    this.#index.remove(row)
    this.#ids[row] = ""
    this.#rows.remove(row)
  }

  idOf(row: number): string {
    return this.#ids[row]!
  }

  /** The number behind those of all resources. */
  get end(): number {
    return this.#rows.end
  }
}
