import { ByteSize, Clock, Effect } from "effect"
import { HttpIncomingMessage, type HttpServerRequest, HttpServerResponse } from "effect/http"
import { createHash } from "node:crypto"
import { isOfAnotherSite } from "./AdminGuard.ts"
import { securityHeaders } from "./dashboard.ts"
import { beginSession, isSame, SESSION_COOKIE, SESSION_SECONDS } from "./session.ts"

/**
 * How a person shows the admin token in a browser: a form, which is answered by a cookie.
 */

type Request = HttpServerRequest.HttpServerRequest

/** What the form posts to, below `/_spillway/`. */
export const PAGE = "login"

/** How much may be posted, in bytes. */
const MAX_FORM_BYTES = 4 * 1024

/** How long a form may take to arrive. */
const FORM_TIMEOUT = "10 seconds"

const style = `
  :root { color-scheme: light dark; --ink: #12212b; --dim: #4a5d6b; --paper: #eef2f5; --card: #fff; --edge: #8496a3;
    --accent: #0b6b7a; --on-accent: #fff; --bad: #a8321f }
  @media (prefers-color-scheme: dark) { :root { --ink: #e6eef3; --dim: #9db0bd; --paper: #0b1319; --card: #121d25;
    --edge: #5b7080; --accent: #4cc6d6; --on-accent: #06222a; --bad: #ff9b87 } }
  * { box-sizing: border-box }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--paper);
    color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
  main { width: min(24rem, 100%); padding: 2rem; background: var(--card); border-radius: 1rem }
  h1 { margin: 0 0 .25rem; font-size: 1.5rem } p { margin: 0 0 1.25rem; color: var(--dim) } p.bad { color: var(--bad) }
  label { display: block; font-weight: 600; margin-bottom: .375rem }
  input, button { width: 100%; font: inherit; padding: .625rem .75rem; border-radius: .5rem }
  input { border: 1px solid var(--edge); background: transparent; color: inherit }
  button { margin-top: 1rem; border: 0; background: var(--accent); color: var(--on-accent); font-weight: 600; cursor: pointer }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
`

const html = (message: string) =>
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Spillway: log in</title>
<link rel="icon" href="data:,">
<style>${style}</style>
<main>
<h1>Spillway</h1>
${message}
<form method="post" action="${PAGE}">
<label for="token">Admin token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
</main>
</html>
`

const page = (message: string) =>
  HttpServerResponse.text(html(message), {
    status: 401,
    contentType: "text/html; charset=utf-8",
    headers: {
      ...securityHeaders(
        `default-src 'none'; style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'; ` +
          "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
      ),
      "cache-control": "no-store",
      "www-authenticate": "Bearer realm=\"spillway\""
    }
  })

/** The form, for anyone who has not logged in. */
export const form = page("<p>What <code>SPILLWAY_ADMIN_TOKEN</code> says where the server was started.</p>")

const wrong = page("<p class=\"bad\" role=\"alert\">That is not the token.</p>")

/** Whether somebody looks at the answer. */
export const isBrowser = ({ headers, method }: Request): boolean =>
  method === "GET" && /\btext\/html\b/.test(headers["accept"] ?? "")

const plain = (status: number, text: string, headers: Record<string, string> = {}) =>
  HttpServerResponse.text(`${text}\n`, { status, headers: { ...headers, "cache-control": "no-store" } })

/** Sets the cookie, for `seconds`, and shows the dashboard. It goes to Spillway's own pages only, never to an origin. */
const enter = (value: string, seconds: number, { headers }: Request) => {
  // What a browser loads by TLS, through a server in front, it asks for by TLS only.
  const secure = headers["origin"]?.startsWith("https:") ? "; Secure" : ""
  return HttpServerResponse.empty({
    status: 303,
    headers: {
      "location": "./",
      "cache-control": "no-store",
      "set-cookie":
        `${SESSION_COOKIE}=${value}; Path=/_spillway/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`
    }
  })
}

/** A form that is posted; `undefined` where it is too long, or does not come. */
const formOf = (request: Request): Effect.Effect<URLSearchParams | undefined> =>
  request.text.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(MAX_FORM_BYTES)),
    Effect.map((text) => new URLSearchParams(text)),
    Effect.timeout(FORM_TIMEOUT),
    Effect.orElseSucceed(() => undefined)
  )

/**
 * Answers a request for `PAGE` where `token` is to be shown. A form with it begins a session, one without any ends it. What another
 * site's page has a browser post is refused.
 */
export const answer = Effect.fnUntraced(function*(token: string, request: Request) {
  if (request.method !== "POST") return plain(405, "Post the form", { allow: "POST" })
  if (isOfAnotherSite(request.headers)) return plain(403, "Not for pages of another site")
  const fields = yield* formOf(request)
  if (fields === undefined) return plain(400, "No form that can be read")
  const shown = fields.get("token")
  if (shown === null) return enter("", 0, request)
  const now = yield* Clock.currentTimeMillis
  return isSame(shown, token) ? enter(beginSession(token, now), SESSION_SECONDS, request) : wrong
})
