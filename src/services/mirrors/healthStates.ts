/**
 * How an origin is doing, as far as its responses show. One failure is enough to ask others first: that costs a viewer nothing, and the
 * first pause is short.
 */

/** `up`: it is asked as usual. `slow` and `down`: others of its route are asked first, and it is asked before those that are `down`. */
export type Standing = "up" | "slow" | "down"

/** Why an origin isn't `up`. */
export type Trouble =
  /** There was no connection, or no response that is HTTP. */
  | "unreachable"
  /** No connection, header or piece of a body came in time. */
  | "timeout"
  /** A response said that it can't serve at the moment, such as 503. */
  | "status"
  /** A body broke off. */
  | "body"
  /** An active check failed. */
  | "check"
  /** Several responses in a row took long to begin. */
  | "slow"

/** The state of one origin. Moments are of a clock that is never set back, in milliseconds. */
export interface State {
  readonly standing: Standing
  readonly trouble: Trouble | undefined
  /** When that began. */
  readonly since: number
  /** How many outages have begun soon after the one before, in a row. */
  readonly relapses: number
  /** How many responses in a row were slow. */
  readonly slowResponses: number
}

/** The pause before an origin that fails is asked again, in milliseconds. It doubles with each question and each relapse. */
const FIRST_PAUSE_MILLIS = 1000

/** The longest such pause, and how soon an outage has to follow on another to be a relapse, in milliseconds. */
export const MAX_PAUSE_MILLIS = 60_000

/** How many responses in a row have to be slow. One may be slow because of its file. */
const SLOW_RESPONSES = 3

export const BEGINNING: State = {
  standing: "up",
  trouble: undefined,
  since: Number.NEGATIVE_INFINITY,
  relapses: 0,
  slowResponses: 0
}

/** The state after a failure. Failures during an outage change nothing. */
export const afterFailure = (state: State, trouble: Trouble, now: number): State => {
  if (state.standing === "down" || (state.standing === "slow" && trouble === "slow")) return state
  const standing = trouble === "slow" ? "slow" : "down"
  const isRelapse = now - state.since < MAX_PAUSE_MILLIS
  return { standing, trouble, since: now, relapses: isRelapse ? state.relapses + 1 : 0, slowResponses: 0 }
}

/** The state after the response to a request that was sent at `asked`. Responses to requests from before an outage say nothing about it. */
export const afterResponse = (
  state: State,
  { asked, isSlow, now }: { readonly asked: number; readonly now: number; readonly isSlow: boolean }
): State => {
  if (state.standing === "up") {
    if (!isSlow) return state.slowResponses === 0 ? state : { ...state, slowResponses: 0 }
    const slowResponses = state.slowResponses + 1
    return slowResponses < SLOW_RESPONSES ? { ...state, slowResponses } : afterFailure(state, "slow", now)
  }
  if (isSlow || asked < state.since) return state
  return { ...state, standing: "up", trouble: undefined, since: now, slowResponses: 0 }
}

/** The pause before an origin is asked whether it works again, in milliseconds, after it has been asked `asked` times. */
export const pauseBefore = ({ relapses }: State, asked: number): number =>
  Math.min(FIRST_PAUSE_MILLIS * 2 ** (relapses + asked), MAX_PAUSE_MILLIS)
