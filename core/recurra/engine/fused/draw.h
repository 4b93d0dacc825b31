/* What draws a symbol from logits, and makes many steps of generation in one call. Stands after kernel.h.

   A symbol is picked as `recurra.generate.sampling` says, bit for bit: every number of it is one rounded operation of
   float64, or of float32 before the softmax, in the same order there and here. So no two operations may be fused. */

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#include <time.h>

#define HOTTEST 3.4028234663852886e38f

typedef struct {
    double temperature, top_p, min_p; /* a temperature of 0 takes the likeliest */
    float penalty;
    int64_t top_k; /* 0 where all are left */
    uint64_t key;  /* of the random numbers */
} rule_t;

/* exp(x) for x <= 0; 0 below -700. `powers` in sampling.py is the same. */
INLINE double power(double x) {
    const double low = x < -700.0 ? -700.0 : x;
    const double n = (low * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
    const double r = (low - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    const double near = 1.0 + (r + r * r * p);

    /* 2^n: the sum holds the whole number n in its low bits */
    const double moved = n + 6755399441055744.0;
    uint64_t whole;
    memcpy(&whole, &moved, sizeof whole);
    whole = (whole << 52) + ((uint64_t)1023 << 52);
    double scale;
    memcpy(&scale, &whole, sizeof scale);
    return x < -700.0 ? 0.0 : near * scale;
}

/* The number of a stream at a step, in [0, 1): `uniforms` in randomness.py, by Philox-4x32-10. */
static double uniform(uint64_t key, uint64_t step, uint64_t stream) {
    uint32_t a = (uint32_t)step, b = (uint32_t)(step >> 32), c = (uint32_t)stream, d = (uint32_t)(stream >> 32);
    uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (int i = 0; i < 10; i++) {
        const uint64_t first = (uint64_t)a * 0xD2511F53u, second = (uint64_t)c * 0xCD9E8D57u;
        a = (uint32_t)(second >> 32) ^ b ^ low;
        c = (uint32_t)(first >> 32) ^ d ^ high;
        b = (uint32_t)second;
        d = (uint32_t)first;
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return (double)(((uint64_t)a << 20) | (b >> 12)) * 0x1p-52;
}

/* Whether symbol i stands before symbol j: the likelier one, and of two alike the first. */
INLINE int before(const double *weights, int64_t i, int64_t j) {
    return weights[i] > weights[j] || (weights[i] == weights[j] && i < j);
}

static void sink(const double *weights, int64_t *heap, int64_t size, int64_t at) {
    const int64_t moved = heap[at];
    for (int64_t next; (next = 2 * at + 1) < size; at = next) {
        if (next + 1 < size && before(weights, heap[next + 1], heap[next])) next++;
        if (!before(weights, heap[next], moved)) break;
        heap[at] = heap[next];
    }
    heap[at] = moved;
}

static int64_t pop(const double *weights, int64_t *heap, int64_t *size) {
    const int64_t first = heap[0];
    heap[0] = heap[--*size];
    if (*size) sink(weights, heap, *size, 0);
    return first;
}

/* Weights lie in boxes, 16 to an octave below 1, the greater before the less; the last box holds the rest. */
#define BOXES 256
#define FEW 128 /* symbols, each of which is compared with all */

INLINE int64_t box(double weight) {
    int64_t own, one = (int64_t)1023 << 52;
    memcpy(&own, &weight, sizeof own);
    const int64_t below = (one - own) >> 48;
    return below < 0 ? 0 : below < BOXES ? below : BOXES - 1;
}

/* Symbols by rank, as far as anybody asks: by their boxes, and in a box once it is reached. */
typedef struct {
    const double *weights;
    int64_t *boxed, *ranked; /* the symbols in order of boxes, and those whose rank is known */
    int64_t found, next;     /* how many are known, and the box of those that follow */
    int32_t ends[BOXES];     /* where each box ends */
} ranks_t;

static void begin_ranks(ranks_t *at, const double *weights, int64_t count, int64_t *boxed, int64_t *ranked) {
    at->weights = weights, at->boxed = boxed, at->ranked = ranked;
    at->found = at->next = 0;
    if (count <= FEW) {
        for (int64_t i = 0; i < count; i++) boxed[i] = 0;
        for (int64_t j = 0; j < count; j++) {
            const double other = weights[j];
            _Pragma("omp simd")
            for (int64_t i = 0; i < count; i++) boxed[i] += (other > weights[i]) | ((other == weights[i]) & (j < i));
        }
        for (int64_t i = 0; i < count; i++) ranked[boxed[i]] = i;
        at->found = count;
        return;
    }
    memset(at->ends, 0, sizeof at->ends);
    for (int64_t i = 0; i < count; i++) at->ends[box(weights[i])]++;
    int32_t all = 0;
    for (int64_t b = 0; b < BOXES; b++) {
        const int32_t own = at->ends[b];
        at->ends[b] = all;
        all += own;
    }
    for (int64_t i = 0; i < count; i++) boxed[at->ends[box(weights[i])]++] = i;
}

static int64_t of_rank(ranks_t *at, int64_t rank) {
    while (at->found <= rank) {
        int64_t *heap = at->boxed + at->found, size = at->ends[at->next++] - at->found;
        if (size > 1)
            for (int64_t i = size / 2 - 1; i >= 0; i--) sink(at->weights, heap, size, i);
        while (size) at->ranked[at->found++] = pop(at->weights, heap, &size);
    }
    return at->ranked[rank];
}

/* Set to 0 the weights of symbols that may not be drawn. The largest weight is 1. */
static void narrow(const rule_t *rule, double *weights, int64_t count, int64_t *boxed, int64_t *ranked) {
    const int cuts = 0 < rule->top_k && rule->top_k < count, shares = rule->top_p < 1;
    double edge = 0; /* the weight of the last symbol that is left, by rank, and which it is */
    int64_t at = count;
    if (cuts || shares) {
        ranks_t ranks;
        begin_ranks(&ranks, weights, count, boxed, ranked);
        if (cuts) at = of_rank(&ranks, rule->top_k - 1), edge = weights[at];
        if (shares) {
            double whole = 0, held = 0;
            for (int64_t i = 0; i < count; i++) {
                const double own = weights[i];
                whole += own > edge || (own == edge && i <= at) ? own : 0;
            }
            const double share = rule->top_p * whole;
            const int64_t most = cuts ? rule->top_k : count;
            int64_t rank = 0;
            while (rank < most && held < share) held += weights[of_rank(&ranks, rank++)];
            if (rank) at = ranked[rank - 1], edge = weights[at];
        }
    }
    const double least = rule->min_p;
    for (int64_t i = 0; i < count; i++) {
        const double own = weights[i];
        const int left = (own > edge || (own == edge && i <= at)) && own >= least;
        weights[i] = left ? own : 0.0;
    }
}

/* Pick the symbol of one stream. `own` is memory: 2 count of double, then 2 count of int64_t. */
static int64_t pick_one(const rule_t *rule, int64_t count, const real *logits, const unsigned char *seen, double number,
                        void *memory) {
    double *weights = memory, *sums = weights + count;
    int64_t *boxed = (int64_t *)(sums + count), *ranked = boxed + count;
    float *low = (float *)sums;
    const float penalty = rule->penalty;

    for (int64_t i = 0; i < count; i++) {
        const float own = (float)logits[i];
        low[i] = own > HOTTEST ? HOTTEST : (own < -HOTTEST ? -HOTTEST : own);
    }
    if (penalty != 1.0f)
        for (int64_t i = 0; i < count; i++) {
            const float own = low[i];
            float less = own > 0 ? own / penalty : own * penalty;
            less = less > HOTTEST ? HOTTEST : (less < -HOTTEST ? -HOTTEST : less);
            low[i] = seen[i] ? less : own;
        }
    float best = low[0];
    _Pragma("omp simd reduction(max: best)")
    for (int64_t i = 0; i < count; i++) best = low[i] > best ? low[i] : best;
    if (rule->temperature == 0) {
        int64_t i = 0;
        while (low[i] != best) i++;
        return i;
    }

    const double top = best, temperature = rule->temperature;
    for (int64_t i = 0; i < count; i++) weights[i] = power(((double)low[i] - top) / temperature);
    if ((0 < rule->top_k && rule->top_k < count) || rule->top_p < 1 || rule->min_p > 0)
        narrow(rule, weights, count, boxed, ranked);

    double sum = 0;
    for (int64_t i = 0; i < count; i++) sums[i] = sum += weights[i];
    const double bound = number * sum;
    int64_t low_end = 0, high_end = count - 1; /* the first sum above the bound */
    while (low_end < high_end) {
        const int64_t middle = (low_end + high_end) / 2;
        if (sums[middle] > bound) high_end = middle;
        else low_end = middle + 1;
    }
    return low_end;
}

/* Return the first row that holds a number that is not finite, or -1. */
int64_t unsound(int64_t rows, int64_t count, const real *output) {
    for (int64_t b = 0; b < rows; b++) {
        const real *own = output + b * count;
        real rest = 0; /* x - x is 0, or no number */
        _Pragma("omp simd reduction(+: rest)")
        for (int64_t i = 0; i < count; i++) rest += own[i] - own[i];
        if (rest != 0) return b;
    }
    return -1;
}

/* Pick a symbol for each of some rows of logits, by the numbers of a step. Return 0, or -1 where there is no memory. */
static int pick_rows(const rule_t *rule, int64_t first, int64_t rows, int64_t count, const real *logits,
                     const unsigned char *seen, uint64_t step, int64_t threads, int64_t *ids) {
    int failed = 0;
    (void)threads;
    PARALLEL {
        const int64_t id = THREAD, n = THREADS;
        void *memory = malloc(count * 4 * sizeof(double));
        if (!memory) failed = 1;
        else
            for (int64_t b = first + PART(rows, id); b < first + PART(rows, id + 1); b++) {
                const double number = rule->temperature == 0 ? 0 : uniform(rule->key, step, b);
                ids[b] = pick_one(rule, count, logits + b * count, seen + b * count, number, memory);
            }
        free(memory);
    }
    return failed ? -1 : 0;
}

/* Pick a symbol for each row. */
int pick_each(const rule_t *rule, int64_t rows, int64_t count, const real *logits, const unsigned char *seen,
              uint64_t step, int64_t threads, int64_t *ids) {
    return pick_rows(rule, 0, rows, count, logits, seen, step, threads, ids);
}

/* The step of a network, for so many rows: what every call of it has in common. */
typedef struct {
    void (*forward)(long, long, long, long, long, long, const unsigned char *, const int64_t *, real **, real **,
                    const long *, void **);
    int64_t rows, part, threads, columns; /* `part`: how many rows are made at a time, for a cache to hold them */
    real **tensors, **matrices;
    const long *strides;
    void **tools;
    int64_t sequences; /* how many there are, and of each: its place, its width, its table or NULL, rows of its own */
    const int64_t *places, *widths;
    real **tables, **gathered;
    int64_t fields; /* of the state, and of each: its two places, and where it begins */
    const int64_t *starts, *finals, *offsets, *sizes; /* and how many numbers it has in a row */
    int64_t room, output, width; /* numbers of a state; the place of the output, and how wide it is */
} machine_t;

typedef struct {
    int64_t packing, steps;
    double seconds;      /* after which no further step is begun */
    const real *logits;  /* what the first step draws from */
    const real *before;  /* the state before it */
    real *after, *last;  /* the state after the last step, and what it gives */
    int64_t drawn;       /* how many numbers were drawn before */
    unsigned char *seen; /* the symbols that have come */
    int64_t *ids;        /* of each step and stream */
    int64_t stops;       /* sequences that end a stream: how long each is, and all of them, one after the other */
    const int64_t *lengths, *stopping;
    int64_t longest;     /* of them */
    int64_t *tail;       /* the last symbols of each stream, the latest last */
    unsigned char *done; /* of each stream */
    int64_t fed;         /* where numbers are fed back: how many of an output are; else 0 */
    real *said;          /* the numbers of each step */
    int64_t ill;         /* the first row that is not finite, or -1 */
    int64_t made;        /* how many steps all calls with this have made */
    int64_t parted;      /* whether a call may end within a step, and the next one goes on there */
    int64_t waits;       /* whether it has: then how many steps were made, and how many rows of the next one were */
    int64_t at, sound, drew, read; /* looked at, drawn for and read */
} call_t;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

/* Note a symbol of a stream; tell whether it ends one of the sequences. */
static int stopped(const call_t *call, int64_t b, int64_t symbol) {
    int64_t *tail = call->tail + b * call->longest;
    memmove(tail, tail + 1, (call->longest - 1) * sizeof *tail);
    tail[call->longest - 1] = symbol;

    const int64_t *sequence = call->stopping;
    for (int64_t i = 0; i < call->stops; i++) {
        const int64_t length = call->lengths[i];
        if (!memcmp(tail + call->longest - length, sequence, length * sizeof *tail)) return 1;
        sequence += length;
    }
    return 0;
}

/* Read the inputs of `count` rows from `first` on: symbols, or the numbers of the output before that are fed back. */
static void gather(const machine_t *at, const int64_t *ids, const real *output, int64_t fed, int64_t first,
                   int64_t count) {
    for (int64_t i = 0; i < at->sequences; i++) {
        const int64_t wide = at->widths[i];
        real *to = at->gathered[i];
        at->tensors[at->places[i]] = to;
        if (!fed && at->rows == 1) at->tensors[at->places[i]] = at->tables[i] + ids[0] * wide;
        else if (!fed)
            for (int64_t b = 0; b < count; b++)
                memcpy(to + b * wide, at->tables[i] + ids[first + b] * wide, wide * sizeof(real));
        else
            /* The rest of a row says that nothing of it is missing. */
            for (int64_t b = 0; b < count; b++) {
                memcpy(to + b * wide, output + (first + b) * at->width, fed * sizeof(real));
                for (int64_t j = fed; j < wide; j++) to[b * wide + j] = 1;
            }
    }
}

/* How many rows from `first` on belong together. */
INLINE int64_t together(const machine_t *at, const call_t *call, int64_t first) {
    const int64_t rest = at->rows - first;
    return call->parted && rest > at->part ? at->part : rest;
}

/* Whether a call ends here, within a step. */
INLINE int late(call_t *call, double end) { return call->waits = call->parted && now() > end; }

/* Read the symbols of a step, or the numbers, part by part; tell whether it has been made. */
static int advance(const machine_t *at, call_t *call, const int64_t *ids, const real *output, double end) {
    while (call->read < at->rows) {
        const int64_t first = call->read, rest = at->rows - first, count = rest < at->part ? rest : at->part;
        gather(at, ids, output, call->fed, first, count);
        for (int64_t i = 0; i < at->fields; i++)
            at->tensors[at->starts[i]] = at->tensors[at->finals[i]] =
                call->after + at->offsets[i] + first * at->sizes[i];
        at->tensors[at->output] = call->last + first * at->width;
        at->forward(1, count, at->threads, at->columns, 0, call->packing, 0, 0, at->tensors, at->matrices, at->strides,
                    at->tools);
        call->packing = 0;
        call->read += count;
        if (call->read < at->rows && late(call, end)) return 0;
    }
    return 1;
}

/* Make a step from what the one before gave; return 1 where it is made, 0 where it is not, -1 without memory. */
static int step_once(const machine_t *at, const rule_t *rule, call_t *call, const real *output, double end) {
    const int64_t rows = at->rows, width = at->width, own = call->fed;
    int64_t *ids = own ? 0 : call->ids + call->at * rows;

    while (call->sound < rows) {
        const int64_t first = call->sound, count = together(at, call, first);
        const int64_t ill = unsound(count, width, output + first * width);
        call->ill = ill < 0 ? -1 : first + ill;
        if (ill >= 0) return 0;
        call->sound += count;
        if (late(call, end)) return 0;
    }
    while (call->drew < rows) {
        const int64_t first = call->drew, count = together(at, call, first);
        if (own)
            for (int64_t b = first; b < first + count; b++)
                memcpy(call->said + (call->at * rows + b) * own, output + b * width, own * sizeof(real));
        else {
            const uint64_t number = call->drawn + call->at;
            if (pick_rows(rule, first, count, width, output, call->seen, number, at->threads, ids)) return -1;
            for (int64_t b = first; b < first + count; b++) call->seen[b * width + ids[b]] = 1;
        }
        call->drew += count;
        if (late(call, end)) return 0;
    }
    if (!advance(at, call, ids, output, end)) return 0;
    call->sound = call->drew = call->read = 0;
    call->at++;
    call->made++;
    return 1;
}

/* Make steps, or go on with them; return how many there are, or -1 where there is no memory. */
int64_t steps(const machine_t *at, const rule_t *rule, call_t *call) {
    const int64_t rows = at->rows;
    const double end = now() + call->seconds;
    if (!call->waits) {
        if (call->after != call->before) memcpy(call->after, call->before, at->room * sizeof(real));
        call->at = call->sound = call->drew = call->read = 0;
    }
    call->ill = -1;
    call->waits = 0;

    while (call->at < call->steps) {
        const int made = step_once(at, rule, call, call->at ? call->last : call->logits, end);
        if (made < 0) return -1;
        if (!made) break;

        if (call->stops) {
            int64_t over = 0;
            for (int64_t b = 0; b < rows; b++) {
                if (stopped(call, b, call->ids[(call->at - 1) * rows + b])) call->done[b] = 1;
                over += call->done[b];
            }
            if (over == rows) break;
        }
        if (call->parted || (call->at < call->steps && now() > end)) break;
    }
    return call->at;
}
