import { byId, keyed, make, say, sayMore, sign } from "./dom.js"
import { clock, count } from "./format.js"

/**
 * The origins of the routes, and how they are doing.
 *
 * @import { OriginStatus } from "../../src/http/admin/api/model.ts"
 */

/** How many are shown. */
const SHOWN = 50

const STATES = /** @type {const} */ ({
  up: ["good", "Up"],
  slow: ["around", "Slow: others of its route are asked first"],
  down: ["gone", "Down"],
  unknown: ["wait", "Not asked yet"]
})

/** @type {Record<NonNullable<OriginStatus["trouble"]>, string>} */
const TROUBLES = {
  unreachable: "no connection",
  timeout: "no response in time",
  status: "it says that it is unavailable",
  body: "it broke off a body",
  check: "its check failed",
  slow: "its responses begin late"
}

const makeView = () => {
  const name = make("b")
  const holder = make("span", { class: "holder" })
  const stateText = make("span")
  const more = make("span")
  const element = make(
    "li",
    {},
    make("p", { class: "node" }, name),
    make("p", { class: "node-state" }, holder, stateText),
    make("p", { class: "figures dim" }, more)
  )

  /** @param {OriginStatus} origin */
  const update = ({ firstByteSeconds, since, state, trouble, url }) => {
    // One that was never asked is not known to work.
    const shown = state === "up" && firstByteSeconds === undefined ? "unknown" : state
    const [mark, words] = STATES[shown]
    say(name, url)
    say(stateText, words)
    if (element.dataset.origin !== shown) {
      element.dataset.origin = shown
      holder.replaceChildren(sign(mark))
    }
    const begins = firstByteSeconds === undefined
      ? ""
      : `first byte after ${count(Math.round(firstByteSeconds * 1000))} ms`
    say(more, trouble === undefined || since === undefined ? begins : `since ${clock(since)}: ${TROUBLES[trouble]}`)
  }
  return { element, update }
}

const update = keyed(byId("origins-list"), (/** @type {OriginStatus} */ { url }) => url, makeView)

/** @param {ReadonlyArray<OriginStatus>} origins */
export const showOrigins = (origins) => {
  byId("origins").hidden = origins.length === 0
  say(byId("origins-count"), count(origins.length))
  update(origins.slice(0, SHOWN))
  sayMore(byId("origins-more"), origins.length - SHOWN)
}
