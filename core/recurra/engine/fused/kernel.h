/* The ground on which a generated kernel stands: its number type, vectors, and elementwise functions.

   The functions are branch-free, so that the compiler makes vectors of the loops that call them, and pass NaN and
   infinity on as torch does. `-ffast-math` is neither needed nor allowed. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif

#ifdef DOUBLE
typedef double real;
typedef uint64_t bits;
#define MANTISSA 52
#define BIAS 1023
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to a whole number, which its low bits then hold */
#define LOWEST (-746.0)
#define LOWEST_NORMAL (-708.0)
#define HIGHEST 710.0
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define SMALLEST 2.2250738585072014e-308
#define ROOM 18014398509481984.0 /* 2^54 */
#define ROOM_LOG2 54
#define m_pow pow
#define m_sin sin
#define m_cos cos
#define m_erf erf
#define m_sqrt sqrt
#define m_abs fabs
#define m_copysign copysign
#else
typedef float real;
typedef uint32_t bits;
#define MANTISSA 23
#define BIAS 127
#define MAGIC 12582912.0f
#define LOWEST (-104.0f)
#define LOWEST_NORMAL (-87.0f)
#define HIGHEST 89.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define SMALLEST 1.17549435e-38f
#define ROOM 33554432.0f /* 2^25 */
#define ROOM_LOG2 25
#define m_pow powf
#define m_sin sinf
#define m_cos cosf
#define m_erf erff
#define m_sqrt sqrtf
#define m_abs fabsf
#define m_copysign copysignf
#endif

#define LANES ((long)(VECTOR / sizeof(real)))
typedef real vec __attribute__((vector_size(VECTOR), aligned(sizeof(real)), may_alias));
#define INLINE static inline __attribute__((always_inline))

INLINE bits as_bits(real x) { bits b; memcpy(&b, &x, sizeof b); return b; }
INLINE real as_real(bits b) { real x; memcpy(&x, &b, sizeof x); return x; }

/* 2^n for a whole n in the range of normal numbers */
INLINE real power_of_two(real n) { return as_real((as_bits(n + MAGIC) << MANTISSA) + ((bits)BIAS << MANTISSA)); }

/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2, by Taylor's series */
INLINE real exp_tail(real r) {
#ifdef DOUBLE
    real p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
#else
    real p = 1.0f / 5040.0f;
#endif
    p = p * r + (real)(1.0 / 720.0);
    p = p * r + (real)(1.0 / 120.0);
    p = p * r + (real)(1.0 / 24.0);
    p = p * r + (real)(1.0 / 6.0);
    return p * r + (real)0.5;
}

/* c ? a : b, of bits: a compiler that sees a branch may thread others through it, and make no vectors then */
INLINE real pick(int c, real a, real b) {
    const bits mask = -(bits)c;
    return as_real((as_bits(a) & mask) | (as_bits(b) & ~mask));
}

INLINE real r_abs(real x) { return m_abs(x); }
INLINE real r_sqrt(real x) { return m_sqrt(x); }
INLINE real r_pow(real x, real y) { return m_pow(x, y); }
INLINE real r_sin(real x) { return m_sin(x); }
INLINE real r_cos(real x) { return m_cos(x); }
INLINE real r_erf(real x) { return m_erf(x); }
INLINE real r_sign(real x) { return (real)(x > 0) - (real)(x < 0); }
INLINE real r_least(real x, real low) { return pick(x < low, low, x); }
INLINE real r_most(real x, real high) { return pick(x > high, high, x); }
INLINE real r_max(real a, real b) { return pick((a > b) | (a != a), a, b); }
INLINE real r_min(real a, real b) { return pick((a < b) | (a != a), a, b); }

INLINE real r_exp(real x) {
    x = r_most(r_least(x, LOWEST), HIGHEST);
    const real n = (x * (real)1.4426950408889634 + MAGIC) - MAGIC;
    const real r = (x - n * LN2_HIGH) - n * LN2_LOW;
    const real half = (n * (real)0.5 + MAGIC) - MAGIC; /* twice, so that it may leave the range of normal numbers */
    return (1 + (r + r * r * exp_tail(r))) * power_of_two(half) * power_of_two(n - half);
}

