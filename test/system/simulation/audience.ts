import type { Head, View } from "./invariants.ts"
import { page, PAGE_ETAG } from "./site.ts"

type Violation = string | undefined

/** What an answer is, for a viewer of whom its origin does not think as of everybody. */
export type Verdict =
  /** Right or wrong, and there is no more to judge. */
  | { readonly _tag: "Judged"; readonly violation: Violation }
  /** Of the page that its origin shows to those who may not have the file. */
  | { readonly _tag: "Page" }
  /** To be judged as for anybody. */
  | { readonly _tag: "Other" }

const right: Verdict = { _tag: "Judged", violation: undefined }
const wrong = (violation: string): Verdict => ({ _tag: "Judged", violation })
const other: Verdict = { _tag: "Other" }

export const pageVersion = { file: { bytes: page }, validator: PAGE_ETAG }

/** Whether it is an answer to whom the origin gave it. */
export const judgeAudience = (
  { file, identity, opened }: View,
  isKnown: boolean,
  { headers, status }: Head
): Verdict => {
  const { site } = file.plan
  if (site === undefined || identity === undefined) return other
  const isPage = headers["etag"] === PAGE_ETAG
  const isRefused = status === 401 || status === 403
  const isRedirected = status >= 300 && status < 400 && status !== 304
  // When the file is known already, a refusal of its bytes is a failure.
  if (identity.isEvil && status === 502) return right
  if (site.gate !== undefined && !identity.isMember) {
    if (isKnown) return wrong("the file of others")
    if (isPage) return { _tag: "Page" }
    const isOutside = status === 416 && headers["content-range"] === `bytes */${page.length}`
    return isRefused || isRedirected || isOutside ? right : other
  }
  if (isPage) return wrong("the page for those who may not have the file")
  if (isRefused) {
    // Those whose requests are joined share a refusal.
    return site.refuses && (identity.isEvil || file.lastRefusal() >= opened) ? right : wrong(`${status} to a member`)
  }
  if (site.hop?.setsCookie === true) {
    if (isKnown) return wrong("a file without the cookie that leads to it")
    if (isRedirected) return headers["set-cookie"] === undefined ? wrong("a redirect without its cookie") : right
  }
  return isRedirected ? wrong(`${status} for a file`) : other
}
