import type { CacheError } from "../../domain/CacheError.ts"

/** How many errors are kept for later viewers. */
const MAX_ERRORS = 64

/** The files whose reads are late: still running, or ended with an error that no viewer has got yet. */
export class LateReads {
  readonly #files = new Map<string, CacheError | "running">()

  /** Whether a late read of `file` still runs. */
  isRunning(file: string): boolean {
    return this.#files.get(file) === "running"
  }

  /** A read of `file` is late. */
  add(file: string): void {
    this.#files.set(file, "running")
  }

  /** The read of `file` has ended. Keeps its error, if any, for the next viewer; drops the oldest of too many errors. */
  ended(file: string, error: CacheError | undefined): void {
    this.#files.delete(file)
    if (error === undefined) return
    this.#files.set(file, error)
    const errors = [...this.#files].filter(([, outcome]) => outcome !== "running")
    if (errors.length > MAX_ERRORS) this.#files.delete(errors[0]![0])
  }

  /** The error with which the last late read of `file` ended, once. */
  takeError(file: string): CacheError | undefined {
    const outcome = this.#files.get(file)
    if (outcome === undefined || outcome === "running") return undefined
    this.#files.delete(file)
    return outcome
  }
}
