import { createHash } from "node:crypto"

/** What a URL names at the origin: the URL that is asked, and an identifier of it that is safe as a file name. */
export interface Resource {
  readonly id: string
  readonly url: string
}

/** An identifier of `parts`: 128 bits of SHA-256, so that no one can make two that collide, in 32 hexadecimal digits. */
export const identify = (...parts: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)

/** The resource at `url`, which is absolute and normalised. */
export const make = (url: string): Resource => ({ id: identify(url), url })
