/* A mix whose outputs end with an RMSNorm, and the way back through it. Rows are whole: a norm needs all of a row, which
   stays in the cache from the first turn to the second. Arguments are as in kernels.h; sums of squares and of products
   over a row go from tile to tile in double. */

/* out[i] = r gain x with x = sum_j weight[i k + j] in[j] and r = (mean of x^2 + eps)^-1/2 of its row, which goes to
   scale (m, rows); x goes to sum[i] where that is not null. */
void NAME(normed)(int64_t rows, int64_t width, int m, int k, const REAL *weight, int64_t step, const REAL *const *in,
                  const REAL *gain, REAL *const *out, REAL *const *sum, REAL *scale, double eps) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        REAL local[LOCAL][TILE] __attribute__((aligned(64))), own;
        const REAL *w = weight + row * step, *four[4];
        for (int first = 0; first < m; first += LOCAL) {
            const int count = m - first < LOCAL ? m - first : LOCAL;
            double squares[LOCAL] = {0};
            for (int64_t from = 0; from < width; from += TILE) {
                const int n = (int)(width - from < TILE ? width - from : TILE);
                const int64_t at = row * width + from;
                for (int j = 0; j < k; j += 4) {
                    const int now = k - j < 4 ? k - j : 4;
                    for (int e = 0; e < now; e++) four[e] = in[j + e] + at;
                    for (int i = 0; i < count; i++)
                        NAME(weighted)(n, now, w + (int64_t)(first + i) * k + j, four, local[i], j > 0);
                }
                for (int i = 0; i < count; i++) {
                    own = 0;
#pragma omp simd reduction(+ : own)
                    for (int v = 0; v < n; v++) own += local[i][v] * local[i][v];
                    squares[i] += (double)own;
                    NAME(copy)(n, local[i], out[first + i] + at);
                    if (sum[first + i]) NAME(copy)(n, local[i], sum[first + i] + at);
                }
            }
            for (int i = 0; i < count; i++) {
                const REAL r = (REAL)(1 / sqrt(squares[i] / (double)width + eps));
                REAL *restrict to = out[first + i] + row * width;
                scale[(int64_t)(first + i) * rows + row] = r;
                for (int64_t v = 0; v < width; v++) to[v] *= r * gain[v];
            }
        }
    }
}

/* From grad[i] at the normed outputs to out[i] at the sums x, which are made again: (g gain - u mean(g gain u)) r with
   u = r x. Rows are dealt to a fixed number of blocks, each with a sum of the gain's gradient, g u, of its own: partial
   is (blocks, width), zero at first. */
void NAME(norm_back)(int64_t rows, int64_t width, int m, int k, const REAL *weight, int64_t step,
                     const REAL *const *in, const REAL *gain, const REAL *scale, const REAL *const *grad,
                     REAL *const *out, int64_t blocks, double *partial) {
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        REAL local[LOCAL][TILE] __attribute__((aligned(64))), own;
        for (int64_t row = rows * b / blocks; row < rows * (b + 1) / blocks; row++) {
            const REAL *w = weight + row * step, *four[4];
            for (int first = 0; first < m; first += LOCAL) {
                const int count = m - first < LOCAL ? m - first : LOCAL;
                double along[LOCAL] = {0};
                for (int64_t from = 0; from < width; from += TILE) {
                    const int n = (int)(width - from < TILE ? width - from : TILE);
                    const int64_t at = row * width + from;
                    for (int j = 0; j < k; j += 4) {
                        const int now = k - j < 4 ? k - j : 4;
                        for (int e = 0; e < now; e++) four[e] = in[j + e] + at;
                        for (int i = 0; i < count; i++)
                            NAME(weighted)(n, now, w + (int64_t)(first + i) * k + j, four, local[i], j > 0);
                    }
                    double *restrict learned = partial + b * width + from;
                    for (int i = 0; i < count; i++) {
                        const REAL r = scale[(int64_t)(first + i) * rows + row], *g = grad[first + i] + at;
                        REAL *restrict to = out[first + i] + at;
                        own = 0;
#pragma omp simd reduction(+ : own)
                        for (int v = 0; v < n; v++) {
                            const REAL unit = r * local[i][v], share = g[v] * unit;
                            own += share * gain[from + v];
                            learned[v] += (double)share;
                            to[v] = unit;
                        }
                        along[i] += (double)own;
                    }
                }
                for (int i = 0; i < count; i++) {
                    const REAL r = scale[(int64_t)(first + i) * rows + row], mean = (REAL)(along[i] / (double)width);
                    const REAL *g = grad[first + i] + row * width;
                    REAL *restrict to = out[first + i] + row * width;
                    for (int64_t v = 0; v < width; v++) to[v] = (g[v] * gain[v] - to[v] * mean) * r;
                }
            }
        }
    }
}
