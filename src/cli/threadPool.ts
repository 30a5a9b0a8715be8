/**
 * Sizes Node's thread pool, which has four threads unless another size is set before its first use: so this module is the
 * first that the program imports. Half of the pool may be held by a disk that hangs (see `DiskLimiter`).
 */
process.env["UV_THREADPOOL_SIZE"] ??= "24"
