/** A bucket, or the files in it whose names begin with a prefix. */
export interface Bucket {
  readonly name: string
  /** A path, which begins with `/` if it isn't empty. */
  readonly prefix: string
  readonly region: string
  /** The URL of a server that is compatible with S3; that of Amazon's region if omitted. */
  readonly endpoint?: URL | undefined
  /** Whether the bucket is named in the path and not in the host. */
  readonly pathStyle?: boolean | undefined
}

/** The bucket that `url` names, such as `s3://films/old`. */
export const bucketIn = ({ host, pathname }: URL): Pick<Bucket, "name" | "prefix"> => ({
  name: host,
  prefix: pathname.replace(/\/+$/, "")
})

/** The server of a region of Amazon's. */
const amazon = (region: string): URL =>
  new URL(`https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`)

/**
 * The URL by which the files of a bucket are requested. Unless `pathStyle` says, the bucket is named in the host at Amazon, and in the path at
 * other servers, most of which have one host. A name with dots is named in the path: a certificate for `*.example.org` isn't valid for it.
 */
export const bucketUrl = (
  { endpoint, name, prefix, region, pathStyle = endpoint !== undefined || name.includes(".") }: Bucket
): URL => {
  const url = new URL(endpoint ?? amazon(region))
  const base = url.pathname.replace(/\/+$/, "")
  if (!pathStyle) url.host = `${name}.${url.host}`
  url.pathname = `${base}${pathStyle ? `/${name}` : ""}${prefix}`
  return url
}
