import { byId, keyed, make, say, sayMore, sign } from "./dom.js"
import { clock, duration, nameOf } from "./format.js"

/**
 * The last failures, what brought them about, and whether they have passed.
 *
 * @import { Failure } from "../../src/http/admin/api/model.ts"
 */

/** How many are shown. */
const SHOWN = 8

/** @type {Record<string, string>} */
const kinds = {
  DiskFull: "Disk full",
  PermissionDenied: "No permission to write",
  IoError: "Disk error",
  OriginUnreachable: "Origin unreachable",
  OriginTimeout: "Origin too slow",
  OriginBodyFailed: "Origin broke off",
  OriginForbidden: "Origin not allowed",
  OriginUnexpected: "Origin's answer not understood",
  RepresentationChanged: "File changed at the origin"
}

/** @param {Failure} failure */
const makeView = ({ advice = "", at, errno, kind, message, operation, url }) => {
  const holder = make("span", { class: "holder" })
  const recovery = make("p", { class: "recovery" }, holder, make("span"))
  const code = [errno, operation].filter((text) => text !== undefined).join(", ")
  const causes = [
    message,
    ...(errno !== undefined && message.includes(errno) ? [] : [code]),
    url === undefined ? "" : nameOf(url),
    advice
  ]
  const element = make(
    "li",
    {},
    make("p", { class: "kind" }, make("b", {}, kinds[kind] ?? kind), make("time", { datetime: at }, clock(at))),
    ...causes.filter((text) => text !== "").map((text) => make("p", { class: "cause dim", title: text }, text)),
    recovery
  )

  /** @param {Failure} failure */
  const update = ({ at, recoveredAt }) => {
    const state = recoveredAt === undefined ? "open" : "over"
    if (element.dataset.failure !== state) {
      element.dataset.failure = state
      holder.replaceChildren(sign(state === "open" ? "around" : "good"))
    }
    const lasted = recoveredAt === undefined ? 0 : (Date.parse(recoveredAt) - Date.parse(at)) / 1000
    say(
      /** @type {Element} */ (recovery.lastElementChild),
      recoveredAt === undefined
        ? "Not over yet: going around it"
        : `Recovered by itself after ${lasted < 1 ? "less than 1 s" : duration(lasted)}`
    )
  }
  return { element, update }
}

const update = keyed(
  byId("failures"),
  (/** @type {Failure} */ { at, errno, kind, url }) => [at, kind, errno, url].join(" "),
  makeView
)

/** @param {ReadonlyArray<Failure>} failures the newest first */
export const showFailures = (failures) => {
  update(failures.slice(0, SHOWN))
  byId("failures-none").hidden = failures.length > 0
  sayMore(byId("failures-more"), failures.length - SHOWN)
}
