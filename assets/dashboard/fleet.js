import { byId, keyed, make, say, sayMore, sign } from "./dom.js"
import { bytes, count, percent } from "./format.js"

/**
 * The nodes of the fleet, if the server is in one.
 *
 * @import { FleetNode, FleetView } from "../../src/http/admin/api/model.ts"
 */

/** How many are shown. */
const SHOWN = 50

const STATES = /** @type {const} */ ({
  self: ["good", "This node"],
  here: ["good", "Here"],
  lost: ["gone", "Lost: it does not respond"],
  leaving: ["wait", "Leaving"],
  different: ["around", "Other configuration: not used"]
})

const makeView = () => {
  const name = make("b")
  const address = make("span", { class: "dim" })
  const holder = make("span", { class: "holder" })
  const stateText = make("span")
  const meter = make("i")
  const held = make("span")
  const passed = make("span")
  const element = make(
    "li",
    {},
    make("p", { class: "node" }, name, address),
    make("p", { class: "node-state" }, holder, stateText),
    make("span", { class: "meter", "aria-hidden": "true" }, meter),
    make("p", { class: "figures dim" }, held, passed)
  )

  /** @param {FleetNode} node */
  const update = ({ address: at, name: called, report, state, weight }) => {
    const [mark, words] = STATES[state]
    say(name, called)
    say(address, at)
    say(stateText, words)
    if (element.dataset.node !== state) {
      element.dataset.node = state
      holder.replaceChildren(sign(mark))
    }
    const share = `weight ${Math.round(weight * 100) / 100}`
    if (report === undefined) {
      meter.style.width = "0"
      say(held, share)
      say(passed, "no report")
      return
    }
    const { cache, peers } = report
    const full = percent(cache.bytes, cache.maxBytes)
    meter.style.width = `${Math.min(100, cache.bytes / Math.max(1, cache.maxBytes) * 100)}%`
    const unusable = cache.state === "usable" ? "" : ", unusable"
    say(held, `${bytes(cache.bytes)} on disk, ${full} of ${bytes(cache.maxBytes)}${unusable} · ${share}`)
    say(passed, `${bytes(peers.receivedBytes)} in · ${bytes(peers.sentBytes)} out`)
  }
  return { element, update }
}

const update = keyed(byId("nodes"), (/** @type {FleetNode} */ { name }) => name, makeView)

/** @param {FleetView | undefined} fleet */
export const showFleet = (fleet) => {
  byId("fleet").hidden = byId("legend-peer").hidden = fleet === undefined
  if (fleet === undefined) return
  const { engine, nodes } = fleet
  say(byId("nodes-count"), count(nodes.length))
  say(
    byId("engine"),
    engine.up ? `Listed by ${engine.name}.` : `${engine.name} does not respond; the list stays as it is.`
  )
  update(nodes.slice(0, SHOWN))
  sayMore(byId("nodes-more"), nodes.length - SHOWN)
}