/* exp(x) - 1 for |x| up to 80 */
INLINE real expm1_near(real x) {
    const real n = (x * (real)1.4426950408889634 + MAGIC) - MAGIC;
    const real r = (x - n * LN2_HIGH) - n * LN2_LOW;
    const real scale = power_of_two(n);
    return scale * (r + r * r * exp_tail(r)) + (scale - 1);
}

INLINE real r_expm1(real x) { return pick(m_abs(x) < 1, expm1_near(r_most(r_least(x, -1), 1)), r_exp(x) - 1); }

/* exp(-x) is a normal number here, or infinity: a smaller one adds nothing to 1 */
INLINE real r_sigmoid(real x) {
    const real y = r_most(r_least(-x, LOWEST_NORMAL), HIGHEST);
    const real n = r_most((y * (real)1.4426950408889634 + MAGIC) - MAGIC, BIAS);
    const real r = (y - n * LN2_HIGH) - n * LN2_LOW;
    return 1 / (1 + (1 + (r + r * r * exp_tail(r))) * power_of_two(n));
}

/* exp(-|x|), ROOM times as large: itself it may be smaller than any normal number */
INLINE real roomy_decay(real x) {
    const real y = r_least(-m_abs(x), LOWEST);
    const real n = (y * (real)1.4426950408889634 + MAGIC) - MAGIC;
    const real r = (y - n * LN2_HIGH) - n * LN2_LOW;
    const real scale = as_real((as_bits(n + MAGIC) << MANTISSA) + ((bits)(BIAS + ROOM_LOG2) << MANTISSA));
    return (1 + (r + r * r * exp_tail(r))) * scale;
}

/* The sigmoid of x by exp(-|x|), for a kernel that makes something else of that too: one exponential does for all. */
INLINE real r_sigmoid_of_decay(real x) {
    const real e = roomy_decay(x), most = 1 / (1 + e * (1 / ROOM));
    return pick(x >= 0, most, e * most * (1 / ROOM));
}

/* log(1 + exp(-|x|)), which the logarithm of a sigmoid is made of: 2 atanh(s), where s is at most 1/3 */
INLINE real r_log1p_of_decay(real x) {
    const real e = roomy_decay(x) * (1 / ROOM), s = e / (e + 2), z = s * s;
#ifdef DOUBLE
    real p = 1.0 / 33.0;
    p = p * z + 1.0 / 31.0;
    p = p * z + 1.0 / 29.0;
    p = p * z + 1.0 / 27.0;
    p = p * z + 1.0 / 25.0;
    p = p * z + 1.0 / 23.0;
    p = p * z + 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
    p = p * z + 1.0 / 15.0;
#else
    real p = 1.0f / 15.0f;
#endif
    p = p * z + (real)(1.0 / 13.0);
    p = p * z + (real)(1.0 / 11.0);
    p = p * z + (real)(1.0 / 9.0);
    p = p * z + (real)(1.0 / 7.0);
    p = p * z + (real)(1.0 / 5.0);
    p = p * z + (real)(1.0 / 3.0);
    return 2 * s + 2 * s * z * p;
}

INLINE real r_tanh(real x) {
    const real e = expm1_near(r_most(2 * m_abs(x), 40));
    return m_copysign(e / (e + 2), x);
}

/* the logarithm of a positive normal number: 2 atanh(s) of its mantissa, and its exponent */
INLINE real log_normal(real x) {
    const bits b = as_bits(x), centre = as_bits((real)0.70710678118654752), whole = as_bits((real)((bits)1 << MANTISSA));
    const bits shift = b - centre; /* so that the mantissa lies between sqrt(1/2) and sqrt(2) */
    const real n = as_real(((shift + ((bits)BIAS << MANTISSA)) >> MANTISSA) | whole) - as_real(whole) - BIAS;
    const real m = as_real((shift & (((bits)1 << MANTISSA) - 1)) + centre);
    const real s = (m - 1) / (m + 1), z = s * s;
#ifdef DOUBLE
    real p = 1.0 / 23.0;
    p = p * z + 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
    p = p * z + 1.0 / 15.0;
    p = p * z + 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
#else
    real p = 1.0f / 11.0f;
#endif
    p = p * z + (real)(1.0 / 9.0);
    p = p * z + (real)(1.0 / 7.0);
    p = p * z + (real)(1.0 / 5.0);
    p = p * z + (real)(1.0 / 3.0);
    return n * LN2_HIGH + (n * LN2_LOW + (2 * s + 2 * s * z * p));
}

