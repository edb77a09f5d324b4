/* Preloaded into a worker: the wall clock that it sees is off by the nanoseconds in the file FAULTS_CLOCK, which the test changes while the
   worker runs. The monotonic clock stays as it is, as when someone sets a machine's clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SLICE (SECOND / 10)

static volatile long long *off;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  void *at = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  if (at != MAP_FAILED) off = at;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static void add(struct timespec *t, long long nanoseconds) {
  long long all = t->tv_sec * SECOND + t->tv_nsec + nanoseconds;
  t->tv_sec = all / SECOND;
  t->tv_nsec = all % SECOND;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = next("clock_gettime");
  int failed = real(clock, t);
  if (!failed && off && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) add(t, *off);
  return failed;
}

int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *t, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, t) ? base : 0;
}

/* Deadlines by the wall clock are waited for in slices, after which whoever waits looks again: a jump ahead ends the wait, as it does in the
   kernel; a jump back lengthens it only as far as the caller lets it. Those by the monotonic clock are small numbers and pass as they are.
   Returns whether `until` was replaced by the end of a slice. */
static int slice(const struct timespec *until, struct timespec *end) {
  *end = *until;
  if (!off || until->tv_sec < 1000000000) return 0;
  struct timespec soon;
  add(end, -*off);
  clock_gettime(CLOCK_REALTIME, &soon);
  add(&soon, SLICE - *off);
  if (end->tv_sec * SECOND + end->tv_nsec <= soon.tv_sec * SECOND + soon.tv_nsec) return 0;
  *end = soon;
  return 1;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!real) real = next("pthread_cond_timedwait");
  struct timespec end;
  int sliced = slice(until, &end), result = real(condition, mutex, &end);
  return result == ETIMEDOUT && sliced ? 0 : result; /* woken for nothing: whoever waits looks again */
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
  static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
  if (!real) real = next("cnd_timedwait");
  struct timespec end;
  int sliced = slice(until, &end), result = real(condition, mutex, &end);
  return result == thrd_timedout && sliced ? thrd_success : result;
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  static int (*real)(sem_t *, const struct timespec *);
  if (!real) real = next("sem_timedwait");
  for (;;) {
    struct timespec end;
    int sliced = slice(until, &end);
    if (!real(semaphore, &end)) return 0;
    if (errno != ETIMEDOUT || !sliced) return -1;
  }
}
