import type { HeaderFields } from "./rfc/HeaderFields.ts"

/** The mirrors of a route have the same files, each below a URL of its own. The cache knows files by their URL at the first mirror. */

const withoutSlash = ({ href }: URL): string => href.replace(/\/$/, "")

/** The URL of the file below `to` that `url` is below `from`; `undefined` if it is not below `from`. */
export const moved = (url: string, from: URL, to: URL): string | undefined => {
  const base = withoutSlash(from)
  const rest = url.slice(base.length)
  return url.startsWith(base) && (rest === "" || /^[/?]/.test(rest)) ? withoutSlash(to) + rest : undefined
}

/** Fields of a response that name a place. */
const PLACES = ["location", "content-location"] as const

/** The fields of a response from `url` below `mirror`, with the places there as they are called below `first`. */
export const movedPlaces = (headers: HeaderFields, url: string, mirror: URL, first: URL): HeaderFields => {
  const named = PLACES.flatMap((name) => {
    const place = headers[name] === undefined ? null : URL.parse(headers[name], url)
    return place === null ? [] : [[name, moved(place.href, mirror, first) ?? place.href] as const]
  })
  return named.length === 0 ? headers : { ...headers, ...Object.fromEntries(named) }
}
