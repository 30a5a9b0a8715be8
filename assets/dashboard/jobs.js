import { send } from "./api.js"
import { byId, keyed, make, say, sayMore } from "./dom.js"
import { bytes, duration, nameOf, percent, rate } from "./format.js"

/**
 * Files that are fetched ahead.
 *
 * @import { WarmJob } from "../../src/http/admin/api/model.ts"
 */

/** How many jobs are shown. */
const SHOWN = 10

/** How often jobs are looked at while one is not over, in milliseconds. */
const POLL_MILLIS = 1000

const input = /** @type {HTMLInputElement} */ (byId("warm-url"))

/**
 * Says what an action has done.
 *
 * @param {string} text
 */
const tell = (text) => say(byId("warm-says"), text)

/** @param {WarmJob} job */
const isOver = ({ state }) => state !== "waiting" && state !== "running"

/** @param {WarmJob} job */
const progressOf = (job) => {
  const { bytes: fetched, bytesPerSecond, error, files, secondsLeft, size, state } = job
  if (state === "failed") return `failed: ${error ?? "unknown"}`
  if (files !== undefined) return `${state}, ${files.done} of ${files.total} files, ${bytes(fetched)}`
  const far = size === undefined ? "" : `, ${bytes(fetched)} of ${bytes(size)}, ${percent(fetched, size)}`
  const left = secondsLeft === undefined ? "" : `, ${rate(bytesPerSecond)}, ${duration(secondsLeft)} left`
  return `${state}${far}${left}`
}

/** @param {WarmJob} first */
const makeJob = ({ id, url }) => {
  const name = nameOf(url)
  const progress = make("span")
  const cancel = make("button", { type: "button", "aria-label": `Cancel: ${name}` }, "Cancel")
  cancel.addEventListener("click", async () => {
    tell((await send("DELETE", `warm/${id}`)).error ?? "")
    await poll()
  })
  const element = make(
    "li",
    {},
    make("p", { class: "what", title: url }, name),
    make("p", { class: "figures dim" }, progress),
    make("p", { class: "actions" }, cancel)
  )

  /** @param {WarmJob} job */
  const update = (job) => {
    say(progress, progressOf(job))
    cancel.hidden = isOver(job)
  }
  return { element, update }
}

const updateJobs = keyed(byId("jobs"), (/** @type {WarmJob} */ { id }) => id, makeJob)

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer

/** Looks at the jobs until all are over. */
const poll = async () => {
  clearTimeout(timer)
  const told = await send("GET", "warm")
  if (told.error !== undefined) return tell(told.error)
  const { jobs } = /** @type {{ readonly jobs: ReadonlyArray<WarmJob> }} */ (told.value)
  const shown = jobs.toReversed().toSorted((a, b) => Number(isOver(a)) - Number(isOver(b))).slice(0, SHOWN)
  updateJobs(shown)
  sayMore(byId("jobs-more"), jobs.length - shown.length)
  if (!jobs.every(isOver)) timer = setTimeout(poll, POLL_MILLIS)
}

/** Shows the jobs, and takes further ones. */
export const showJobs = () => {
  byId("warm").addEventListener("submit", async (event) => {
    event.preventDefault()
    const { error } = await send("POST", "warm", { url: input.value.trim() })
    tell(error ?? "")
    if (error === undefined) input.value = ""
    await poll()
  })
  poll()
}
