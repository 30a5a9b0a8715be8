import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import { type Browser, chromium } from "playwright-core"
import { find } from "./command.ts"
import { PATIENCE_MILLIS } from "./patience.ts"

/** Where Chromium is, or `undefined`. */
export const chromiumPath = ["chromium", "chromium-browser", "google-chrome"].map(find).find((path) =>
  path !== undefined
)

/** Starts Chromium without a window; it ends with the scope. */
export const startBrowser = (executablePath: string): Effect.Effect<Browser, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() =>
      chromium.launch({ executablePath, args: ["--autoplay-policy=no-user-gesture-required", "--mute-audio"] })
    ),
    (browser) => Effect.promise(() => browser.close())
  )

/** What a page's only video has done so far. */
export interface PlayerState {
  /** In seconds. */
  readonly time: number
  readonly duration: number
  readonly ended: boolean
  readonly error: string | null
  /** Frames that were decoded to be shown, those that came too late among them. */
  readonly frames: number
  readonly events: ReadonlyArray<{
    readonly type: "playing" | "waiting" | "seeking" | "seeked" | "ended" | "error"
    /** In milliseconds. */
    readonly when: number
    /** How much had come of what was to be shown next, in seconds. */
    readonly ahead: number
  }>
}

/** A picture that was drawn to a canvas: where in the video, the hash of its pixels, and how many colours they have. */
export interface Frame {
  readonly time: number
  readonly hash: number
  readonly colours: number
}

/** An answer that the page got over the network. */
export interface Answer {
  readonly path: string
  /** The `Range` that was asked for. */
  readonly range: string | undefined
  readonly status: number
  readonly headers: Record<string, string>
}

/** A page with one video, in a profile of its own: what another one has loaded is not in its cache. */
export interface Player {
  /** Those to come are added. */
  readonly answers: ReadonlyArray<Answer>
  /** Why requests failed or answers were cut, other than by the page itself: players ask again, and nothing is seen of it. */
  readonly losses: ReadonlyArray<string>
  /** Plays on until that time or the end, `rate` times as fast as it was made. */
  readonly playTo: (time: number, rate?: number) => Effect.Effect<PlayerState>
  /** Pauses and goes to that time: the frame that is shown there. */
  readonly seek: (time: number) => Effect.Effect<Frame>
  readonly state: Effect.Effect<PlayerState>
  /** The value of a variable of the page's scripts. */
  readonly valueOf: <A>(name: string) => Effect.Effect<A>
}

const script = fileURLToPath(new URL("player.js", import.meta.url))

/** Opens a page; it is closed with the scope. */
export const openPlayer = Effect.fnUntraced(function*(browser: Browser, url: string) {
  const context = yield* Effect.acquireRelease(
    Effect.promise(() => browser.newContext()),
    (context) => Effect.promise(() => context.close())
  )
  const answers: Array<Answer> = []
  context.on("response", (response) => {
    const range = response.request().headers()["range"]
    const { pathname, protocol } = new URL(response.url())
    // Scripts make `blob:` URLs of what they have.
    if (protocol !== "http:") return
    answers.push({ path: pathname, range, status: response.status(), headers: response.headers() })
  })
  const losses: Array<string> = []
  context.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText ?? "unknown"
    if (reason !== "net::ERR_ABORTED") losses.push(`${request.url()}: ${reason}`)
  })
  yield* Effect.promise(() => context.addInitScript({ path: script }))
  const page = yield* Effect.promise(() => context.newPage())
  yield* Effect.promise(() => page.goto(url))

  const evaluate = <A>(expression: string) => Effect.promise(() => page.evaluate<A>(expression))
  const state = evaluate<PlayerState>("player.state()")
  const within = <A>(what: string, effect: Effect.Effect<A>) =>
    Effect.timeoutOrElse(effect, {
      duration: PATIENCE_MILLIS,
      orElse: () => Effect.flatMap(state, (state) => Effect.die(`no end of ${what}: ${JSON.stringify(state)}`))
    })
  const ask = <A>(call: string) => within(call, evaluate<A>(`player.${call}`))
  const player: Player = {
    answers,
    losses,
    playTo: (time, rate = 1) => ask(`playTo(${time}, ${rate})`),
    seek: (time) => ask(`seek(${time})`),
    state,
    valueOf: evaluate
  }
  return player
})
