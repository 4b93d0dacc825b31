/* A small matrix product, C[rows, columns] = A[rows, K] W[K, columns], for one step of a recurrence.

   W is packed once for a whole window: panels of LANES columns, each [K][LANES], the last one filled up with zeros.
   A tile of C stays in registers over the whole of K. Stands after kernel.h, in a library of its own that all kernels
   of a type share, for it takes longer to compile than they do. */

#if defined(__AVX512F__) || defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif

/* sum + x * y, rounded once where the processor can. Left to itself, a compiler rounds once in one tile and twice in
   another, as it finds faster, and the bits of a row would depend on the tile that it falls into: on who shares its
   thread. */
#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#if defined(__AVX512F__)
#define FUSED(kind) _mm512_fmadd_##kind
#else
#define FUSED(kind) _mm256_fmadd_##kind
#endif
#ifdef DOUBLE
#define PLUS(sum, x, y) ((vec)FUSED(pd)(x, y, sum))
#else
#define PLUS(sum, x, y) ((vec)FUSED(ps)(x, y, sum))
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#ifdef DOUBLE
#define PLUS(sum, x, y) ((vec)vfmaq_f64(sum, x, y))
#else
#define PLUS(sum, x, y) ((vec)vfmaq_f32(sum, x, y))
#endif
#else
#define PLUS(sum, x, y) ((sum) + (x) * (y))
#endif

#define TILE(M, N)                                                                                                     \
    static void tile_##M##_##N(long K, const real *a, long lda, const real *w, real *c, long ldc, long columns) {      \
        vec sum[M][N];                                                                                                 \
        const long stride = K * LANES;                                                                                 \
        _Pragma("GCC unroll 8") for (int m = 0; m < M; m++)                                                            \
            _Pragma("GCC unroll 8") for (int n = 0; n < N; n++) sum[m][n] = (vec){0};                                  \
        for (long k = 0; k < K; k++) {                                                                                 \
            vec row[N];                                                                                                \
            _Pragma("GCC unroll 8") for (int n = 0; n < N; n++) row[n] = *(const vec *)(w + n * stride + k * LANES);   \
            _Pragma("GCC unroll 8") for (int m = 0; m < M; m++) {                                                      \
                vec x = (vec){0} + a[m * lda + k];                                                                     \
                _Pragma("GCC unroll 8") for (int n = 0; n < N; n++) sum[m][n] = PLUS(sum[m][n], x, row[n]);            \
            }                                                                                                          \
        }                                                                                                              \
        if (columns >= N * LANES) {                                                                                    \
            _Pragma("GCC unroll 8") for (int m = 0; m < M; m++)                                                        \
                _Pragma("GCC unroll 8") for (int n = 0; n < N; n++) *(vec *)(c + m * ldc + n * LANES) = sum[m][n];     \
            return;                                                                                                    \
        }                                                                                                              \
        real edge[M][N * LANES];                                                                                       \
        memcpy(edge, sum, sizeof edge);                                                                                \
        for (int m = 0; m < M; m++) memcpy(c + m * ldc, edge[m], columns * sizeof(real));                              \
    }

#if REGISTERS == 32
TILE(8, 3) TILE(8, 2) TILE(8, 1) TILE(6, 4) TILE(6, 1) TILE(4, 4) TILE(4, 1) TILE(3, 6) TILE(3, 1) TILE(2, 8) TILE(2, 1) TILE(1, 8) TILE(1, 1)
#else
TILE(6, 2) TILE(6, 1) TILE(4, 2) TILE(4, 1) TILE(3, 3) TILE(3, 1) TILE(2, 4) TILE(2, 1) TILE(1, 6) TILE(1, 1)
#endif

/* The height of the next tile of C, and by how many panels it is wide. */
static inline int height(long rows) { return rows >= 8 && REGISTERS == 32 ? 8 : rows >= 6 ? 6 : rows >= 4 ? 4 : (int)rows; }

static inline int breadth(int rows) {
    if (REGISTERS == 32) return rows == 8 ? 3 : rows == 6 ? 4 : rows == 4 ? 4 : rows == 3 ? 6 : 8;
    return rows == 6 ? 2 : rows == 4 ? 2 : rows == 3 ? 3 : rows == 2 ? 4 : 6;
}

/* One tile; `wide` counts its panels. */
static inline void tile(int rows, int wide, long K, const real *a, long lda, const real *w, real *c, long ldc, long columns) {
#define PLACE K, a, lda, w, c, ldc, columns
    switch (rows * 16 + wide) {
#if REGISTERS == 32
    case 131: tile_8_3(PLACE); break;
    case 130: tile_8_2(PLACE); break;
    case 129: tile_8_1(PLACE); break;
    case 100: tile_6_4(PLACE); break;
    case 68: tile_4_4(PLACE); break;
    case 54: tile_3_6(PLACE); break;
    case 40: tile_2_8(PLACE); break;
    case 24: tile_1_8(PLACE); break;
#else
    case 98: tile_6_2(PLACE); break;
    case 66: tile_4_2(PLACE); break;
    case 51: tile_3_3(PLACE); break;
    case 36: tile_2_4(PLACE); break;
    case 22: tile_1_6(PLACE); break;
#endif
    case 97: tile_6_1(PLACE); break;
    case 65: tile_4_1(PLACE); break;
    case 49: tile_3_1(PLACE); break;
    case 33: tile_2_1(PLACE); break;
    case 17: tile_1_1(PLACE); break;
    }
#undef PLACE
}

/* Columns of the panels [first, last) of C, for all rows. */
void product(long rows, long columns, long K, const real *a, long lda, const real *w, real *c, long ldc, long first,
             long last) {
    const int most = breadth(height(rows));
    for (long p = first; p < last; ) {
        const long group = last - p < most ? last - p : most;
        for (long r = 0; r < rows;) {
            const int high = height(rows - r), broad = breadth(high);
            long q = p;
            for (; q < p + group; ) {
                const long left = p + group - q;
                const int wide = left >= broad ? broad : high == 8 && left == 2 ? 2 : 1;
                tile(high, wide, K, a + r * lda, lda, w + q * K * LANES, c + r * ldc + q * LANES, ldc, columns - q * LANES);
                q += wide;
            }
            r += high;
        }
        p += group;
    }
}

/* Pack W, whose element k, j stands at w[k * down + j * across]. */
void pack(long K, long columns, const real *w, long down, long across, real *packed) {
    for (long p = 0; p < panels(columns); p++)
        for (long k = 0; k < K; k++)
            for (long j = 0; j < LANES; j++) {
                const long column = p * LANES + j;
                packed[(p * K + k) * LANES + j] = column < columns ? w[k * down + column * across] : 0;
            }
}
