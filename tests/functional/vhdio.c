// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vhdio: write and verify stamped sectors, from many threads.
 *
 *	vhdio write  FILE SEED FIRST COUNT [OPTION]...
 *	vhdio verify FILE SEED FIRST COUNT [OPTION]...
 *
 * A sector's content tells the seed and the sector's own number, so that one
 * in the wrong place, from another writer or half written shows.  Seed 0 means
 * zeros.  vhdmake.py's stamp() is the same.
 *
 *	-b N	sectors in a write (8)
 *	-p N	sectors from one write to the next (as -b: all of them)
 *	-t N	threads (1); they take turns, so neighbours come from different ones
 *	-r	in random order
 *	-d	O_DIRECT
 *	-f	fsync at the end
 *	-e N	errno N is no reason to stop; 0 failures are one, though
 *	-m FILE	map: a byte a write, 1 where it succeeded.  verify: where it is 0,
 *		the old content is right as well
 *	-o N	verify: the seed of the old content (0)
 *	-u N	verify: any seed from SEED up to N is right, in each sector
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vhdtest.h"

struct job {
	const char *path;
	const char *map_path;
	uint64_t seed, old_seed, last_seed;
	uint64_t first, count;
	uint32_t sectors, step, threads;
	bool shuffle, direct, sync, verify;
	int tolerated;

	int fd;
	uint64_t nr;		/* writes */
	uint32_t *order;
	uint8_t *map;
	_Atomic uint64_t next, failed, wrong;
};

static void stamp(uint64_t seed, uint64_t sector, uint64_t *words)
{
	uint64_t word = seed << 48 | sector;
	int i;

	for (i = 0; i < 63; i++)
		words[i] = seed ? word : 0;
	words[63] = seed ? ~word : 0;
}

static void fill(const struct job *job, uint64_t seed, uint64_t sector,
		 uint8_t *buf)
{
	uint32_t i;

	for (i = 0; i < job->sectors; i++)
		stamp(seed, sector + i, (uint64_t *)(buf + i * SECTOR));
}

/* The last write may be shorter. */
static size_t length(const struct job *job, uint64_t sector)
{
	uint64_t left = job->first + job->count - sector;

	return (left < job->sectors ? left : job->sectors) * SECTOR;
}

static void write_one(struct job *job, uint64_t n, uint8_t *buf)
{
	uint64_t sector = job->first + n * job->step;
	size_t len = length(job, sector);
	ssize_t done;

	fill(job, job->seed, sector, buf);
	done = pwrite(job->fd, buf, len, sector * SECTOR);
	if (done == (ssize_t)len) {
		job->map[n] = 1;
		return;
	}
	if (!job->tolerated || (done < 0 && errno != job->tolerated))
		die("write at sector %llu: %s", (unsigned long long)sector,
		    done < 0 ? strerror(errno) : "short");
	job->failed++;
}

static void complain(struct job *job, uint64_t sector, const uint64_t *words,
		     const char *what)
{
	if (job->wrong++ < 10)
		fprintf(stderr,
			"sector %llu: seed %u sector %llu (%016llx .. %016llx)%s\n",
			(unsigned long long)sector, (unsigned)(words[0] >> 48),
			(unsigned long long)(words[0] & ((1ULL << 48) - 1)),
			(unsigned long long)words[0],
			(unsigned long long)words[63], what);
}

/* A sector of one of the seeds that are right. */
static bool expected(const struct job *job, uint64_t sector,
		     const uint64_t *words)
{
	uint64_t want[64], seed = job->seed;

	if (words[0] >> 48 > seed && words[0] >> 48 <= job->last_seed)
		seed = words[0] >> 48;
	stamp(seed, sector, want);
	return !memcmp(words, want, SECTOR);
}

static void verify_one(struct job *job, uint64_t n, uint8_t *buf)
{
	uint64_t sector = job->first + n * job->step, old[64];
	size_t len = length(job, sector), i;
	ssize_t done = pread(job->fd, buf, len, sector * SECTOR);

	if (done < 0 && job->tolerated && errno == job->tolerated) {
		job->failed++;
		return;
	}
	if (done != (ssize_t)len)
		die("read at sector %llu: %s", (unsigned long long)sector,
		    done < 0 ? strerror(errno) : "short");
	for (i = 0; i < len / SECTOR; i++) {
		if (expected(job, sector + i, (uint64_t *)(buf + i * SECTOR)))
			continue;
		stamp(job->old_seed, sector + i, old);
		if (!job->map[n] && !memcmp(buf + i * SECTOR, old, SECTOR))
			continue;
		complain(job, sector + i, (uint64_t *)(buf + i * SECTOR),
			 job->map[n] ? "" : ", write had failed");
	}
}

