/* The linear recurrence h_t = a_t * h_{t-1} + b_t over [B, T, W], and all of its gradients in one reverse pass.

   `real` is defined before this text. Of complex numbers both parts lie side by side: [B, T, W, 2]. The last axis is
   contiguous, and steps and rows of a, b and `grad` may lie anywhere. `anew`, [B, T] or null, marks where `fresh` stands
   for h_{t-1}: nothing of what was before is read then. */

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LINE 64 /* bytes that no two threads write to */

/* x * y + z, said outright, so that a channel's bits depend neither on its place in a vector nor on the number of
   threads */
#if defined(__FMA__) || defined(__aarch64__)
#define ADDED(x, y, z) _Generic((real)0, float: __builtin_fmaf, double: __builtin_fma)(x, y, z)
#else
#define ADDED(x, y, z) ((x) * (y) + (z))
#endif

/* One step of channels of real numbers */
INLINE void onward(
    long channels, real *restrict h, const real *restrict a, const real *restrict b, const real *restrict before
) {
    for (long i = 0; i < channels; i++) h[i] = ADDED(a[i], before[i], b[i]);
}

/* One step of channels of complex numbers */
INLINE void onward_pairs(
    long channels, real *restrict h, const real *restrict a, const real *restrict b, const real *restrict before
) {
    for (long i = 0; i < 2 * channels; i += 2) {
        h[i] = ADDED(-a[i + 1], before[i + 1], ADDED(a[i], before[i], b[i]));
        h[i + 1] = ADDED(a[i + 1], before[i], ADDED(a[i], before[i + 1], b[i + 1]));
    }
}

enum { NOTHING, EACH, SUM }; /* what is wanted of the gradient of a: for each step, or added up over the steps */

/* One step back: `carry` comes as what the later steps want of h_t and goes as what step t wants of h_{t-1} */
INLINE void back(
    long channels, int wanted, real *restrict of_a, real *restrict of_b, real *restrict carry,
    const real *restrict grad, const real *restrict a, const real *restrict before
) {
    for (long i = 0; i < channels; i++) {
        const real g = grad[i] + carry[i];
        of_b[i] = g;
        if (wanted == EACH) of_a[i] = g * before[i];
        if (wanted == SUM) of_a[i] = ADDED(g, before[i], of_a[i]);
        carry[i] = a[i] * g;
    }
}

/* The same with the conjugates of a and of h */
INLINE void back_pairs(
    long channels, int wanted, real *restrict of_a, real *restrict of_b, real *restrict carry,
    const real *restrict grad, const real *restrict a, const real *restrict before
) {
    for (long i = 0; i < 2 * channels; i += 2) {
        const real g = grad[i] + carry[i], k = grad[i + 1] + carry[i + 1];
        const real p = before[i], q = before[i + 1], r = a[i], s = a[i + 1];
        of_b[i] = g;
        of_b[i + 1] = k;
        if (wanted == EACH) {
            of_a[i] = ADDED(k, q, g * p);
            of_a[i + 1] = ADDED(-g, q, k * p);
        }
        if (wanted == SUM) {
            of_a[i] = ADDED(k, q, ADDED(g, p, of_a[i]));
            of_a[i + 1] = ADDED(-g, q, ADDED(k, p, of_a[i + 1]));
        }
        carry[i] = ADDED(s, k, r * g);
        carry[i + 1] = ADDED(-s, g, r * k);
    }
}

/* Each row is one part, or as many as there are threads where rows do not go round evenly; parts are whole LINEs. */
#define PARTS const long parts = batch % threads == 0 || batch >= 4 * threads ? 1 : threads;                           \
    const long whole = LINE / (parity * (long)sizeof(real)), each = ((width + whole - 1) / whole + parts - 1) / parts * whole;

#define ROW const long row = task / parts, from = task % parts * each, left = width - from;                            \
    const long channels = left < each ? left : each, size = width * parity, offset = row * size + from * parity;       \
    if (channels <= 0) continue;

#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel for num_threads(threads) schedule(static) if (threads > 1)")
#else
#define PARALLEL
#endif

#define FORWARD(NAME, PARITY, STEP)                                                                                    \
    void NAME(                                                                                                         \
        long batch, long steps, long width, long threads, const real *a, long a_row, long a_step, const real *b,       \
        long b_row, long b_step, const real *start, const uint8_t *anew, const real *fresh, real *h                    \
    ) {                                                                                                                \
        const long parity = PARITY;                                                                                    \
        PARTS                                                                                                          \
        PARALLEL for (long task = 0; task < batch * parts; task++) {                                                   \
            ROW                                                                                                        \
            real *now = h + offset + row * (steps - 1) * size;                                                         \
            const real *before = start + offset, *of_row = a + row * a_row + from * parity;                            \
            const real *added = b + row * b_row + from * parity;                                                       \
            for (long t = 0; t < steps; t++, before = now, now += size) {                                              \
                if (anew && anew[row * steps + t]) before = fresh + offset;                                            \
                STEP(channels, now, of_row + t * a_step, added + t * b_step, before);                                  \
            }                                                                                                          \
        }                                                                                                              \
    }

FORWARD(forward, 1, onward)
FORWARD(forward_pairs, 2, onward_pairs)

/* `of_a` is [B, T, W], [B, W] for SUM, or null; `of_start` and `of_fresh` are [B, W], the latter null without `anew`. */
#define BACKWARD(NAME, PARITY, STEP)                                                                                   \
    void NAME(                                                                                                         \
        long batch, long steps, long width, long threads, const real *a, long a_row, long a_step, const real *grad,    \
        long grad_row, long grad_step, const real *start, const uint8_t *anew, const real *fresh, const real *h,       \
        long wanted, real *of_a, real *of_b, real *of_start, real *of_fresh                                            \
    ) {                                                                                                                \
        const long parity = PARITY;                                                                                    \
        PARTS                                                                                                          \
        PARALLEL for (long task = 0; task < batch * parts; task++) {                                                   \
            ROW                                                                                                        \
            const long bytes = channels * parity * sizeof(real), first = offset + row * (steps - 1) * size;            \
            real *carry = of_start + offset, *begun = of_fresh + offset, *total = of_a + offset;                       \
            memset(carry, 0, bytes);                                                                                   \
            if (anew) memset(begun, 0, bytes);                                                                         \
            if (wanted == SUM) memset(total, 0, bytes);                                                                \
            for (long t = steps - 1; t >= 0; t--) {                                                                    \
                const long here = first + t * size;                                                                    \
                const int begins = anew && anew[row * steps + t];                                                      \
                const real *before = begins ? fresh + offset : t ? h + here - size : start + offset;                   \
                const real *came = grad + row * grad_row + t * grad_step + from * parity;                              \
                const real *decay = a + row * a_row + t * a_step + from * parity;                                      \
                if (wanted == EACH) STEP(channels, EACH, of_a + here, of_b + here, carry, came, decay, before);        \
                else if (wanted == SUM) STEP(channels, SUM, total, of_b + here, carry, came, decay, before);           \
                else STEP(channels, NOTHING, 0, of_b + here, carry, came, decay, before);                              \
                if (begins) {                                                                                          \
                    for (long i = 0; i < channels * parity; i++) begun[i] += carry[i];                                 \
                    memset(carry, 0, bytes);                                                                           \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

BACKWARD(backward, 1, back)
BACKWARD(backward_pairs, 2, back_pairs)
