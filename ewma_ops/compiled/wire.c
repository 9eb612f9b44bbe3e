/* Records of a Kafka record batch (magic 2), in and out. Reference: ewma_ops/wire/decode.py and
 * encode.py. */
#include "common.h"

/* Read a zigzag varint; 0 where it does not end before `limit`, or does not fit into 64 bits. */
static inline int read_varint(const u8 *data, i64 *at, i64 limit, i64 *value) {
    u64 raw = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (*at >= limit) return 0;
        u8 byte = data[(*at)++];
        if (shift == 63 && byte > 1) return 0;
        raw |= (u64)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = (i64)(raw >> 1) ^ -(i64)(raw & 1);
            return 1;
        }
    }
    return 0;
}

/* Read the size of a byte string and pass it by; a null stops one before it starts. */
static inline int read_span(const u8 *data, i64 *at, i64 limit, i64 *start, i64 *stop) {
    i64 size;
    if (!read_varint(data, at, limit, &size)) return 0;
    *start = *at;
    if (size < 0) {
        *stop = *at - 1;
        return 1;
    }
    if (size > limit - *at) return 0;
    *stop = *at += size;
    return 1;
}

/* Decode the records of batches that stand end to end in `data`, whose headers are checked.
 *
 * Of each batch: its bytes, number of records, first and last offset, base timestamp, and whether
 * that is the time of all its records. Of each record: what the columns say. Returns how many
 * headers there are, or DOUBT if anything is out of the ordinary. */
KERNEL i64 ewma_decode_records(IN(u8, data), IN(i64, sizes), IN(i64, counts), IN(i64, first_offsets),
                               IN(i64, last_offsets), IN(i64, bases_ms), IN(u8, append_times),
                               OUT(i64, offsets), OUT(i64, times_ms), OUT(i64, key_starts),
                               OUT(i64, key_stops), OUT(i64, starts), OUT(i64, stops),
                               OUT(i64, header_counts), OUT(i64, header_starts),
                               OUT(i64, header_stops)) {
    i64 n = n_offsets, at = 0, i = 0, every_header = 0, last = INT64_MIN;
    if (n_counts != n_sizes || n_first_offsets != n_sizes || n_last_offsets != n_sizes ||
        n_bases_ms != n_sizes || n_append_times != n_sizes || n_times_ms != n ||
        n_key_starts != n || n_key_stops != n || n_starts != n || n_stops != n ||
        n_header_counts != n || n_header_starts != n || n_header_stops != n)
        return WRONG;
    for (i64 b = 0; b < n_sizes; b++) {
        if (sizes[b] < 0 || sizes[b] > n_data - at || counts[b] < 0 || counts[b] > n - i)
            return WRONG;
        i64 batch_end = at + sizes[b];
        for (i64 k = 0; k < counts[b]; k++, i++) {
            i64 length, delta_ms, delta, count, content;
            if (!read_varint(data, &at, batch_end, &length)) return DOUBT;
            if (length < 1 || length > batch_end - at) return DOUBT;
            i64 end = at + length;
            at += 1; /* attributes, none of them in use */
            if (!read_varint(data, &at, end, &delta_ms)) return DOUBT;
            if (!read_varint(data, &at, end, &delta)) return DOUBT;
            if (!read_span(data, &at, end, &key_starts[i], &key_stops[i])) return DOUBT;
            if (!read_span(data, &at, end, &starts[i], &stops[i])) return DOUBT;
            if (!read_varint(data, &at, end, &count)) return DOUBT;
            if (count < 0 || count > end - at) return DOUBT;
            header_counts[i] = count;
            header_starts[i] = at;
            every_header += count;
            for (i64 h = 0; h < count; h++) {
                i64 from, to;
                if (!read_span(data, &at, end, &from, &to) || to < from) return DOUBT;
                if (!read_span(data, &at, end, &content, &to)) return DOUBT;
            }
            header_stops[i] = at;
            if (at != end) return DOUBT;
            if (__builtin_add_overflow(first_offsets[b], delta, &offsets[i])) return DOUBT;
            if (delta < 0 || offsets[i] <= last || offsets[i] > last_offsets[b]) return DOUBT;
            last = offsets[i];
            if (append_times[b]) delta_ms = 0;
            if (__builtin_add_overflow(bases_ms[b], delta_ms, &times_ms[i])) return DOUBT;
        }
        if (at != batch_end) return DOUBT;
    }
    return i == n ? every_header : WRONG;
}

