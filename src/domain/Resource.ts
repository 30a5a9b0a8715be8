import { createHash } from "node:crypto"
import type { Coding } from "./rfc/ContentCoding.ts"
import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * What the cache keeps under one key: a URL, without what changes from one request to the next (such as a signature), and an
 * identifier of it that is safe as a file name. `make` makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resource {
  readonly id: string
  readonly url: string
}

/** An identifier of `parts`: 128 bits of SHA-256, so that no one can make two that collide, in 32 hexadecimal digits. */
export const identify = (...parts: ReadonlyArray<string>): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)

/**
 * The resource at `url`, which is absolute and normalised.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (url: string): Resource => ({ id: identify(url), url })

/**
 * The resource at `url` that is fetched from public addresses only. It has an identifier of its own, since who may be given that may not be given what has
 * been fetched from wherever the URL led to.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makePublic = (url: string): Resource => ({ id: identify(url, "public"), url })

/** How many digits of its identifier a resource and its variants have in common. */
const FAMILY_DIGITS = 12

/** What the identifiers of a resource and of its variants begin with, so that all of them are found by any of them. */
export const familyOf = (id: string): string => id.slice(0, FAMILY_DIGITS)

/**
 * Where the responses for `resource` that are not the file are stored: redirects, errors and the like. They have an identifier of their own,
 * so that a short-lived one does not supersede a large file. A response that depends on `Accept-Encoding` is for one value of that:
 * `accepted`.
 */
export const besideFile = (resource: Resource, accepted?: string): Resource => ({
  id: familyOf(resource.id) +
    identify(resource.id, "beside the file", ...(accepted === undefined ? [] : [accepted])).slice(FAMILY_DIGITS),
  url: resource.url
})

/** Where a response that is not the file may be stored for requests whose `Accept-Encoding` is `accepted`. */
export const besideFileFor = (resource: Resource, accepted: string): ReadonlyArray<Resource> => [
  besideFile(resource),
  besideFile(resource, accepted)
]

/** The name is the origin's choice, which may be that of something every object has. */
const valueOf = (fields: HeaderFields, name: string): string => Object.hasOwn(fields, name) ? fields[name]! : ""

/**
 * The variant of `resource` that a request with `fields` selects where the origin's answers vary on the fields `names` (RFC 9111
 * §4.1): a resource of its own, with bytes of its own. So is what is for requests with a cookie, where `hasCookie` tells them from
 * others, and what has a content coding.
 */
export const variant = (
  resource: Resource,
  names: ReadonlyArray<string>,
  fields: HeaderFields,
  hasCookie = false,
  coding: Coding = "identity"
): Resource => {
  if (names.length === 0 && !hasCookie && coding === "identity") return resource
  const values = names.map((name) => `${name}: ${valueOf(fields, name).trim()}`)
  const codings = coding === "identity" ? [] : [`coding ${coding}`]
  const id = identify(resource.url, ...values, ...(hasCookie ? ["cookie"] : []), ...codings)
  return { id: familyOf(resource.id) + id.slice(FAMILY_DIGITS), url: resource.url }
}
