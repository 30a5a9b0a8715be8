/**
 * Sizes Node's thread pool, which has four threads by default. The size is read at the first use of the pool, so the program imports
 * this module first. A disk that hangs can block half of the pool (see `DiskLimiter`).
 */
process.env["UV_THREADPOOL_SIZE"] ??= "24"
