// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/minmax.h>

#include "meter.h"
#include "progress.h"
#include "vhdctl.h"

#define TICK_MS		500
/* A terminal is left alone for so long: most jobs end before. */
#define PATIENCE_MS	1000
/* Speed is that of the last so many ticks. */
#define WINDOW		16

enum meter_mode meter_mode;

/* Who posts it wants a line, or the thread's end. */
static sem_t wake;
static volatile sig_atomic_t asked;

/**
 * struct sample - what was done at a time
 */
struct sample {
	u64 ms;
	u64 done;
};

/**
 * struct job - the running one; under @lock
 * @shown: an unfinished line is on the terminal
 * @samples: a ring, @nr in all
 */
static struct job {
	pthread_mutex_t lock;
	pthread_t thread;
	bool running;
	bool stop;
	bool shown;
	bool terminal;
	bool bytes;
	const char *verb;
	struct sample samples[WINDOW];
	unsigned int nr;
} job = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void sigusr1(int sig)
{
	int saved = errno;

	asked = 1;
	sem_post(&wake);
	errno = saved;
}

void meter_init(void)
{
	struct sigaction sa = {
		.sa_handler = sigusr1,
		.sa_flags = SA_RESTART,
	};

	sem_init(&wake, 0, 0);
	sigaction(SIGUSR1, &sa, NULL);
}

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void add_sample(u64 ms, u64 done)
{
	job.samples[job.nr++ % WINDOW] = (struct sample) { ms, done };
}

/* Units a second, since the oldest sample that is kept. */
static u64 speed_now(u64 ms, u64 done)
{
	const struct sample *s;

	s = &job.samples[job.nr < WINDOW ? 0 : job.nr % WINDOW];
	/* A job of several passes begins anew. */
	if (ms <= s->ms || done < s->done)
		return 0;
	return (done - s->done) * 1000 / (ms - s->ms);
}

static void print_json(u64 done, u64 total, u64 speed, bool end)
{
	fprintf(stderr, "{\"done\":%llu,\"total\":", (unsigned long long)done);
	if (total)
		fprintf(stderr, "%llu", (unsigned long long)total);
	else
		fputs("null", stderr);
	fprintf(stderr, ",\"speed\":%llu,\"eta\":", (unsigned long long)speed);
	if (end || (total && done >= total))
		fputs("0}\n", stderr);
	else if (total && speed)
		fprintf(stderr, "%llu}\n",
			(unsigned long long)((total - done) / speed));
	else
		fputs("null}\n", stderr);
}

static void print_units(u64 n)
{
	char size[16];

	if (job.bytes)
		fputs(format_size(n, size, sizeof(size)), stderr);
	else
		fprintf(stderr, "%llu", (unsigned long long)n);
}

static void print_text(u64 done, u64 total, u64 speed)
{
	unsigned long long left;

	fprintf(stderr, "%s: ", job.verb);
	print_units(done);
	if (total) {
		fputs(" of ", stderr);
		print_units(total);
	}
	if (!job.bytes)
		fputs(" blocks", stderr);
	if (total)
		fprintf(stderr, ", %u%%",
			(unsigned int)(min(done, total) * 100.0 / total));
	if (speed) {
		fputs(", ", stderr);
		print_units(speed);
		fputs("/s", stderr);
	}
	if (!total || !speed || done > total)
		return;
	left = (total - done) / speed;
	fprintf(stderr, ", %llu:%02llu to go", left / 60, left % 60);
}

static void clear_line(void)
{
	if (job.shown)
		fputs("\r\033[K", stderr);
	job.shown = false;
}

static void print_line(u64 ms, bool end)
{
	u64 done, total, speed;

	vhd_progress_get(&done, &total);
	speed = speed_now(ms, done);
	if (meter_mode == METER_JSON) {
		print_json(done, total, speed, end);
		return;
	}
	clear_line();
	print_text(done, total, speed);
	if (job.terminal)
		job.shown = true;
	else
		fputc('\n', stderr);
}

static bool line_due(u64 waited)
{
	switch (meter_mode) {
	case METER_AUTO:
		return job.terminal && verbosity >= 0 && waited >= PATIENCE_MS;
	case METER_OFF:
		return false;
	default:
		return true;
	}
}

/* Until @ms, or until woken. */
static void wait_until(u64 ms)
{
	struct timespec ts = {
		.tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000,
	};

	sem_clockwait(&wake, CLOCK_MONOTONIC, &ts);
}

static void tick(u64 start, u64 *next)
{
	u64 done, total, ms = now_ms();
	bool due = asked;

	asked = 0;
	if (ms >= *next && line_due(ms - start))
		due = true;
	if (due)
		print_line(ms, false);
	if (ms < *next)
		return;
	*next = ms + TICK_MS;
	vhd_progress_get(&done, &total);
	add_sample(ms, done);
}

static void *meter_thread(void *arg)
{
	u64 start = now_ms(), next = start + TICK_MS;

	for (;;) {
		wait_until(next);
		pthread_mutex_lock(&job.lock);
		if (job.stop)
			break;
		tick(start, &next);
		pthread_mutex_unlock(&job.lock);
	}
	pthread_mutex_unlock(&job.lock);
	return NULL;
}

void meter_start(const char *verb, bool bytes)
{
	sigset_t all, old;

	job.verb = verb;
	job.bytes = bytes;
	job.terminal = isatty(STDERR_FILENO);
	job.stop = false;
	job.nr = 0;
	add_sample(now_ms(), 0);
	/* Signals are for the threads that work: they end waits. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	job.running = !pthread_create(&job.thread, NULL, meter_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void meter_stop(bool whole)
{
	if (!job.running)
		return;
	pthread_mutex_lock(&job.lock);
	job.stop = true;
	pthread_mutex_unlock(&job.lock);
	sem_post(&wake);
	pthread_join(job.thread, NULL);
	job.running = false;
	clear_line();
	if (meter_mode == METER_JSON && whole)
		print_line(now_ms(), true);
}

void meter_clear(void)
{
	pthread_mutex_lock(&job.lock);
	clear_line();
	pthread_mutex_unlock(&job.lock);
}
