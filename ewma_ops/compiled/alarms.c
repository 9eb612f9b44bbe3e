/* What alarms expect of a series, in the order of arrival. Reference: monitor/baseline.py. */
#include "common.h"

static const f64 CLIP = 4.0, MOST_U = 1.0 / 20.0, ALONE = 0.75, ROUNDING = 0x1p-72, TINY = 5e-324;
static const u32 COUNTED = (u32)1 << 31;

/* Baseline.step of each reading. `rows` says to which element of the state it belongs; a factor
 * that is the same for all readings has one element. */
KERNEL i64 ewma_track_baseline(
    IN(i64, rows), IN(f64, values), IN(f64, fast_kept), IN(f64, fast_added), IN(f64, slow_kept),
    IN(f64, slow_added), u64 warm_up, OUT(f64, fast), OUT(f64, slow), OUT(f64, variance),
    OUT(f64, fast_weight), OUT(f64, slow_weight), OUT(f64, fast_u), OUT(f64, slow_u),
    OUT(f64, shared), OUT(u32, seen), OUT(f64, fast_after), OUT(f64, slow_after), OUT(f64, before),
    OUT(f64, variance_before), OUT(f64, u_before), OUT(f64, excess), OUT(u8, judged)) {
    i64 n = n_rows, m = n_fast;
    if (n_values != n || n_fast_after != n || n_slow_after != n || n_before != n ||
        n_variance_before != n || n_u_before != n || n_excess != n || n_judged != n)
        return WRONG;
    if (n_slow != m || n_variance != m || n_fast_weight != m || n_slow_weight != m ||
        n_fast_u != m || n_slow_u != m || n_shared != m || n_seen != m)
        return WRONG;
    if ((n_fast_kept != n && n_fast_kept != 1) || (n_fast_added != n && n_fast_added != 1) ||
        (n_slow_kept != n && n_slow_kept != 1) || (n_slow_added != n && n_slow_added != 1))
        return WRONG;
    i64 fk = n_fast_kept > 1, fa = n_fast_added > 1, sk = n_slow_kept > 1, sa = n_slow_added > 1;
    for (i64 i = 0; i < n; i++) {
        i64 k = rows[i];
        if (k < 0 || k >= m) return WRONG;
        f64 added = fast_added[i * fa], kept = fast_weight[k] * fast_kept[i * fk];
        f64 weight = kept + added, fast_p = added / weight, fast_r = kept / weight;
        fast_weight[k] = weight;
        added = slow_added[i * sa], kept = slow_weight[k] * slow_kept[i * sk];
        weight = kept + added;
        f64 p = added / weight, r = kept / weight;
        slow_weight[k] = weight;
        f64 fast_squares = fast_r * fast_r * fast_u[k] + fast_p * fast_p;
        f64 old_u = slow_u[k], u = r * r * old_u + p * p;
        f64 products = fast_r * r * shared[k] + fast_p * p;
        f64 mean = slow[k], v = variance[k], x = values[i];
        int relied = seen[k] >= warm_up && greater(u, old_u) <= MOST_U && v > mean * mean * ROUNDING;
        if (relied) {
            f64 reach = __builtin_sqrt(v) * CLIP;
            x = smaller(greater(x, mean - reach), mean + reach);
        }
        f64 d = x - mean, spread = greater(1.0 - old_u, 0.0);
        variance[k] = (spread * v + p * d * d) / greater(r * spread + 2.0 * p, TINY);
        f64 near = fast[k];
        near = near + fast_p * (x - near);
        fast[k] = near;
        slow[k] = mean + p * d;
        fast_u[k] = fast_squares;
        slow_u[k] = u;
        shared[k] = products;
        seen[k] = u > ALONE ? 1 : seen[k] + (seen[k] < COUNTED);
        fast_after[i] = near;
        slow_after[i] = slow[k];
        before[i] = mean;
        variance_before[i] = v;
        u_before[i] = old_u;
        excess[i] = fast_squares + u - 2.0 * products;
        judged[i] = (u8)relied;
    }
    return n;
}
