import type { HeaderFields } from "./rfc/HeaderFields.ts"

/**
 * Names that an origin gives to its responses, so that all responses with one of them can be purged at once: `Surrogate-Key`, separated by
 * spaces, and `Cache-Tag`, separated by commas. They are for caches, so viewers don't get them.
 */

/** The longest tag in characters. Longer ones are ignored. */
export const MAX_TAG_LENGTH = 1024

/** How many tags of a response count. The rest is ignored. */
export const MAX_TAGS = 1000

const SURROGATE_KEY = "surrogate-key"
const CACHE_TAG = "cache-tag"

/** The response fields with tags. */
export const tagFields: ReadonlyArray<string> = [SURROGATE_KEY, CACHE_TAG]

const isTag = (text: string): boolean => text !== "" && text.length <= MAX_TAG_LENGTH

/** Whether a response has fields with tags. */
export const hasTags = (headers: HeaderFields): boolean =>
  headers[SURROGATE_KEY] !== undefined || headers[CACHE_TAG] !== undefined

/** The tags of a response with these fields. */
export const tagsOf = (headers: HeaderFields): ReadonlyArray<string> => {
  const { [CACHE_TAG]: tags = "", [SURROGATE_KEY]: keys = "" } = headers
  if (tags === "" && keys === "") return []
  // Several fields of one name were joined by commas.
  const all = [...keys.split(/[\t ]+/).map((key) => key.replace(/,$/, "")), ...tags.split(",").map((tag) => tag.trim())]
  return all.filter(isTag).slice(0, MAX_TAGS)
}

/** Whether a field is for caches that purge by tag, and not for viewers. */
export const isTagField = (name: string): boolean => name === SURROGATE_KEY || name === CACHE_TAG
