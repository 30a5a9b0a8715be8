// What a test asks of the only video of a page. It runs in the page, before the page's own scripts.
globalThis.player = (() => {
  const video = () => document.querySelector("video")

  /** How much has come of what is next to be shown, in seconds. */
  const ahead = () => {
    const { buffered, currentTime } = video()
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime && currentTime <= buffered.end(i)) return buffered.end(i) - currentTime
    }
    return 0
  }

  const events = []
  for (const type of ["playing", "waiting", "seeking", "seeked", "ended", "error"]) {
    // These do not bubble, so they are met on their way down.
    addEventListener(type, ({ target }) => {
      if (target === video()) events.push({ type, when: performance.now(), ahead: ahead() })
    }, true)
  }

  /** What has happened so far. */
  const state = () => {
    const { currentTime, duration, ended, error } = video()
    const { totalVideoFrames } = video().getVideoPlaybackQuality()
    return { time: currentTime, duration, ended, error: error?.message ?? null, frames: totalVideoFrames, events }
  }

  /** Plays on, `rate` times as fast as it was made, until `time` or the end. */
  const playTo = async (time, rate) => {
    video().playbackRate = rate
    await video().play()
    await new Promise((resolve, reject) => {
      const look = () => {
        const { currentTime, ended, error } = video()
        if (error !== null) reject(new Error(error.message))
        if (ended || currentTime >= time) resolve()
      }
      for (const type of ["timeupdate", "ended", "error"]) video().addEventListener(type, look)
      look()
    })
    return state()
  }

  /** Waits until the frame of that time is shown: the event `seeked` may come before it is. */
  const shown = (time) =>
    new Promise((resolve) => {
      const look = (_, { mediaTime }) => {
        if (Math.abs(mediaTime - time) < 0.1) resolve()
        else video().requestVideoFrameCallback(look)
      }
      video().requestVideoFrameCallback(look)
    })

  /** The picture as a script sees it: a hash of its pixels, and how many colours they have. */
  const draw = () => {
    const { videoHeight: height, videoWidth: width } = video()
    const context = Object.assign(document.createElement("canvas"), { height, width }).getContext("2d")
    context.drawImage(video(), 0, 0)
    const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer)
    let hash = 0
    for (const pixel of pixels) hash = Math.imul(hash ^ pixel, 16_777_619)
    return { hash, colours: new Set(pixels).size }
  }

  /** Pauses, goes to that time, and draws the frame there. */
  const seek = async (time) => {
    video().pause()
    const seeked = new Promise((resolve) => video().addEventListener("seeked", resolve, { once: true }))
    const drawn = shown(time)
    video().currentTime = time
    await Promise.all([seeked, drawn])
    return { time: video().currentTime, ...draw() }
  }

  return { playTo, seek, state }
})()
