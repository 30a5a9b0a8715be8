import { noteFiles, showCache } from "./cache.js"
import { makeChart } from "./chart.js"
import { showMaps } from "./chunks.js"
import { showConfig } from "./config.js"
import { byId, make, say } from "./dom.js"
import { showFailures } from "./failures.js"
import { showFleet } from "./fleet.js"
import { bytes, rate } from "./format.js"
import { makeGauge } from "./gauge.js"
import { makeHistory } from "./history.js"
import { showJobs } from "./jobs.js"
import { listen } from "./live.js"
import { showOrigins } from "./origins.js"
import { showGone, showLastMinute, showStatus } from "./state.js"
import { showStreams } from "./streams.js"
import { makeTrend } from "./trend.js"

/**
 * The page: what the server says goes to the parts that show it.
 *
 * @import { Sample } from "./history.js"
 */

const history = makeHistory()
const trend = makeTrend()
const gauge = makeGauge(byId("gauge"))

/** @type {Sample | undefined} */
let pointed
/** @type {number | undefined} */
let lastHeard
/** @type {(() => void) | undefined} */
let sayGone

const showNow = () => {
  const sample = pointed ?? history.samples().at(-1)
  for (const name of /** @type {const} */ (["cached", "peer", "origin", "passthrough"])) {
    const value = sample?.[name]
    say(byId(`now-${name}`), value == null ? "–" : rate(value))
  }
}

const chart = makeChart(byId("chart"), (sample) => {
  pointed = sample
  showNow()
})

const showSums = () => {
  const { cached, origin, passthrough, peer } = history.sums()
  const others = peer === 0 ? "" : `${bytes(peer)} from other nodes, `
  say(
    byId("traffic-text"),
    `In the last 10 minutes, as far as this page was open: ${bytes(cached)} from the cache, ` +
      `${others}${bytes(origin)} fetched and kept, ${bytes(passthrough)} passed through.`
  )
}

listen({
  onSnapshot: ({ failures, fleet, lastMinute, resources, status, streams, totals }) => {
    lastHeard = Date.now()
    sayGone = undefined
    const now = Date.parse(status.startedAt) / 1000 + status.uptime
    history.add(now, totals, status.startedAt, status.cache.state === "unusable")
    showLastMinute(lastMinute)
    showStatus(status, totals, history.samples().at(-1), trend.add(now, status))
    chart.show(history.samples())
    showNow()
    showSums()
    gauge.show(status)
    showStreams(streams, status.streams, now)
    showMaps(resources)
    showFleet(fleet)
    showOrigins(status.origins)
    noteFiles(status)
    showFailures(failures)
  },
  onGone: (nextAttempt, isFull) => {
    sayGone = () => showGone(lastHeard, nextAttempt, isFull)
    sayGone()
  }
})

/** How often the server's memory is asked for, in milliseconds: it has the samples that the page has dropped. */
const PAST_MILLIS = 60_000

const refreshPast = async () => {
  const response = await fetch("api/history", { cache: "no-store" }).catch(() => undefined)
  if (response?.status === 200) history.setPast((await response.json()).samples)
}

refreshPast()
setInterval(refreshPast, PAST_MILLIS)

showCache()
showConfig()
showJobs()

// Counts down.
setInterval(() => sayGone?.(), 1000)

const { video } = document.documentElement.dataset
if (video !== undefined && video !== "") {
  byId("sample").append(
    make("video", { src: video, controls: "", preload: "none", "aria-labelledby": "sample-title" })
  )
  byId("sample").hidden = false
}
