// A wrong clock: loaded into a process with LD_PRELOAD, it adds CLOCK_ERROR seconds to the time of day.
//
// Clocks that measure durations are not changed, and neither are waits.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t get_error(void) {
    const char *seconds = getenv("CLOCK_ERROR");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*get)(clockid_t, struct timespec *);
    if (!get) get = dlsym(RTLD_NEXT, "clock_gettime");
    int result = get(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += get_error();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*get)(struct timeval *, void *);
    if (!get) get = dlsym(RTLD_NEXT, "gettimeofday");
    int result = get(now, zone);
    if (result == 0) now->tv_sec += get_error();
    return result;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
