import { Option } from "effect"
import * as Mime from "effect/http/Mime"

/** Types that players look for, and that the platform's table of standard types doesn't have. */
const more: Readonly<Record<string, string>> = {
  "7z": "application/x-7z-compressed",
  ass: "text/x-ssa",
  avi: "video/x-msvideo",
  deb: "application/vnd.debian.binary-package",
  flac: "audio/flac",
  flv: "video/x-flv",
  m3u: "audio/x-mpegurl",
  m3u8: "application/vnd.apple.mpegurl",
  m4b: "audio/mp4",
  m4v: "video/mp4",
  mka: "audio/x-matroska",
  mkv: "video/x-matroska",
  rar: "application/vnd.rar",
  srt: "application/x-subrip",
  wma: "audio/x-ms-wma",
  wmv: "video/x-ms-wmv"
}

/** The media type of the file at `path`, by the extension of its name. */
export const mediaTypeOf = (path: string): string => {
  const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? ""
  return Object.hasOwn(more, extension)
    ? more[extension]!
    : Option.getOrElse(Mime.getType(path), () => "application/octet-stream")
}
