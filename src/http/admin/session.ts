import { createHash, createHmac, timingSafeEqual } from "node:crypto"

/**
 * What stands for the admin token in a browser, which cannot send the token by itself. A session is the time at which it ends and a
 * keyed digest of that, so that nothing has to be remembered: it ends by itself, or for all when the token is changed.
 */

/** The name of the cookie that holds a session. */
export const SESSION_COOKIE = "spillway_session"

/** How long a session lasts, in seconds. */
export const SESSION_SECONDS = 12 * 60 * 60

/** Has one length for texts of all lengths, so that the time of the comparison reveals nothing. */
const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/** Whether both are the same, in a time that does not depend on where they differ. */
export const isSame = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b))

const sign = (token: string, ends: string): string =>
  createHmac("sha256", token).update(`spillway session ${ends}`).digest("base64url")

/** A session that begins at `now`, in milliseconds since 1970, for the value of the cookie. */
export const beginSession = (token: string, now: number): string => {
  const ends = String(Math.floor(now / 1000) + SESSION_SECONDS)
  return `${ends}.${sign(token, ends)}`
}

/** The value of the cookie in a `Cookie` field, the first one where there are several. */
const sessionIn = (cookie: string): readonly [ends: string, signature: string] | undefined => {
  const match = /(?:^|;) *spillway_session=(\d{1,12})\.([\w-]{43}) *(?:;|$)/.exec(cookie)
  return match === null ? undefined : [match[1]!, match[2]!]
}

/** Whether a `Cookie` field has a session that was begun with this token and has not ended. */
export const hasSession = (token: string, cookie: string | undefined, now: number): boolean => {
  const session = cookie === undefined ? undefined : sessionIn(cookie)
  return session !== undefined && Number(session[0]) * 1000 > now && isSame(session[1], sign(token, session[0]))
}
