/* The kernels for numbers of one type: REAL, with NAME(f) the name of function f for it.

   Sources, gradients and outputs are lists of addresses, each of `rows` rows of `width` numbers without gaps. Weights
   are `step` apart from row to row; step 0 means the same for all. Rows are worked on in tiles. What a tile is read
   for more than once is copied to LOCAL memory, one tile after the other: tensors often lie at the same place in their
   pages, so that tiles of many of them at once drive each other out of the cache. */

/* out = (add ? out : 0) + sum_j w[j] in[j] for n numbers and up to four tensors. */
static inline void NAME(weighted)(int n, int k, const REAL *w, const REAL *const *in, REAL *restrict out, int add) {
    const REAL *restrict a = in[0], *restrict b = in[k > 1 ? 1 : 0], *restrict c = in[k > 2 ? 2 : 0],
                         *restrict d = in[k > 3 ? 3 : 0];
    const REAL p = w[0], q = k > 1 ? w[1] : 0, r = k > 2 ? w[2] : 0, s = k > 3 ? w[3] : 0;
    if (k == 4 && add) for (int v = 0; v < n; v++) out[v] += (p * a[v] + q * b[v]) + (r * c[v] + s * d[v]);
    else if (k == 4) for (int v = 0; v < n; v++) out[v] = (p * a[v] + q * b[v]) + (r * c[v] + s * d[v]);
    else if (k == 3) for (int v = 0; v < n; v++) out[v] = (add ? out[v] : 0) + (p * a[v] + q * b[v]) + r * c[v];
    else if (k == 2) for (int v = 0; v < n; v++) out[v] = (add ? out[v] : 0) + (p * a[v] + q * b[v]);
    else for (int v = 0; v < n; v++) out[v] = (add ? out[v] : 0) + p * a[v];
}

/* sums[e] = <in[e], with>, of up to four. */
static inline void NAME(products)(int n, int k, const REAL *const *in, const REAL *restrict with, REAL *sums) {
    const REAL *restrict a = in[0], *restrict b = in[k > 1 ? 1 : 0], *restrict c = in[k > 2 ? 2 : 0],
                         *restrict d = in[k > 3 ? 3 : 0];
    REAL x = 0, y = 0, z = 0, t = 0;
    if (k > 2) {
#pragma omp simd reduction(+ : x, y, z, t)
        for (int v = 0; v < n; v++) {
            const REAL f = with[v];
            x += a[v] * f, y += b[v] * f, z += c[v] * f, t += d[v] * f;
        }
    } else {
#pragma omp simd reduction(+ : x, y)
        for (int v = 0; v < n; v++) x += a[v] * with[v], y += b[v] * with[v];
    }
    sums[0] = x, sums[1] = y, sums[2] = z, sums[3] = t;
}

static inline void NAME(copy)(int n, const REAL *restrict in, REAL *restrict out) {
    for (int v = 0; v < n; v++) out[v] = in[v];
}

/* out[i] = sum_j weight[i k + j] in[j], i < m. */
void NAME(mix)(int64_t rows, int64_t width, int m, int k, const REAL *weight, int64_t step, const REAL *const *in,
               REAL *const *out) {
    const int64_t cuts = (width + TILE - 1) / TILE;
#pragma omp parallel for schedule(static)
    for (int64_t tile = 0; tile < rows * cuts; tile++) {
        REAL local[LOCAL][TILE] __attribute__((aligned(64)));
        const int64_t row = tile / cuts, from = tile % cuts * TILE, at = row * width + from;
        const int n = (int)(width - from < TILE ? width - from : TILE);
        const REAL *w = weight + row * step, *four[4];
        for (int first = 0; first < m; first += LOCAL) {
            const int count = m - first < LOCAL ? m - first : LOCAL;
            for (int j = 0; j < k; j += 4) {
                const int now = k - j < 4 ? k - j : 4;
                for (int e = 0; e < now; e++) four[e] = in[j + e] + at;
                for (int i = 0; i < count; i++)
                    NAME(weighted)(n, now, w + (int64_t)(first + i) * k + j, four, local[i], j > 0);
            }
            for (int i = 0; i < count; i++) NAME(copy)(n, local[i], out[first + i] + at);
        }
    }
}

/* out[j] = sum_i weight[i k + j] grad[i] and products[i k + j] = <grad[i], source[j]>, where these are not null.

   Where weights differ from row to row so do products. Else tiles are dealt to a fixed number of blocks that sum in
   double, for themselves, so that results do not depend on the number of threads: partial is (blocks, m, k), zero at
   first. */
void NAME(spread)(int64_t rows, int64_t width, int m, int k, const REAL *weight, int64_t step,
                  const REAL *const *grad, const REAL *const *source, REAL *const *out, REAL *products, int64_t blocks,
                  double *partial) {
    const int64_t cuts = (width + TILE - 1) / TILE, per = step ? cuts : 1, all = step ? rows : rows * cuts;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        REAL local[LOCAL][TILE] __attribute__((aligned(64))), total[TILE] __attribute__((aligned(64)));
        for (int64_t tile = all * b / blocks * per; tile < all * (b + 1) / blocks * per; tile++) {
            const int64_t row = tile / cuts, from = tile % cuts * TILE, at = row * width + from;
            const int n = (int)(width - from < TILE ? width - from : TILE);
            for (int first = 0; first < m; first += LOCAL) {
                const int count = m - first < LOCAL ? m - first : LOCAL;
                const REAL *near[LOCAL];
                for (int i = 0; i < count; i++) {
                    near[i] = k > 1 ? local[i] : grad[first + i] + at;
                    if (k > 1) NAME(copy)(n, grad[first + i] + at, local[i]);
                }
                for (int j = 0; j < k; j++) {
                    REAL *sum = m > LOCAL && out[j] ? out[j] + at : total, sums[4], w[4];
                    for (int i = 0; i < count; i += 4) {
                        const int now = count - i < 4 ? count - i : 4;
                        for (int e = 0; e < now; e++) w[e] = weight[row * step + (int64_t)(first + i + e) * k + j];
                        if (out[j]) NAME(weighted)(n, now, w, near + i, sum, first + i > 0);
                        if (!source[j]) continue;
                        NAME(products)(n, now, near + i, source[j] + at, sums);
                        for (int e = 0; e < now; e++) {
                            const int64_t edge = (int64_t)(first + i + e) * k + j;
                            if (!step) partial[b * m * k + edge] += (double)sums[e];
                            else if (from) products[row * m * k + edge] += sums[e];
                            else products[row * m * k + edge] = sums[e];
                        }
                    }
                    if (out[j] && sum == total) NAME(copy)(n, total, out[j] + at);
                }
            }
        }
    }
}
