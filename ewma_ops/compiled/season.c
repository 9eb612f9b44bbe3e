/* The season of an outlook, in the order of arrival. Reference: stats/season.py. */
#include "common.h"

enum { FEW = 32 }; /* so many powers are computed beforehand */
static const f64 TINY = 1e-300, LARGEST_FACTOR = 0x1p20;

/* exact_exp2.exp2 of a number <= 0, with its coefficients. */
static f64 exp2_of(f64 x, const f64 *coefficients, i64 n) {
    x = greater(x, -1100.0);
    f64 whole = (x + 0x1.8p52) - 0x1.8p52, r = x - whole; /* to the nearest, or the even one */
    f64 total = r * coefficients[0];
    for (i64 k = 1; k < n; k++) {
        total = total + coefficients[k];
        total = total * r;
    }
    i64 exponent = (i64)whole, first = exponent < -1000 ? -1000 : exponent;
    u64 high = (u64)(first + 1023) << 52, low = (u64)(exponent - first + 1023) << 52;
    f64 scale, rest;
    memcpy(&scale, &high, 8);
    memcpy(&rest, &low, 8);
    return (1.0 + total) * scale * rest; /* only the last one rounds */
}

typedef struct {
    i64 phase, period;
    f64 share;
} place_t;

/* season.place: `offset` are whole phases, and ticks. */
static inline place_t place(i64 time, i64 slot, i64 phases, const i64 *offset) {
    i64 nth = time / slot, within = time % slot;
    if (within < 0) within += slot, nth--;
    within += offset[1];
    int next = within >= slot;
    if (next) within -= slot;
    nth = (i64)((u64)nth + (u64)offset[0] + (u64)next);
    place_t found = {nth % phases, nth / phases, (f64)within / (f64)slot};
    if (found.phase < 0) found.phase += phases, found.period--;
    return found;
}

static inline i64 after(i64 phase, i64 phases) { return phase + 1 < phases ? phase + 1 : 0; }

/* season.weigh; and where in the season are `now` and what is ahead of it, and whether it is known.
 *
 * `offsets` has two numbers for the reading, and two for each place ahead. `phase`, `share` and
 * `known` have a row for the reading, and one for each place ahead; `gains` has two. Of `fading` the
 * first number is the half-life, and the others are those of `exp2_of`. */
KERNEL i64 ewma_weigh_season(
    IN(i64, at), IN(i64, rows), IN(i64, times), IN(i64, now), IN(u8, observed), IN(u8, started),
    u64 phases, u64 slot, IN(i64, offsets), IN(f64, fading), OUT(f64, weight), OUT(f64, period),
    OUT(f64, count), OUT(i64, phase), OUT(f64, share), OUT(u8, known), OUT(f64, gains),
    OUT(f64, opened), OUT(f64, counted)) {
    i64 n = n_at, places = n_offsets / 2, m = (i64)phases, ticks = (i64)slot;
    if (m < 2 || m > INT32_MAX || ticks < 1 || ticks > INT64_MAX / 2 || n_weight % m) return WRONG;
    i64 size = n_weight / m, powers = n_fading - 1;
    if (n_times != n || n_now != n || n_observed != n || n_started != n || n_opened != n ||
        n_counted != n || n_gains != 2 * n || n_period != n_weight || n_count != size ||
        places < 1 || n_offsets != 2 * places || n_phase != places * n || n_share != places * n ||
        n_known != places * n || powers < 1)
        return WRONG;
    for (i64 k = 0; k < places; k++)
        if (offsets[2 * k + 1] < 0 || offsets[2 * k + 1] >= ticks) return WRONG;
    f64 halflife = fading[0], few[FEW];
    for (i64 k = 0; k < FEW; k++) few[k] = exp2_of(-(f64)k / halflife, fading + 1, powers);
    for (i64 i = 0; i < n; i++) {
        if (at[i] < 0 || at[i] >= n_rows) return WRONG;
        i64 row = rows[at[i]];
        if (row < 0 || row >= size) return WRONG;
        place_t here = place(times[i], ticks, m, offsets);
        phase[i] = here.phase;
        share[i] = here.share;
        f64 part = 1.0 - here.share, opens = 0.0;
        i64 p = here.phase, nth = here.period;
        int all_met = started[i] != 0;
        gains[n + i] = 0.0;
        for (i64 j = 0; j < 2; j++) {
            f64 w = weight[p * size + row], last = period[p * size + row], since = 0.0;
            int met = w > 0.0, counts = observed[i] && part > 0.0;
            if (met) since = (f64)nth - last;
            f64 by = __builtin_fabs(since);
            f64 faded = by < FEW ? few[(i64)by] : exp2_of(-by / halflife, fading + 1, powers);
            int on_time = since >= 0.0;
            f64 own = part * (on_time ? 1.0 : faded), kept = w * (on_time ? faded : 1.0);
            f64 total = kept + own;
            gains[j * n + i] = counts ? own / greater(total, TINY) : 0.0;
            if (counts) {
                if (w == 0.0) opens = opens + 1.0;
                weight[p * size + row] = total;
                period[p * size + row] = met ? greater((f64)nth, last) : (f64)nth;
            }
            all_met = all_met && (met || part == 0.0);
            if (here.share == 0.0) break;
            part = here.share;
            if (++p == m) p = 0, nth++;
        }
        opened[i] = opens;
        counted[i] = count[row] = count[row] + opens;
        known[i] = (u8)all_met;
        for (i64 k = 1; k < places; k++) {
            place_t there = place(now[i], ticks, m, offsets + 2 * k);
            i64 to = k * n + i, next = after(there.phase, m);
            int met = weight[there.phase * size + row] > 0.0 || there.share == 1.0;
            if (there.share != 0.0) met = met && weight[next * size + row] > 0.0;
            phase[to] = there.phase;
            share[to] = there.share;
            known[to] = started[i] && met;
        }
    }
    return n;
}

