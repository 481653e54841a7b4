/* Times counted in buckets that are 1/128 of their value wide, so that no percentile is off by more than 0.8 %. */
#ifndef ARGUS_HISTOGRAM_H
#define ARGUS_HISTOGRAM_H

#include <inttypes.h>

#include "common.h"

enum { STEPS = 128, BUCKETS = STEPS * 58 };

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t count;
    int64_t most;
};

static void note(struct histogram *histogram, int64_t value, uint64_t times)
{
    if (value > histogram->most || histogram->count == 0)
        histogram->most = value;
    uint64_t positive = value < 0 ? 0 : (uint64_t)value;
    unsigned shift = positive < 2 * STEPS ? 0 : 63u - (unsigned)__builtin_clzll(positive) - 7;
    size_t bucket = positive < 2 * STEPS ? positive : (size_t)shift * STEPS + (positive >> shift);
    histogram->counts[bucket] += times;
    histogram->count += times;
}

/* Pairs of a bucket's lower edge and its count, as JSON. */
static void print_histogram(FILE *out, const struct histogram *histogram)
{
    fprintf(out, "{\"count\": %" PRIu64 ", \"max\": %" PRId64 ", \"buckets\": [", histogram->count, histogram->most);
    const char *comma = "";
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        if (!histogram->counts[bucket])
            continue;
        size_t shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
        uint64_t edge = bucket < 2 * STEPS ? bucket : (uint64_t)(bucket - shift * STEPS) << shift;
        fprintf(out, "%s[%" PRIu64 ", %" PRIu64 "]", comma, edge, histogram->counts[bucket]);
        comma = ", ";
    }
    fputs("]}", out);
}

#endif