INLINE real r_log(real x) {
    const real tiny = x < SMALLEST;
    const real y = pick(x < SMALLEST, x * ROOM, x);
    const real found = log_normal(y) - tiny * (ROOM_LOG2 * (real)0.6931471805599453);
    const real edge = pick(x == 0, -(real)INFINITY, pick(x < 0, (real)NAN, x)); /* infinity and NaN are their own */
    return pick((x > 0) & (x < (real)INFINITY), found, edge);
}

INLINE real r_log1p(real x) {
    const real u = 1 + x, kept = (x - (u - 1)) / u;
    return r_log(u) + pick((u > 0) & (u < (real)INFINITY), kept, 0);
}

#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel num_threads(threads) if (threads > 1)")
#define THREAD omp_get_thread_num()
#define THREADS omp_get_num_threads()
#else
#define PARALLEL
#define THREAD 0
#define THREADS 1
#endif

/* Where threads wait for each other: a short spin, for most are late by little, and then a wait in the kernel of the
   system, which leaves the core to others. One that spun on could keep the core from the thread that it waits for. */
#define SPINS 1000

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#define SLEEP(place, value) syscall(SYS_futex, place, FUTEX_WAIT_PRIVATE, value, (void *)0)
#define WAKE(place) syscall(SYS_futex, place, FUTEX_WAKE_PRIVATE, INT32_MAX)
#elif defined(_WIN32)
__declspec(dllimport) void __stdcall Sleep(unsigned long);
#define SLEEP(place, value) Sleep(0)
#define WAKE(place)
#else
#include <sched.h>
#define SLEEP(place, value) sched_yield()
#define WAKE(place)
#endif

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE __asm__ volatile("yield")
#else
#define PAUSE
#endif

/* `came`: how many are there already; `round` changes when the last one comes; `asleep`: how many do not spin any more */
typedef struct { int32_t came, round, asleep; } meeting_t;

/* Return once `threads` threads have called this. */
static inline void meet(meeting_t *at, int32_t threads) {
    const int32_t round = __atomic_load_n(&at->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&at->came, 1, __ATOMIC_ACQ_REL) == threads) {
        __atomic_store_n(&at->came, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&at->round, (int32_t)((uint32_t)round + 1), __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&at->asleep, __ATOMIC_SEQ_CST)) WAKE(&at->round);
        return;
    }
    for (int spins = 0; spins < SPINS; spins++) {
        if (__atomic_load_n(&at->round, __ATOMIC_ACQUIRE) != round) return;
        PAUSE;
    }
    __atomic_add_fetch(&at->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&at->round, __ATOMIC_SEQ_CST) == round) SLEEP(&at->round, round);
    __atomic_sub_fetch(&at->asleep, 1, __ATOMIC_SEQ_CST);
}

/* from the library of products: product.h */
typedef void product_t(long, long, long, const real *, long, const real *, real *, long, long, long);
typedef void pack_t(long, long, const real *, long, long, real *);
INLINE long panels(long columns) { return (columns + LANES - 1) / LANES; }

/* Where the part of a thread begins; the first has no smaller a part than others, for it is what is timed */
#define PART(all, thread) (((all) * (thread) + n - 1) / n)
/* Where the columns of a thread begin, of so many: no two threads write to one line of 64 bytes */
#define LINE (64 / (long)sizeof(real))
#define AT_MOST(a, b) ((a) < (b) ? (a) : (b))
#define COLUMN(all, thread) AT_MOST(all, PART((all + LINE - 1) / LINE, thread) * LINE)
#define ALIVE (!lengths || t < lengths[b])
#define MEET if (columns) meet(&meeting, (int32_t)n);
