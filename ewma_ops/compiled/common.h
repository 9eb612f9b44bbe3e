/* What all kernels share. The rules of this folder:
 *
 * - A kernel is told the length of every array that it is given, and checks every position that
 *   comes out of data before it reads or writes there. Nothing is allocated or kept.
 * - It returns a number >= 0, DOUBT where the Python reference is to decide, or WRONG where arrays
 *   do not fit together, which is a fault of the caller.
 * - Floating point is as in the reference, operation by operation: no fused multiply-add, no
 *   reordering (-ffp-contract=off, and never -ffast-math).
 * - It does the same as the reference, to the bit: tests/compiled compares them.
 */
#ifndef EWMA_COMMON_H
#define EWMA_COMMON_H

#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read as little-endian"
#endif

#define KERNEL __attribute__((visibility("default")))
#define DOUBT (-1)
#define WRONG (-2)

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;
typedef double f64;

/* An array and its length, as every kernel takes them. */
#define IN(type, name) const type *name, i64 n_##name
#define OUT(type, name) type *name, i64 n_##name

static inline u64 load64(const u8 *at) {
    u64 word;
    memcpy(&word, at, 8);
    return word;
}

static inline u32 load32(const u8 *at) {
    u32 word;
    memcpy(&word, at, 4);
    return word;
}

/* Whether start .. stop is a part of a buffer. */
static inline int within(i64 start, i64 stop, i64 size) {
    return start >= 0 && start <= stop && stop <= size;
}

/* np.maximum and np.minimum: NaN where either is. */
static inline f64 greater(f64 x, f64 y) { return x >= y || x != x ? x : y; }
static inline f64 smaller(f64 x, f64 y) { return x <= y || x != x ? x : y; }

/* Copy bytes, 16 at a time and up to 15 behind the last where both sides have room. */
static inline void copy_short(u8 *to, i64 room, const u8 *from, i64 there, i64 n) {
    if (n > 64 || room < n + 15 || there < n + 15) {
        memcpy(to, from, (size_t)n);
        return;
    }
    for (i64 i = 0; i < n; i += 16) {
        u64 low = load64(from + i), high = load64(from + i + 8);
        memcpy(to + i, &low, 8);
        memcpy(to + i + 8, &high, 8);
    }
}

#endif