static void *work(void *arg)
{
	struct job *job = arg;
	uint8_t *buf;
	uint64_t i;

	if (posix_memalign((void **)&buf, 4096, job->sectors * SECTOR))
		die("no memory");
	while ((i = job->next++) < job->nr) {
		uint64_t n = job->order ? job->order[i] : i;

		if (job->verify)
			verify_one(job, n, buf);
		else
			write_one(job, n, buf);
	}
	free(buf);
	return NULL;
}

static void make_order(struct job *job)
{
	uint64_t i, j, state = 88172645463325252ULL + job->seed;

	job->order = calloc(job->nr, sizeof(*job->order));
	for (i = 0; i < job->nr; i++)
		job->order[i] = i;
	for (i = job->nr - 1; i > 0; i--) {
		uint32_t swap = job->order[i];

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		j = state % (i + 1);
		job->order[i] = job->order[j];
		job->order[j] = swap;
	}
}

static void load_map(struct job *job)
{
	FILE *f;

	job->map = calloc(job->nr, 1);
	if (!job->verify)
		return;
	memset(job->map, 1, job->nr);
	if (!job->map_path)
		return;
	f = fopen(job->map_path, "r");
	if (!f || fread(job->map, 1, job->nr, f) != job->nr)
		die("%s: cannot read the map", job->map_path);
	fclose(f);
}

static void save_map(const struct job *job)
{
	FILE *f = fopen(job->map_path, "w");

	if (!f || fwrite(job->map, 1, job->nr, f) != job->nr || fclose(f))
		die("%s: cannot write the map", job->map_path);
}

static void parse(struct job *job, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "b:p:t:rdfe:m:o:u:")) != -1) {
		switch (c) {
		case 'b': job->sectors = strtoul(optarg, NULL, 0); break;
		case 'p': job->step = strtoul(optarg, NULL, 0); break;
		case 't': job->threads = strtoul(optarg, NULL, 0); break;
		case 'r': job->shuffle = true; break;
		case 'd': job->direct = true; break;
		case 'f': job->sync = true; break;
		case 'e': job->tolerated = strtoul(optarg, NULL, 0); break;
		case 'm': job->map_path = optarg; break;
		case 'o': job->old_seed = strtoull(optarg, NULL, 0); break;
		case 'u': job->last_seed = strtoull(optarg, NULL, 0); break;
		default: exit(2);
		}
	}
	argv += optind;
	if (argc - optind != 5)
		die("usage: vhdio write|verify FILE SEED FIRST COUNT [OPTION]...");
	job->verify = !strcmp(argv[0], "verify");
	job->path = argv[1];
	job->seed = strtoull(argv[2], NULL, 0);
	job->first = strtoull(argv[3], NULL, 0);
	job->count = strtoull(argv[4], NULL, 0);
	if (!job->step)
		job->step = job->sectors;
	job->nr = (job->count + job->step - 1) / job->step;
}

static void run(struct job *job)
{
	pthread_t threads[256];
	uint32_t i;

	for (i = 0; i < job->threads; i++)
		if (pthread_create(&threads[i], NULL, work, job))
			die("no thread");
	for (i = 0; i < job->threads; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	struct job job = { .sectors = 8, .threads = 1 };

	parse(&job, argc, argv);
	job.fd = open(job.path, (job.verify ? O_RDONLY : O_RDWR) |
		      (job.direct ? O_DIRECT : 0));
	if (job.fd < 0)
		die("%s: %s", job.path, strerror(errno));
	if (job.shuffle && job.nr)
		make_order(&job);
	load_map(&job);
	run(&job);
	if (job.wrong)
		die("%llu sectors are wrong", (unsigned long long)job.wrong);
	if (job.sync && fsync(job.fd) && errno != job.tolerated)
		die("fsync: %s", strerror(errno));
	if (job.map_path && !job.verify)
		save_map(&job);
	printf("%llu done, %llu failed\n",
	       (unsigned long long)(job.nr - job.failed),
	       (unsigned long long)job.failed);
	if (close(job.fd))
		die("close: %s", strerror(errno));
	return job.tolerated && !job.failed;
}
