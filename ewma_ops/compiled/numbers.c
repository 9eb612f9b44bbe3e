/* Events as JSON: the text of numbers, and what stands around them. Reference: msgspec's JSON, and
 * ewma_ops/serde/json/encoder.py.
 *
 * The shortest decimal that reads back as the same float64, and of several the nearest: Giulietti,
 * "The Schubfach way to render doubles", 2020. Written without an exponent from 1e-5 on, below
 * 1e16, and always with a point or an exponent. */
#include "common.h"
#include "powers.h"

#define ROOM 48 /* what a number may take, at most 24 bytes, and what is written behind it on the way */
#define ZEROS 0x3030303030303030u

/* The digits of a number below 10^8 as bytes 0 to 9, the first one lowest: by halves of halves, as in
 * Lemire's and others' SWAR conversions, read backwards. */
static inline u64 eight_digits(u64 number) {
    u64 fours = number / 10000 | number % 10000 << 32;
    u64 hundreds = (fours * 10486 >> 20) & 0x0000007F0000007Fu;
    u64 twos = hundreds | (fours - 100 * hundreds) << 16;
    u64 tens = (twos * 103 >> 10) & 0x000F000F000F000Fu;
    return tens | (twos - 10 * tens) << 8;
}

/* Digits in a row, `first` the first that is no zero, `count` of them; zeros behind are left out if
 * `stripped`, and counted in `zeros`. */
typedef struct {
    u8 text[48];
    int first, count, zeros;
} spelling;

static inline void spell(spelling *to, u64 number, int stripped) {
    u64 rest = number % 10000000000000000u;
    u64 words[3] = {eight_digits(number / 10000000000000000u), eight_digits(rest / 100000000),
                    eight_digits(rest % 100000000)};
    int high = words[0] ? 0 : words[1] ? 1 : 2, low = words[2] ? 2 : words[1] ? 1 : 0;
    to->first = number ? 8 * high + (__builtin_ctzll(words[high]) >> 3) : 23;
    to->zeros = stripped && number ? 8 * (2 - low) + (__builtin_clzll(words[low]) >> 3) : 0;
    to->count = 24 - to->first - to->zeros;
    for (int i = 0; i < 3; i++) words[i] += ZEROS;
    memcpy(to->text, words, 24);
    memset(to->text + 24, '0', 24);
}

static u8 *write_whole(u8 *to, i64 number) {
    spelling digits;
    if (number < 0) *to++ = '-';
    spell(&digits, number < 0 ? 0 - (u64)number : (u64)number, 0);
    memcpy(to, digits.text + digits.first, 24);
    return to + digits.count;
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

/* Write a number as JSON has it; null for what is none. */
static u8 *write_float(u8 *to, f64 number) {
    u64 bits, digits;
    int exponent;
    memcpy(&bits, &number, 8);
    u64 fraction = bits & (((u64)1 << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF);
    if (biased == 0x7FF) {
        memcpy(to, "null", 4);
        return to + 4;
    }
    if (bits >> 63) *to++ = '-';
    if (biased == 0 && fraction == 0) {
        memcpy(to, "0.0", 3);
        return to + 3;
    }
    f64 size = number < 0.0 ? -number : number, thousands = size * 1000.0;
    u64 whole = thousands < 1e15 ? (u64)thousands : 0;
    if (whole && (f64)whole == thousands && (f64)whole / 1000.0 == size) {
        /* No two decimals of 15 digits are the same number, so this is the shortest. */
        digits = whole;
        exponent = -3;
    } else {
        u64 c = biased ? fraction | (u64)1 << 52 : fraction;
        int q = (biased ? biased : 1) - 1075;
        digits = shortest(c, q, !(c & 1), fraction == 0 && biased > 1, &exponent);
    }
    spelling spelled;
    spell(&spelled, digits, 1);
    const u8 *text = spelled.text + spelled.first;
    int count = spelled.count;
    exponent += spelled.zeros;
    int point = count + exponent; /* digits before the point */
    if (point > 16 || point <= -5) {
        *to++ = text[0];
        if (count > 1) {
            *to++ = '.';
            memcpy(to, text + 1, 16);
            to += count - 1;
        }
        *to++ = 'e';
        return write_whole(to, point - 1);
    }
    if (point <= 0) {
        memcpy(to, "0.0000", 6);
        memcpy(to + 2 - point, text, 24);
        return to + 2 - point + count;
    }
    if (exponent >= 0) { /* zeros follow the digits that were left out */
        memcpy(to, text, 24);
        memset(to + count, '0', 16);
        memcpy(to + point, ".0", 2);
        return to + point + 2;
    }
    memcpy(to, text, 24);
    to[point] = '.';
    memcpy(to + point + 1, text + point, 24);
    return to + count + 1;
}

/* Write a byte string that stands in JSON as it is; 0 where it does not. Where there is room on both
 * sides, 8 bytes at a time, and up to 7 behind the last. */
static u8 *write_plain(u8 *to, i64 room, const u8 *from, i64 there, i64 size) {
    const u64 ones = 0x0101010101010101u;
    i64 i = 0;
    for (; i < size && there - i >= 8 && room - i >= 8; i += 8) {
        u64 word = load64(from + i);
        u64 quotes = word ^ ones * '"', slashes = word ^ ones * '\\';
        u64 marked = (word - ones * 0x20) & ~word;
        marked |= ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes);
        marked &= ones << 7;
        if (marked && (__builtin_ctzll(marked) >> 3) < size - i) return 0;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++) {
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

/* Write n events: for each column a text and a value, and behind the last `tail` bytes of `texts`.
 *
 * `order` says of which place of the columns each event is; empty for their own order, in which
 * case there are `n_starts` of each. Returns how many bytes of `out` are written; DOUBT if a PLAIN
 * value does not stand in JSON as it is. */
KERNEL i64 ewma_write_events(IN(i64, columns), IN(u8, texts), IN(i64, order), i64 length, i64 tail,
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
    i64 last_text = fields[n_fields - 1].text_end;
    if (tail < 0 || tail > n_texts - last_text) return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 place = n_order ? order[i] : i, begin = 0;
        if (place < 0 || place >= length) return WRONG;
        starts[i] = at;
        for (i64 f = 0; f < n_fields; f++) {
            const column *field = fields + f;
            i64 text = field->text_end - begin, size = ROOM;
            const u8 *from = 0;
            if (field->kind <= BYTES) {
                i64 start = field->starts[place], stop = field->stops[place];
                if (!within(start, stop, field->size)) return WRONG;
                from = field->data + start;
                size = stop - start;
            }
            if (text + size > n_out - at) return WRONG;
            copy_short(out + at, n_out - at, texts + begin, n_texts - begin, text);
            begin = field->text_end;
            u8 *to = out + at + text;
            switch (field->kind) {
                case PLAIN:
                    to = write_plain(to, out + n_out - to, from, field->data + field->size - from, size);
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
    if (n_starts != n || n_stops != n || n_out < n * ROOM) return WRONG;
    for (i64 i = 0; i < n; i++) {
        starts[i] = at;
        stops[i] = at = write_float(out + at, numbers[i]) - out;
    }
    return at;
}