static inline u64 zigzag(i64 value) { return (u64)value << 1 ^ (u64)(value >> 63); }

static inline i64 varint_size(i64 value) {
    u64 raw = zigzag(value);
    return raw < 0x80 ? 1 : raw < 0x4000 ? 2 : (70 - __builtin_clzll(raw)) / 7;
}

static inline u8 *write_varint(u8 *to, i64 value) {
    u64 raw = zigzag(value);
    while (raw >= 0x80) {
        *to++ = (u8)(raw | 0x80);
        raw >>= 7;
    }
    *to++ = (u8)raw;
    return to;
}

/* Encode records behind the first `at` bytes of `out`; their offsets go on from `delta`.
 *
 * The headers of a record, with their count, are `n_head` bytes that all have and then
 * `tail_size` bytes of its own; or else, where `header_counts` is not empty, a count and bytes
 * that are encoded already. Returns where the last record ends; WRONG if `out` is too short. */
KERNEL i64 ewma_encode_records(IN(u8, keys), IN(i64, key_starts), IN(i64, key_stops),
                               IN(u8, values), IN(i64, starts), IN(i64, stops), IN(u8, head),
                               IN(u8, tails), i64 tail_size, IN(i64, header_counts),
                               IN(u8, headers), IN(i64, header_starts), IN(i64, header_stops),
                               OUT(u8, out), i64 at, i64 delta) {
    i64 n = n_starts, counted = n_header_counts;
    if (n_stops != n || n_key_starts != n || n_key_stops != n || at < 0 || at > n_out ||
        tail_size < 0 || n_tails != n * tail_size || (counted && counted != n) ||
        n_header_starts != counted || n_header_stops != counted)
        return WRONG;
    for (i64 i = 0; i < n; i++, delta++) {
        i64 key = key_stops[i] - key_starts[i], value = stops[i] - starts[i], own = 0;
        if (key < -1) key = -1;
        if (value < -1) value = -1;
        i64 key_bytes = key < 0 ? 0 : key, value_bytes = value < 0 ? 0 : value;
        if (key >= 0 && !within(key_starts[i], key_stops[i], n_keys)) return WRONG;
        if (value >= 0 && !within(starts[i], stops[i], n_values)) return WRONG;
        i64 body = 2 + varint_size(delta) + varint_size(key) + key_bytes + varint_size(value) +
                   value_bytes;
        if (counted) {
            own = header_stops[i] - header_starts[i];
            if (!within(header_starts[i], header_stops[i], n_headers)) return WRONG;
            body += varint_size(header_counts[i]) + own;
        } else {
            body += n_head + tail_size;
        }
        if (n_out - at < varint_size(body) + body) return WRONG;
        u8 *to = write_varint(out + at, body), *limit = out + n_out;
        *to++ = 0; /* attributes */
        *to++ = 0; /* timestamp delta */
        to = write_varint(to, delta);
        to = write_varint(to, key);
        if (key > 0)
            copy_short(to, limit - to, keys + key_starts[i], n_keys - key_starts[i], key);
        to = write_varint(to + key_bytes, value);
        if (value > 0)
            copy_short(to, limit - to, values + starts[i], n_values - starts[i], value);
        to += value_bytes;
        if (counted) {
            to = write_varint(to, header_counts[i]);
            memcpy(to, headers + header_starts[i], (size_t)own);
            to += own;
        } else {
            memcpy(to, head, (size_t)n_head);
            to += n_head;
            memcpy(to, tails + i * tail_size, (size_t)tail_size);
            to += tail_size;
        }
        at = to - out;
    }
    return at;
}
