/* Attention over depth, by rows that are whole. A key (width) is a query with the gain of the norm in it; the logit of a
   source is r <x, key>, with r the source's own factor (rows): r = (mean of x^2 + eps)^-1/2. */

void NAME(scales)(int64_t rows, int64_t width, const REAL *in, REAL *scale, double eps) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *x = in + row * width;
        double squares = 0;
        for (int64_t from = 0; from < width; from += TILE) {
            const int n = (int)(width - from < TILE ? width - from : TILE);
            REAL own = 0;
#pragma omp simd reduction(+ : own)
            for (int v = 0; v < n; v++) own += x[from + v] * x[from + v];
            squares += (double)own;
        }
        scale[row] = (REAL)(1 / sqrt(squares / (double)width + eps));
    }
}

/* sums[e] = <in[e], with> over a whole row, of up to four: tiles in double. */
static inline void NAME(across)(int64_t width, int k, const REAL *const *in, const REAL *with, double *sums) {
    for (int e = 0; e < k; e++) sums[e] = 0;
    for (int64_t from = 0; from < width; from += TILE) {
        const int n = (int)(width - from < TILE ? width - from : TILE);
        const REAL *four[4];
        REAL own[4];
        for (int e = 0; e < k; e++) four[e] = in[e] + from;
        NAME(products)(n, k, four, with + from, own);
        for (int e = 0; e < k; e++) sums[e] += (double)own[e];
    }
}

/* out = softmax over j of logits . in[j], four sources at a time: what was summed is scaled down when a larger logit
   appears. Writes logits (rows, k) and lse (rows), the logarithm of the sum of their exponentials. */
void NAME(attend)(int64_t rows, int64_t width, int k, const REAL *const *in, const REAL *const *scale, const REAL *key,
                  REAL *out, REAL *logits, REAL *lse) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = row * width;
        REAL *restrict to = out + at, w[4];
        const REAL *four[4];
        double top = -INFINITY, total = 0, found[4];
        for (int j = 0; j < k; j += 4) {
            const int now = k - j < 4 ? k - j : 4;
            double higher = top;
            for (int e = 0; e < now; e++) four[e] = in[j + e] + at;
            NAME(across)(width, now, four, key, found);
            for (int e = 0; e < now; e++) {
                found[e] *= (double)scale[j + e][row];
                logits[row * k + j + e] = (REAL)found[e];
                if (found[e] > higher || isnan(found[e])) higher = found[e];
            }
            if (j && higher != top) {
                const double shrink = exp(top - higher);
                total *= shrink;
                for (int64_t v = 0; v < width; v++) to[v] *= (REAL)shrink;
            }
            top = higher;
            for (int e = 0; e < now; e++) {
                const double share = exp(found[e] - top);
                total += share;
                w[e] = (REAL)share;
            }
            for (int64_t from = 0; from < width; from += TILE) {
                const int n = (int)(width - from < TILE ? width - from : TILE);
                const REAL *part[4];
                for (int e = 0; e < now; e++) part[e] = four[e] + from;
                NAME(weighted)(n, now, w, part, to + from, j > 0);
            }
        }
        const REAL share = (REAL)(1 / total);
        for (int64_t v = 0; v < width; v++) to[v] *= share;
        lse[row] = (REAL)(top + log(total));
    }
}

/* delta[row] = <grad, out>. */
void NAME(attend_delta)(int64_t rows, int64_t width, const REAL *grad, const REAL *out, REAL *delta) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *one = grad + row * width;
        double sum;
        NAME(across)(width, 1, &one, out + row * width, &sum);
        delta[row] = (REAL)sum;
    }
}

/* One source and the gradients of the k outputs that read it: out, its gradient, where that is not null, and pulls
   (rows, k), the gradients of its logits times its factor. logits, lse and delta are (rows, k), keys (k, width). */
void NAME(attend_back)(int64_t rows, int64_t width, int k, const REAL *const *grad, const REAL *in, const REAL *keys,
                       const REAL *logits, const REAL *lse, const REAL *delta, const REAL *scale, REAL *out,
                       REAL *pulls) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = row * width;
        const REAL *x = in + at, *four[4], *part[4];
        double along = 0, found[4];
        for (int e = 0; e < k; e += 4) {
            const int now = k - e < 4 ? k - e : 4;
            REAL p[4], pull[4];
            for (int i = 0; i < now; i++) four[i] = grad[e + i] + at;
            NAME(across)(width, now, four, x, found);
            for (int i = 0; i < now; i++) {
                const int64_t one = row * k + e + i;
                p[i] = (REAL)exp((double)(logits[one] - lse[one]));
                pull[i] = p[i] * ((REAL)found[i] - delta[one]) * scale[row];
                along += (double)(pull[i] * logits[one]);
                pulls[one] = pull[i];
            }
            if (!out) continue;
            for (int64_t from = 0; from < width; from += TILE) {
                const int n = (int)(width - from < TILE ? width - from : TILE);
                for (int i = 0; i < now; i++) part[i] = four[i] + from;
                NAME(weighted)(n, now, p, part, out + at + from, e > 0);
                for (int i = 0; i < now; i++) part[i] = keys + (e + i) * width + from;
                NAME(weighted)(n, now, pull, part, out + at + from, 1);
            }
        }
        if (!out) continue;
        const REAL back = (REAL)(along * (double)scale[row] / (double)width);
        for (int64_t v = 0; v < width; v++) out[at + v] -= back * x[v];
    }
}