/* season.adjust of one field; its states that depend on what is left, `sum`, `mean`, `slow` and
 * `slope`; and the season at each place ahead, `shown`. Without a slope `apart` is empty. */
KERNEL i64 ewma_adjust_season(
    IN(i64, at), IN(i64, rows), u64 phases, u64 factor, IN(i64, phase), IN(f64, share),
    IN(u8, known), IN(f64, gains), IN(f64, opened), IN(u8, opens), IN(f64, values), IN(f64, rests),
    IN(f64, shares), IN(f64, trend_rests), IN(f64, trend_shares), IN(f64, apart),
    IN(f64, trend_apart), IN(f64, age_variance), OUT(f64, season), OUT(f64, sum), OUT(f64, mean),
    OUT(f64, slow), OUT(f64, slope), OUT(f64, expected), OUT(f64, deviation), OUT(f64, sum_after),
    OUT(f64, mean_after), OUT(f64, slope_before), OUT(f64, slope_after), OUT(f64, shown)) {
    i64 n = n_at, m = (i64)phases, places = n ? n_phase / n : 1, sloped = n_apart > 0;
    if (m < 2 || m > INT32_MAX || n_season % m || places < 1) return WRONG;
    i64 size = n_season / m;
    if (n_phase != places * n || n_share != places * n || n_known < n || n_gains != 2 * n ||
        n_opened != n || n_opens != n || n_values != n || n_rests != n || n_shares != n ||
        n_trend_rests != n || n_trend_shares != n || n_expected != n || n_deviation != n ||
        n_sum_after != n || n_mean_after != n || n_shown != (places - 1) * n || n_sum != size ||
        n_mean != size || n_slow != size)
        return WRONG;
    if (sloped && (n_apart != n || n_trend_apart != n || n_age_variance != n || n_slope != size ||
                   n_slope_before != n || n_slope_after != n))
        return WRONG;
    for (i64 i = 0; i < n; i++) {
        i64 p = phase[i];
        if (at[i] < 0 || at[i] >= n_rows || p < 0 || p >= m) return WRONG;
        i64 row = rows[at[i]];
        if (row < 0 || row >= size) return WRONG;
        f64 *here = season + p * size + row, *next = season + after(p, m) * size + row;
        f64 a = share[i], x = values[i], one = *here, two = *next;
        f64 usual = 0.0 + (1.0 - a) * one;
        if (a != 0.0) usual = usual + a * two;
        f64 level = mean[row], reference = slow[row], line = level, d = reference, b = 0.0;
        if (sloped) {
            b = slope[row];
            f64 known_slope = age_variance[i] > 0.0 ? b : 0.0;
            line = line + apart[i] * known_slope;
            reference = reference + trend_apart[i] * known_slope;
        }
        if (opens[i]) line = x;
        f64 base = known[i] ? reference : line, left, off;
        if (factor) {
            f64 ratio = base > 0.0 ? x / base : usual;
            left = x / usual;
            off = smaller(greater(ratio, 1.0 / LARGEST_FACTOR), LARGEST_FACTOR) - usual;
        } else {
            left = x - usual;
            off = left - base;
        }
        f64 moved = opened[i] * (factor ? 1.0 : 0.0) + gains[i] * off;
        *here = one + gains[i] * off;
        if (a != 0.0) {
            moved = moved + gains[n + i] * off;
            *next = two + gains[n + i] * off;
        }
        if (!known[i]) left = line;
        expected[i] = usual;
        deviation[i] = left - level;
        d = left - d;
        level = level * rests[i];
        sum_after[i] = sum[row] = sum[row] + moved;
        mean_after[i] = mean[row] = level + left * shares[i];
        f64 kept = slow[row] * trend_rests[i];
        slow[row] = kept + left * trend_shares[i];
        if (sloped) { /* outlook.slope_step */
            f64 lever = trend_shares[i] * trend_apart[i];
            f64 total = age_variance[i] + lever * trend_apart[i];
            int some = total > 0.0;
            slope_before[i] = b;
            b = b * (some ? age_variance[i] / total : 1.0);
            slope_after[i] = slope[row] = b + d * (some ? lever / total : 0.0);
        }
        for (i64 j = 1; j < places; j++) {
            i64 q = phase[j * n + i];
            if (q < 0 || q >= m) return WRONG;
            f64 c = share[j * n + i], value = 0.0 + (1.0 - c) * season[q * size + row];
            if (c != 0.0) value = value + c * season[after(q, m) * size + row];
            shown[(j - 1) * n + i] = value;
        }
    }
    return n;
}
