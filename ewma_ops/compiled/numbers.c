/* Events as JSON: the text of numbers, and what stands around them. Reference: msgspec's JSON, and
 * ewma_ops/serde/json/encoder.py.
 *
 * The shortest decimal that reads back as the same float64, and of several the nearest: Giulietti,
 * "The Schubfach way to render doubles", 2020. Written without an exponent from 1e-5 on, below
 * 1e16, and always with a point or an exponent. */
#include "common.h"
#include "powers.h"

#define LONGEST_NUMBER 24 /* -2.2250738585072014e-308, and a byte to spare */

static const char PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

/* Write `count` digits of a number that has no more. */
static inline void write_digits(u8 *to, u64 number, int count) {
    for (; count >= 2; count -= 2) {
        memcpy(to + count - 2, PAIRS + number % 100 * 2, 2);
        number /= 100;
    }
    if (count) *to = (u8)('0' + number);
}

static inline int digits_of(u64 number) {
    int count = 1;
    for (; number >= 10000; number /= 10000) count += 4;
    return count + (number >= 10) + (number >= 100) + (number >= 1000);
}

static u8 *write_whole(u8 *to, i64 number) {
    u64 size = number < 0 ? 0 - (u64)number : (u64)number;
    if (number < 0) *to++ = '-';
    int count = digits_of(size);
    write_digits(to, size, count);
    return to + count;
}

/* The upper 64 bits of a product of 128 and 64 bits, the last one set if any bit below is. */
static inline u64 round_to_odd(const u64 *power, u64 factor) {
    unsigned __int128 low = (unsigned __int128)power[1] * factor;
    unsigned __int128 high = (unsigned __int128)power[0] * factor + (u64)(low >> 64);
    return (u64)(high >> 64) | ((u64)high > 1);
}

/* Return the digits of the shortest decimal for c 2^q, and its power of ten. */
static u64 shortest(u64 c, int q, int even, int irregular, int *exponent) {
    int k = irregular ? (q * 1262611 - 524031) >> 22 : (q * 1262611) >> 22; /* floor(log10 ...) */
    int shift = q + ((-k * 1741647) >> 19) + 1;                             /* floor(log2 10^-k) */
    const u64 *power = POWERS_OF_TEN[-k - LOWEST_POWER];
    u64 lower = round_to_odd(power, (4 * c - 2 + (u64)irregular) << shift) + !even;
    u64 middle = round_to_odd(power, 4 * c << shift);
    u64 upper = round_to_odd(power, (4 * c + 2) << shift) - !even;
    u64 digits = middle / 4, tens = digits / 10;
    *exponent = k;
    if (digits >= 10) {
        int below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
        if (below != above) {
            *exponent = k + 1;
            return tens + (u64)above;
        }
    }
    int below = lower <= 4 * digits, above = 4 * digits + 4 <= upper;
    if (below != above) return digits + (u64)above;
    u64 halfway = 4 * digits + 2;
    return digits + (middle > halfway || (middle == halfway && (digits & 1)));
}

