/* Texts and numbers in columns of bytes: JSON by shape, decimals, whole numbers, copies.
 * Reference: ewma_ops/serde/json/shape.py, ewma_ops/serde/spans.py, columns/byte_columns.py. */
#include "common.h"

#define LONGEST 128 /* bytes of a value, as in spans.until */

static inline int is_special(u8 byte) {
    return byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
}

/* Mark bytes that are special, by their top bit: reliable up to the first. */
static inline u64 special_in(u64 word) {
    const u64 ones = 0x0101010101010101u;
    u64 quotes = word ^ ones * '"', slashes = word ^ ones * '\\';
    u64 marked = (word - ones * 0x20) | (quotes - ones) | (slashes - ones) | word;
    return marked & (ones << 7);
}

/* Return where a text ends that begins at `at`: at a special byte, or where a window does. */
static inline i64 text_end(const u8 *data, i64 at, i64 stop, i64 size) {
    i64 limit = stop - at > LONGEST ? at + LONGEST : stop;
    while (at < limit) {
        if (size - at < 8) {
            if (is_special(data[at])) return at;
            at++;
            continue;
        }
        u64 marked = special_in(load64(data + at));
        if (marked) {
            at += __builtin_ctzll(marked) >> 3;
            return at < limit ? at : limit;
        }
        at += 8;
    }
    return limit;
}

/* Whether a text stands at `data`, where so many bytes are there. */
static inline int stands_at(const u8 *data, const u8 *text, i64 length) {
    if (length < 8) {
        for (i64 i = 0; i < length; i++)
            if (data[i] != text[i]) return 0;
        return 1;
    }
    u64 differ = load64(data + length - 8) ^ load64(text + length - 8);
    for (i64 i = 0; i + 8 < length; i += 8) differ |= load64(data + i) ^ load64(text + i);
    return differ == 0;
}

/* Look for a shape in payloads: texts, with a value between each two of them.
 *
 * `text_ends` says where each text ends in `texts`; `are_texts` of each value, whether it is a text
 * in quotes that stand in `texts`, or what goes on to the next byte of these. `value_starts` and
 * `value_stops` are a row for each value. Returns how many payloads match; where one does not, its
 * spans are empty. */
KERNEL i64 ewma_match_shape(IN(u8, data), IN(i64, starts), IN(i64, stops), IN(u8, texts),
                            IN(i64, text_ends), IN(u8, are_texts), OUT(i64, value_starts),
                            OUT(i64, value_stops), OUT(u8, matches)) {
    i64 n = n_starts, holes = n_are_texts, found = 0;
    if (n_stops != n || n_matches != n || n_text_ends != holes + 1 || n_value_starts != holes * n ||
        n_value_stops != holes * n || text_ends[holes] != n_texts)
        return WRONG;
    for (i64 h = 0; h <= holes; h++) {
        i64 begin = h ? text_ends[h - 1] : 0;
        if (begin < 0 || text_ends[h] <= begin) return WRONG; /* every text has a byte */
    }
    for (i64 i = 0; i < n; i++) {
        i64 at = starts[i], stop = stops[i], begin = 0;
        int same = stop > at;
        if (same && !within(at, stop, n_data)) return WRONG;
        for (i64 h = 0; h <= holes && same; h++) {
            i64 length = text_ends[h] - begin;
            same = length <= stop - at && stands_at(data + at, texts + begin, length);
            begin = text_ends[h];
            if (!same) break;
            at += length;
            if (h == holes) break;
            value_starts[h * n + i] = at;
            if (are_texts[h]) {
                at = text_end(data, at, stop, n_data);
            } else {
                i64 limit = stop - at > LONGEST ? at + LONGEST : stop;
                u8 end = texts[begin];
                while (at < limit && data[at] != end) at++;
            }
            value_stops[h * n + i] = at;
        }
        same = same && at == stop;
        matches[i] = (u8)same;
        found += same;
        for (i64 h = 0; h < holes && !same; h++) value_starts[h * n + i] = value_stops[h * n + i] = 0;
    }
    return found;
}

static const f64 POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Read decimals such as -12.5 whose digits are a whole number below 2^53, and a power of ten that
 * is exact too: their quotient is rounded once. Others are not `good`: zeros with a sign too. */
KERNEL i64 ewma_read_decimals(IN(u8, data), IN(i64, starts), IN(i64, stops), OUT(f64, values),
                              OUT(u8, good)) {
    i64 n = n_starts, found = 0;
    if (n_stops != n || n_values != n || n_good != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 at = starts[i], stop = stops[i], behind = 0;
        values[i] = 0.0;
        good[i] = 0;
        if (stop <= at) continue;
        if (!within(at, stop, n_data)) return WRONG;
        int negative = data[at] == '-';
        at += negative;
        if (stop - at > 20 || at == stop) continue; /* 19 digits and a point */
        i64 first = at;
        u64 digits = 0;
        for (; at < stop && (u8)(data[at] - '0') < 10; at++) digits = digits * 10 + (data[at] - '0');
        i64 whole = at - first;
        if (whole == 0 || (whole > 1 && data[first] == '0')) continue;
        if (at < stop) {
            if (data[at] != '.') continue;
            i64 point = at++;
            for (; at < stop && (u8)(data[at] - '0') < 10; at++)
                digits = digits * 10 + (data[at] - '0');
            behind = at - point - 1;
            if (behind == 0) continue;
        }
        if (at != stop || whole + behind > 19 || digits > (u64)1 << 53) continue;
        if (negative && digits == 0) continue;
        f64 value = (f64)digits / POWERS[behind];
        values[i] = negative ? -value : value;
        good[i] = 1;
        found++;
    }
    return found;
}

/* Read whole numbers >= 0 of at most `most` <= 19 digits; see spans.read_integers. */
KERNEL i64 ewma_read_integers(IN(u8, data), IN(i64, starts), IN(i64, stops), i64 most,
                              OUT(i64, values), OUT(u8, good)) {
    const u64 ahead = 10000000000000000u; /* 10^16; what stands before so many digits is bounded */
    i64 n = n_starts, found = 0;
    if (n_stops != n || n_values != n || n_good != n || most < 1 || most > 19) return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 at = starts[i], stop = stops[i];
        values[i] = 0;
        good[i] = 0;
        if (stop <= at || stop - at > most) continue;
        if (!within(at, stop, n_data)) return WRONG;
        if (data[at] == '0' && stop - at > 1) continue;
        u64 digits = 0;
        for (; at < stop && (u8)(data[at] - '0') < 10; at++) digits = digits * 10 + (data[at] - '0');
        if (at != stop || digits / ahead >= (u64)INT64_MAX / ahead) continue;
        values[i] = (i64)digits;
        good[i] = 1;
        found++;
    }
    return found;
}

/* Copy byte strings to places of a buffer; nulls copy nothing. */
KERNEL i64 ewma_copy_strings(IN(u8, data), IN(i64, starts), IN(i64, stops), IN(i64, places),
                             OUT(u8, into)) {
    i64 n = n_starts;
    if (n_stops != n || n_places != n) return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 size = stops[i] - starts[i], place = places[i];
        if (size <= 0) continue;
        if (!within(starts[i], stops[i], n_data) || place < 0 || place > n_into - size)
            return WRONG;
        memcpy(into + place, data + starts[i], (size_t)size);
    }
    return n;
}
