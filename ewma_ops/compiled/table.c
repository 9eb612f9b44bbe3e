/* Ids to hashes and rows, and recurrences in the order of arrival. Reference: columns/murmur2.py,
 * table/index.py, stats/recurrences.py. */
#include "common.h"

/* Kafka's murmur2 of each byte string. */
KERNEL i64 ewma_murmur2(IN(u8, data), IN(i64, starts), IN(i64, stops), OUT(u32, hashes)) {
    const u32 m = 0x5BD1E995u;
    i64 n = n_starts;
    if (n_stops != n || n_hashes != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 at = starts[i], stop = stops[i];
        if (!within(at, stop, n_data)) return WRONG;
        u32 hashed = 0x9747B28Cu ^ (u32)(stop - at);
        for (; stop - at >= 4; at += 4) {
            u32 word = load32(data + at) * m;
            word ^= word >> 24;
            hashed = hashed * m ^ word * m;
        }
        if (stop > at) {
            u32 tail = 0;
            for (i64 k = stop - 1; k >= at; k--) tail = tail << 8 | data[k];
            hashed = (hashed ^ tail) * m;
        }
        hashed = (hashed ^ hashed >> 13) * m;
        hashes[i] = hashed ^ hashed >> 15;
    }
    return n;
}

/* Order hashes by partition, as Kafka's default partitioner assigns them, those of one partition in
 * their own order. `ends` says where each partition ends in the order; it holds one more than there
 * are partitions, the first of them 0. */
KERNEL i64 ewma_order_by_partition(IN(u32, hashes), OUT(i64, order), OUT(i64, ends)) {
    i64 n = n_hashes, parts = n_ends - 1;
    if (n_order != n || parts < 1 || parts > INT32_MAX) return WRONG;
    u32 divisor = (u32)parts;
    memset(ends, 0, (size_t)n_ends * sizeof *ends);
    for (i64 i = 0; i < n; i++) ends[(hashes[i] & 0x7FFFFFFFu) % divisor]++;
    i64 before = 0;
    for (i64 p = 0; p < parts; p++) { /* first where each begins */
        i64 count = ends[p];
        ends[p] = before;
        before += count;
    }
    for (i64 i = 0; i < n; i++) order[ends[(hashes[i] & 0x7FFFFFFFu) % divisor]++] = i;
    memmove(ends + 1, ends, (size_t)parts * sizeof *ends);
    ends[0] = 0;
    return n;
}

/* Return how many bytes byte strings have together; nulls have none. */
KERNEL i64 ewma_count_bytes(IN(i64, starts), IN(i64, stops)) {
    i64 total = 0;
    if (n_stops != n_starts) return WRONG;
    for (i64 i = 0; i < n_starts; i++) {
        i64 size = (i64)((u64)stops[i] - (u64)starts[i]);
        total += size > 0 ? size : 0;
    }
    return total < 0 ? WRONG : total;
}

#define BLOCK 32

/* The multiply-shift hash of an id of up to four bytes a factor; see index.py. */
static inline u64 hash_of(const u8 *id, i64 size, const u64 *factor, u64 of_size, u64 added) {
    u64 total = (u64)size * of_size + added;
    i64 at = 0;
    for (; size - at >= 4; at += 4) total += load32(id + at) * *factor++;
    if (size > at) {
        u32 tail = 0;
        for (i64 k = size - 1; k >= at; k--) tail = tail << 8 | id[k];
        total += tail * *factor;
    }
    u64 hashed = total >> 33;
    hashed = (hashed ^ hashed >> 16) * 0x7FEB352Du & 0x7FFFFFFFu;
    return hashed ^ hashed >> 15;
}

/* Return the row of each id in an index, -1 for one that is not there, -2 for one that is longer
 * than there are factors for. See index.SeriesIndex.
 *
 * In a large index every look at it waits for memory. So ids go through in blocks, and each step is
 * done for a whole block, after the step before has asked for what it will look at. */