/* Write a number as JSON has it; null for what is none. At most LONGEST_NUMBER bytes. */
static u8 *write_float(u8 *to, f64 number) {
    u64 bits;
    memcpy(&bits, &number, 8);
    u64 fraction = bits & (((u64)1 << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF), exponent;
    if (biased == 0x7FF) {
        memcpy(to, "null", 4);
        return to + 4;
    }
    if (bits >> 63) *to++ = '-';
    if (biased == 0 && fraction == 0) {
        memcpy(to, "0.0", 3);
        return to + 3;
    }
    u64 c = biased ? fraction | (u64)1 << 52 : fraction;
    int q = (biased ? biased : 1) - 1075;
    u64 digits = shortest(c, q, !(c & 1), fraction == 0 && biased > 1, &exponent);
    while (digits % 10000 == 0) digits /= 10000, exponent += 4;
    while (digits % 10 == 0) digits /= 10, exponent += 1;
    int count = digits_of(digits), point = count + exponent; /* digits before the point */
    if (point > 16 || point <= -5) {
        u8 first[20] = {0};
        write_digits(first, digits, count);
        *to++ = first[0];
        if (count > 1) {
            *to++ = '.';
            memcpy(to, first + 1, (size_t)count - 1);
            to += count - 1;
        }
        *to++ = 'e';
        return write_whole(to, point - 1);
    }
    if (point <= 0) {
        memcpy(to, "0.", 2);
        memset(to + 2, '0', (size_t)-point);
        write_digits(to + 2 - point, digits, count);
        return to + 2 - point + count;
    }
    if (exponent >= 0) {
        write_digits(to, digits, count);
        memset(to + count, '0', (size_t)exponent);
        memcpy(to + point, ".0", 2);
        return to + point + 2;
    }
    write_digits(to + 1, digits, count);
    memmove(to, to + 1, (size_t)point);
    to[point] = '.';
    return to + count + 1;
}

/* Write a byte string that stands in JSON as it is; 0 where it does not. */
static u8 *write_plain(u8 *to, const u8 *from, i64 size) {
    for (i64 i = 0; i < size; i++) {
        u8 byte = from[i];
        if (byte < 0x20 || byte == '"' || byte == '\\') return 0;
        to[i] = byte;
    }
    return to + size;
}

enum { PLAIN, BYTES, WHOLE, FLOAT, WHOLE_FLOAT };

/* A column of values, as the caller lays it out in 8 words. */
typedef struct {
    i64 kind;
    i64 text_end; /* in `texts`, of what stands before each value */
    const u8 *data;
    i64 size;
    const i64 *starts;
    const i64 *stops;
    const i64 *whole;
    const f64 *floats;
} column;

/* Write n events: for each column a text and a value, and `texts` to its end behind the last.
 *
 * `order` says of which place of the columns each event is; empty for their own order, in which
 * case there are `n_starts` of each. Returns how many bytes of `out` are written; DOUBT if a PLAIN
 * value does not stand in JSON as it is. */
KERNEL i64 ewma_write_events(IN(i64, columns), IN(u8, texts), IN(i64, order), i64 length,
                             OUT(u8, out), OUT(i64, starts), OUT(i64, stops)) {
    const column *fields = (const column *)columns;
    i64 n = n_starts, n_fields = n_columns / 8, at = 0;
    if (n_columns % 8 || n_fields < 1 || n_stops != n || (n_order ? n_order : length) != n)
        return WRONG;
    for (i64 f = 0; f < n_fields; f++) {
        i64 begin = f ? fields[f - 1].text_end : 0;
        if (fields[f].kind < PLAIN || fields[f].kind > WHOLE_FLOAT ||
            !within(begin, fields[f].text_end, n_texts))
            return WRONG;
    }
    i64 last_text = fields[n_fields - 1].text_end, tail = n_texts - last_text;
    for (i64 i = 0; i < n; i++) {
        i64 place = n_order ? order[i] : i, begin = 0;
        if (place < 0 || place >= length) return WRONG;
        starts[i] = at;
        for (i64 f = 0; f < n_fields; f++) {
            const column *field = fields + f;
            i64 text = field->text_end - begin, size = LONGEST_NUMBER;
            const u8 *from = 0;
            if (field->kind <= BYTES) {
                i64 start = field->starts[place], stop = field->stops[place];
                if (!within(start, stop, field->size)) return WRONG;
                from = field->data + start;
                size = stop - start;
            }
            if (text + size > n_out - at) return WRONG;
            memcpy(out + at, texts + begin, (size_t)text);
            begin = field->text_end;
            u8 *to = out + at + text;
            switch (field->kind) {
                case PLAIN:
                    to = write_plain(to, from, size);
                    if (!to) return DOUBT;
                    break;
                case BYTES:
                    memcpy(to, from, (size_t)size);
                    to += size;
                    break;
                case WHOLE: to = write_whole(to, field->whole[place]); break;
                case FLOAT: to = write_float(to, field->floats[place]); break;
                default: {
                    f64 number = field->floats[place];
                    if (number != number) {
                        memcpy(to, "null", 4);
                        to += 4;
                    } else if (number >= -9223372036854775808.0 && number < 9223372036854775808.0) {
                        to = write_whole(to, (i64)number);
                    } else {
                        return DOUBT;
                    }
                }
            }
            at = to - out;
        }
        if (tail > n_out - at) return WRONG;
        memcpy(out + at, texts + last_text, (size_t)tail);
        stops[i] = at += tail;
    }
    return at;
}

/* Write each number as JSON has it, end to end. Returns how many bytes of `out` are written. */
KERNEL i64 ewma_write_floats(IN(f64, numbers), OUT(u8, out), OUT(i64, starts), OUT(i64, stops)) {
    i64 n = n_numbers, at = 0;
    if (n_starts != n || n_stops != n || n_out < n * LONGEST_NUMBER) return WRONG;
    for (i64 i = 0; i < n; i++) {
        starts[i] = at;
        stops[i] = at = write_float(out + at, numbers[i]) - out;
    }
    return at;
}