KERNEL i64 ewma_probe(IN(u8, data), IN(i64, starts), IN(i64, stops), IN(u64, factors), u64 of_size,
                      u64 added, IN(u64, slots), i64 bits, IN(u8, utf8), IN(i64, ends),
                      OUT(i64, rows)) {
    const u64 free_slot = UINT64_MAX;
    i64 n = n_starts, found = 0;
    if (n_stops != n || n_rows != n || bits < 1 || bits > 31 || n_slots != (i64)1 << bits)
        return WRONG;
    u64 last = (u64)n_slots - 1, hashes[BLOCK];
    for (i64 first = 0; first < n; first += BLOCK) {
        i64 count = n - first < BLOCK ? n - first : BLOCK;
        for (i64 k = 0; k < count; k++) {
            i64 start = starts[first + k], size = stops[first + k] - start;
            if (!within(start, stops[first + k], n_data)) return WRONG;
            hashes[k] = free_slot;
            if (size > 4 * n_factors) continue;
            hashes[k] = hash_of(data + start, size, factors, of_size, added);
            __builtin_prefetch(slots + (hashes[k] >> (31 - bits)));
        }
        for (i64 k = 0; k < count; k++) {
            u64 entry = hashes[k] == free_slot ? free_slot : slots[hashes[k] >> (31 - bits)];
            i64 row = (i64)(entry & 0xFFFFFFFFu);
            if (entry != free_slot && row < n_ends - 1) __builtin_prefetch(ends + row);
        }
        for (i64 k = 0; k < count; k++) {
            u64 entry = hashes[k] == free_slot ? free_slot : slots[hashes[k] >> (31 - bits)];
            i64 row = (i64)(entry & 0xFFFFFFFFu);
            if (entry == free_slot || row >= n_ends - 1) continue;
            if (within(ends[row], ends[row + 1], n_utf8)) __builtin_prefetch(utf8 + ends[row]);
        }
        for (i64 k = 0; k < count; k++) {
            i64 start = starts[first + k], size = stops[first + k] - start, found_row = -1;
            u64 hashed = hashes[k], slot = hashed >> (31 - bits);
            if (hashed == free_slot) {
                rows[first + k] = -2;
                continue;
            }
            for (u64 tried = 1; tried <= (u64)n_slots; tried++) {
                u64 entry = slots[slot];
                if (entry == free_slot) break;
                if (entry >> 32 == hashed) {
                    i64 row = (i64)(entry & 0xFFFFFFFFu);
                    if (row >= n_ends - 1 || !within(ends[row], ends[row + 1], n_utf8)) return WRONG;
                    if (ends[row + 1] - ends[row] == size &&
                        memcmp(utf8 + ends[row], data + start, (size_t)size) == 0) {
                        found_row = row;
                        found++;
                        break;
                    }
                }
                slot = (slot + tried) & last;
            }
            rows[first + k] = found_row;
        }
    }
    return found;
}

/* Number the rows of a batch in the order in which they first appear: `series` are the rows, `at`
 * the number of each reading's. `slots` is a hash table of 2^bits > n places, all -1. Returns how
 * many different rows there are. */
KERNEL i64 ewma_number_series(IN(i64, rows), OUT(i64, slots), i64 bits, OUT(i64, series),
                              OUT(i64, at)) {
    i64 n = n_rows, m = 0;
    if (n_series != n || n_at != n || bits < 1 || bits > 40 || n_slots != (i64)1 << bits ||
        n_slots <= n)
        return WRONG;
    u64 last = (u64)n_slots - 1;
    for (i64 i = 0; i < n; i++) {
        u64 first = (u64)rows[i] * 0x9E3779B97F4A7C15u >> (64 - bits), slot = first;
        while (slots[slot] >= 0 && slots[slot] < m && series[slots[slot]] != rows[i]) {
            slot = (slot + 1) & last;
            if (slot == first) return WRONG; /* none was free */
        }
        if (slots[slot] < 0) {
            series[m] = rows[i];
            slots[slot] = m++;
        } else if (slots[slot] >= m) {
            return WRONG;
        }
        at[i] = slots[slot];
    }
    return m;
}

/* y <- a y + g; `before` is y as it was. */
KERNEL i64 ewma_accumulate(IN(i64, at), IN(f64, factors), IN(f64, gains), OUT(f64, state),
                           OUT(f64, before)) {
    i64 n = n_at;
    if (n_factors != n || n_gains != n || n_before != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        if (at[i] < 0 || at[i] >= n_state) return WRONG;
        f64 y = state[at[i]];
        before[i] = y;
        f64 kept = y * factors[i];
        state[at[i]] = kept + gains[i];
    }
    return n;
}

/* m <- m + p (x - m), or x - r (x - m) where p > 1/2; `after` is m, `steps` x - m before it, unless
 * it is empty. */
KERNEL i64 ewma_means(IN(i64, at), IN(f64, shares), IN(f64, rests), IN(f64, values),
                      OUT(f64, state), OUT(f64, after), OUT(f64, steps)) {
    i64 n = n_at;
    if (n_shares != n || n_rests != n || n_values != n || n_after != n || (n_steps && n_steps != n))
        return WRONG;
    for (i64 i = 0; i < n; i++) {
        if (at[i] < 0 || at[i] >= n_state) return WRONG;
        f64 m = state[at[i]], x = values[i], step = x - m;
        if (n_steps) steps[i] = step;
        if (shares[i] > 0.5) {
            f64 back = step * rests[i];
            m = x - back;
        } else {
            f64 on = step * shares[i];
            m = m + on;
        }
        after[i] = m;
        state[at[i]] = m;
    }
    return n;
}

/* T <- max(T, t); `before` is T as it was. */
KERNEL i64 ewma_latest(IN(i64, at), IN(i64, times), OUT(i64, newest), OUT(i64, before)) {
    i64 n = n_at;
    if (n_times != n || n_before != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        if (at[i] < 0 || at[i] >= n_newest) return WRONG;
        i64 greatest = newest[at[i]];
        before[i] = greatest;
        if (times[i] > greatest) newest[at[i]] = times[i];
    }
    return n;
}

/* n <- n + 1 for marked readings; `after` is n. */
KERNEL i64 ewma_counts(IN(i64, at), IN(u8, counted), OUT(i64, count), OUT(i64, after)) {
    i64 n = n_at;
    if (n_counted != n || n_after != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        if (at[i] < 0 || at[i] >= n_count) return WRONG;
        after[i] = count[at[i]] += counted[i] != 0;
    }
    return n;
}
